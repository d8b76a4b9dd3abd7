//! Pods: restricted, watched, drained, and complete. That they have sizes and a read-only root, and are not privileged,
//! kube-score checks.

use serde_json::{Value, json};

use super::{Pod, Strictness, config_map, is_called, list, of_kind, text};

/// What service-kit takes where SHUTDOWN_DEADLINE_SECONDS is not set.
const DEFAULT_SHUTDOWN_DEADLINE: u64 = 20;
/// What the process may take after its deadline, with room.
const MARGIN: u64 = 5;

const PROBES: [&str; 3] = ["readinessProbe", "livenessProbe", "startupProbe"];

/// The rest of the restricted pod security standard, and no token of Kubernetes.
pub(super) fn restricted(documents: &[Value]) -> Vec<String> {
    let mut problems = Vec::new();
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
    problems
}

/// What runs for ever has a readiness and a liveness probe, a service a startup probe too.
pub(super) fn watched(documents: &[Value]) -> Vec<String> {
    let mut problems = Vec::new();
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
    problems
}

/// A service gets time between its end and the kill: the pause before SIGTERM, its own deadline, and some room.
pub(super) fn drained(documents: &[Value]) -> Vec<String> {
    let mut problems = Vec::new();
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
                problems
                    .push(format!("{}: killed after {grace} s, but it needs {needed} s to drain", pod.title));
            }
        }
    }
    problems
}

/// Kubernetes' own gRPC probe speaks no TLS: it would fail for ever where the port speaks nothing else.
pub(super) fn probes_without_tls(documents: &[Value]) -> Vec<String> {
    let mut problems = Vec::new();
    for pod in Pod::all(documents) {
        for container in pod.containers() {
            let asks_by_grpc = PROBES.iter().any(|probe| container[*probe]["grpc"].is_object());
            let mut names =
                settings_of(documents, container).map(|it| it.0).chain(secrets_of(documents, container));
            if asks_by_grpc && names.any(|name| name.starts_with("GRPC_TLS_")) {
                problems.push(format!(
                    "{}: a gRPC probe cannot speak TLS; with GRPC_TLS_* ask /readyz on the admin port",
                    pod.title
                ));
            }
        }
    }
    problems
}

/// Whatever a pod refers to is there. Secrets are a site's own, except where they are throwaway.
pub(super) fn references(documents: &[Value], strictness: Strictness) -> Vec<String> {
    let mut problems = Vec::new();
    for pod in Pod::all(documents) {
        let mut demand = |kind: &str, name: &Value, key: Option<&str>| {
            let found = name.is_null()
                || of_kind(documents, kind).any(|document| {
                    document["metadata"]["name"] == *name
                        && key.is_none_or(|key| document["data"][key].is_string())
                });
            if !found {
                problems.push(format!(
                    "{}: refers to {kind}/{} {}, which is not there",
                    pod.title,
                    text(name),
                    key.unwrap_or_default()
                ));
            }
        };
        demand("ServiceAccount", &pod.spec["serviceAccountName"], None);
        for volume in list(&pod.spec["volumes"]) {
            demand("ConfigMap", &volume["configMap"]["name"], None);
        }
        for container in pod.all_containers() {
            for source in list(&container["envFrom"]) {
                demand("ConfigMap", &source["configMapRef"]["name"], None);
            }
            if strictness == Strictness::Production {
                continue;
            }
            for variable in list(&container["env"]) {
                let reference = &variable["valueFrom"]["secretKeyRef"];
                demand("Secret", &reference["name"], reference["key"].as_str());
            }
        }
    }
    problems
}

/// Name and value of each variable that a container gets from a ConfigMap or in plain.
pub(super) fn settings_of<'a>(
    documents: &'a [Value],
    container: &'a Value,
) -> impl Iterator<Item = (&'a str, &'a str)> {
    let from_maps = list(&container["envFrom"])
        .iter()
        .filter_map(|source| config_map(documents, text(&source["configMapRef"]["name"])))
        .flatten()
        .map(|(name, value)| (name.as_str(), text(value)));
    let plain =
        list(&container["env"]).iter().map(|variable| (text(&variable["name"]), text(&variable["value"])));
    from_maps.chain(plain)
}

/// The names of what a container gets from Secrets as a whole.
pub(super) fn secrets_of<'a>(documents: &'a [Value], container: &'a Value) -> impl Iterator<Item = &'a str> {
    list(&container["envFrom"])
        .iter()
        .filter_map(|source| source["secretRef"]["name"].as_str())
        .filter_map(|name| of_kind(documents, "Secret").find(|secret| is_called(secret, name)))
        .filter_map(|secret| secret["data"].as_object())
        .flat_map(|data| data.keys().map(String::as_str))
}
