//! Pods: restricted, probed, drained, and complete. kube-score checks resources, read-only roots and privileges.

use serde_json::{Value, json};

use super::documents::{Pod, Strictness, of_kind, secrets_of, settings_of, text};

/// Default of `SHUTDOWN_DEADLINE_SECONDS` in service-kit.
const DEFAULT_SHUTDOWN_DEADLINE: u64 = 20;
/// Seconds that a process may need after its deadline.
const MARGIN: u64 = 5;

const PROBES: [&str; 3] = ["readinessProbe", "livenessProbe", "startupProbe"];

/// The restricted pod security standard as far as kube-score does not check it, and no Kubernetes token.
pub fn restricted(documents: &[Value], problems: &mut Vec<String>) {
    for pod in Pod::all(documents) {
        let spec = pod.spec;
        let mut demand = |holds: bool, what: &str| {
            if !holds {
                problems.push(format!("{}: {what}", pod.title));
            }
        };
        demand(spec["automountServiceAccountToken"] == false, "mounts a token of Kubernetes");
        demand(spec["serviceAccountName"].is_string(), "has no service account of its own");
        demand(spec["securityContext"]["runAsNonRoot"] == true, "may run as root");
        demand(
            spec["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault",
            "has no seccomp profile",
        );
        for namespace in ["hostNetwork", "hostPID", "hostIPC"] {
            demand(spec[namespace] != true, "uses a namespace of the host");
        }
        for container in pod.all_containers() {
            let context = &container["securityContext"];
            let name = text(&container["name"]);
            demand(context["allowPrivilegeEscalation"] == false, &format!("{name} may gain privileges"));
            demand(context["capabilities"]["drop"] == json!(["ALL"]), &format!("{name} keeps capabilities"));
        }
    }
}

/// Containers have a readiness and a liveness probe, those of services a startup probe too; Jobs have none.
pub fn probed(documents: &[Value], problems: &mut Vec<String>) {
    for pod in Pod::all(documents).filter(|pod| pod.kind != "Job") {
        let mut probes = vec!["readinessProbe", "livenessProbe"];
        if pod.is_service {
            probes.push("startupProbe");
        }
        for container in pod.containers() {
            for probe in probes.iter().filter(|probe| !container[**probe].is_object()) {
                problems.push(format!("{}: {} has no {probe}", pod.title, container["name"]));
            }
        }
    }
}

/// The grace period of a service covers the pause before SIGTERM, its shutdown deadline, and a margin.
pub fn drained(documents: &[Value], problems: &mut Vec<String>) {
    for pod in Pod::all(documents).filter(|pod| pod.is_service) {
        let grace = pod.spec["terminationGracePeriodSeconds"].as_u64().unwrap_or(30);
        for container in pod.containers() {
            let Some(pause) = container["lifecycle"]["preStop"]["sleep"]["seconds"].as_u64() else {
                problems.push(format!("{}: no pause before SIGTERM", pod.title));
                continue;
            };
            let deadline = settings_of(documents, container)
                .find(|(name, _)| *name == "SHUTDOWN_DEADLINE_SECONDS")
                .map_or(Some(DEFAULT_SHUTDOWN_DEADLINE), |(_, value)| value.parse().ok());
            let needed = pause + deadline.unwrap_or(u64::MAX / 2) + MARGIN;
            if grace < needed {
                let title = &pod.title;
                problems.push(format!("{title}: killed after {grace} s, but it needs {needed} s to drain"));
            }
        }
    }
}

/// No gRPC probe asks a port that speaks TLS only: Kubernetes' probe cannot, so the pod would never be ready.
pub fn probes_without_tls(documents: &[Value], problems: &mut Vec<String>) {
    for pod in Pod::all(documents) {
        for container in pod.containers() {
            let asks_by_grpc = PROBES.iter().any(|probe| container[*probe]["grpc"].is_object());
            let mut names =
                settings_of(documents, container).map(|it| it.0).chain(secrets_of(documents, container));
            if asks_by_grpc && names.any(|name| name.starts_with("GRPC_TLS_")) {
                problems.push(format!(
                    "{}: a gRPC probe cannot speak TLS; with GRPC_TLS_* probe /readyz on the admin port",
                    pod.title
                ));
            }
        }
    }
}

/// Everything that a pod refers to exists. Secrets are checked in throwaway overlays only: in production the site makes
/// them.
pub fn references(documents: &[Value], strictness: Strictness, problems: &mut Vec<String>) {
    for pod in Pod::all(documents) {
        for (kind, name, key) in pod.references() {
            let is_the_sites = kind == "Secret" && strictness == Strictness::Production;
            let mut named = of_kind(documents, kind).filter(|it| it["metadata"]["name"] == *name);
            let exists = named.any(|it| key.is_none_or(|key| it["data"][key].is_string()));
            if !(name.is_null() || is_the_sites || exists) {
                let (title, name, key) = (&pod.title, text(name), key.unwrap_or_default());
                problems.push(format!("{title}: refers to {kind}/{name} {key}, which is not there"));
            }
        }
    }
}
