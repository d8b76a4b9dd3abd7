//! Rules for PostgreSQL's limits, probes, monitoring and the Dockerfile, each with a document that breaks it.

use serde_json::{Value, json};

use super::super::{Strictness, images, manifests};
use super::{COMMAND, CONTAINER, breaks, contract, good, position};

/// Limits that just suffice for `good()`: a rollout of a Deployment with one pod runs a new one while the old one ends.
fn cluster() -> Value {
    let role = |name: &str, limit: u64| json!({"name": name, "connectionLimit": limit});
    let set = |role: &str, setting: &str| format!("ALTER ROLE {role} SET {setting}");
    let mut statements = Vec::new();
    for role in ["followgraph_command", "followgraph_query", "followgraph_projector"] {
        statements.push(set(role, "statement_timeout = '10s'"));
        statements.push(set(role, "idle_in_transaction_session_timeout = '5s'"));
    }
    statements.push(set("followgraph_query", "default_transaction_read_only = 'on'"));
    json!({"kind": "Cluster", "metadata": {"name": "db"}, "spec": {
        "imageName": "x/postgresql:18.0",
        "postgresql": {"parameters": {"max_connections": "140"}},
        "bootstrap": {"initdb": {"postInitSQL": statements}},
        "managed": {"roles": [
            role("followgraph_command", 66),
            role("followgraph_query", 60),
            role("followgraph_projector", 4),
        ]},
    }})
}

/// Changes `whole()` and expects exactly one problem, which contains `wanted`.
#[track_caller]
fn breaks_one(change: impl FnOnce(&mut [Value]), wanted: &str) {
    let mut documents = whole();
    change(&mut documents);
    let problems = manifests(&documents, Strictness::Production, &contract());
    assert!(problems.len() == 1 && problems[0].contains(wanted), "{wanted}: {problems:#?}");
}

/// `good()` with a PostgreSQL cluster and a PodMonitor.
fn whole() -> Vec<Value> {
    let mut documents = good();
    for document in documents.iter_mut().filter(|document| document["metadata"]["labels"].is_object()) {
        let name = document["metadata"]["name"].clone();
        document["spec"]["template"]["metadata"] = json!({"labels": {"app.kubernetes.io/name": name}});
        document["spec"]["template"]["spec"]["containers"][0]["ports"] = json!([{"name": "admin"}]);
    }
    documents.push(cluster());
    documents.push(json!({"kind": "PodMonitor", "metadata": {"name": "all"}, "spec": {
        "jobLabel": "app.kubernetes.io/name",
        "selector": {"matchExpressions": [{"key": "app.kubernetes.io/name", "operator": "In",
            "values": ["command-service", "query-service", "projector"]}]},
        "podMetricsEndpoints": [{"port": "admin", "interval": "15s"}],
    }}));
    documents
}

fn of<'a>(documents: &'a mut [Value], title: &str) -> &'a mut Value {
    let place = position(documents, title);
    &mut documents[place]
}

#[test]
fn limits_that_just_suffice_are_accepted() {
    assert_eq!(manifests(&whole(), Strictness::Production, &contract()), Vec::<String>::new());
}

#[test]
fn a_role_with_too_few_connections_is_found() {
    let roles = |documents: &mut [Value], role: usize, limit: Value| {
        of(documents, "Cluster/db")["spec"]["managed"]["roles"][role]["connectionLimit"] = limit;
    };
    breaks_one(|all| roles(all, 0, json!(65)), "3 processes take 22 each");
    breaks_one(|all| roles(all, 1, json!(59)), "3 processes take 20 each");
    breaks_one(|all| roles(all, 2, json!(3)), "1 processes take 4 each");
    breaks_one(|all| roles(all, 2, json!(null)), "no role followgraph_projector with a connectionLimit");
    breaks_one(|all| of(all, COMMAND)["spec"]["replicas"] = json!(2), "5 processes take 22 each");
    let strategy = json!({"rollingUpdate": {"maxSurge": 2}});
    breaks_one(|all| of(all, COMMAND)["spec"]["strategy"] = strategy, "4 processes take 22 each");
    let pool = json!({"DATABASE_MAX_CONNECTIONS": "17", "STREAM_REPLICAS": "1"});
    let mut contract = contract();
    contract.variables.entry("command-service").or_default().insert("DATABASE_MAX_CONNECTIONS".to_owned());
    let mut documents = whole();
    of(&mut documents, "ConfigMap/command-service")["data"] = pool;
    let problems = manifests(&documents, Strictness::Production, &contract);
    assert!(problems.len() == 1 && problems[0].contains("3 processes take 23 each"), "{problems:#?}");
    let server = json!({"parameters": {"max_connections": "139"}});
    breaks_one(|all| of(all, "Cluster/db")["spec"]["postgresql"] = server, "max_connections is 139");
}

#[test]
fn terminating_pods_count() {
    // Three pods, a new one, and the terminating ones: one if minReadySeconds covers the grace period, else all three.
    for (seconds, wanted) in [(40, "5 processes take 22 each"), (39, "7 processes take 22 each")] {
        breaks_one(
            |all| {
                let spec = &mut of(all, COMMAND)["spec"];
                spec["replicas"] = json!(3);
                spec["minReadySeconds"] = json!(seconds);
            },
            wanted,
        );
    }
}

#[test]
fn fallback_budgets_of_all_pods_are_added_up() {
    let scaler = "HorizontalPodAutoscaler/query-service";
    let mut documents = good();
    let spec = &mut of(&mut documents, scaler)["spec"];
    spec["maxReplicas"] = json!(2);
    spec["scaleTargetRef"] = json!({"name": "query-service"});
    let problems = manifests(&documents, Strictness::Production, &contract());
    assert!(problems.len() == 1 && problems[0].contains("2 pods ask PostgreSQL for more"), "{problems:#?}");
}

#[test]
fn roles_without_session_defaults_are_found() {
    for (place, wanted) in [
        (0, "gives followgraph_command no statement_timeout"),
        (5, "gives followgraph_projector no idle_in_transaction_session_timeout"),
        (6, "gives followgraph_query no default_transaction_read_only"),
    ] {
        let change = |all: &mut [Value]| {
            of(all, "Cluster/db")["spec"]["bootstrap"]["initdb"]["postInitSQL"][place] = json!("SELECT 1");
        };
        breaks_one(change, wanted);
    }
    let script = "  ('a',   60, false),\n  ('b',     80, true),\n  -- true)\n  ('c', 20, true)\n";
    assert_eq!(contract::readers(script), ["b", "c"]);
}

#[test]
fn a_grpc_probe_and_tls_exclude_each_other() {
    let probe = format!("{CONTAINER}/readinessProbe");
    let mut contract = contract();
    contract.variables.entry("command-service").or_default().insert("GRPC_TLS_CERT_FILE".to_owned());
    let mut documents = good();
    of(&mut documents, "ConfigMap/command-service")["data"]["GRPC_TLS_CERT_FILE"] = json!("/tls/tls.crt");
    assert_eq!(manifests(&documents, Strictness::Production, &contract), Vec::<String>::new());
    *of(&mut documents, COMMAND).pointer_mut(&probe).expect("a probe") = json!({"grpc": {"port": 9080}});
    let problems = manifests(&documents, Strictness::Production, &contract);
    assert!(problems.len() == 1 && problems[0].contains("cannot speak TLS"), "{problems:#?}");
}

#[test]
fn a_service_that_is_not_scraped_is_found() {
    let spec = |documents: &mut [Value], part: &str, value: Value| {
        of(documents, "PodMonitor/all")["spec"][part] = value;
    };
    breaks_one(|all| spec(all, "jobLabel", json!(null)), "alerts miss the service");
    let seldom = json!([{"port": "admin", "interval": "60s"}]);
    breaks_one(|all| spec(all, "podMetricsEndpoints", seldom), "30s or less");
    let some = json!({"matchExpressions": [{"key": "app.kubernetes.io/name", "operator": "In",
        "values": ["command-service", "projector"]}]});
    breaks_one(|all| spec(all, "selector", some), "Deployment/query-service: no PodMonitor finds");
    let one = json!([{"name": "metrics"}]);
    breaks_one(
        |all| of(all, COMMAND)["spec"]["template"]["spec"]["containers"][0]["ports"] = one,
        "Deployment/command-service: no PodMonitor finds",
    );
}

#[test]
fn base_images_are_pinned() {
    let check = |text: &str| images::dockerfile(text, &contract());
    let good = "ARG BASE=rust:1.95-bookworm\nFROM ${BASE} AS build\nFROM build AS more\n\
                FROM gcr.io/distroless/cc-debian12:nonroot@sha256:0000 AS runtime\n";
    assert_eq!(check(good), Vec::<String>::new());
    for (text, wanted) in [
        ("FROM rust", "has no tag"),
        ("ARG BASE=rust:latest\nFROM --platform=linux/amd64 ${BASE} AS build", "a tag that moves"),
        ("FROM gcr.io/distroless/cc-debian12:nonroot", "a tag that moves"),
        ("FROM ${UNKNOWN}", "has no tag"),
    ] {
        let problems = check(text);
        assert!(problems.len() == 1 && problems[0].contains(wanted), "{text}: {problems:?}");
    }
    let image = format!("{CONTAINER}/image");
    breaks("StatefulSet/nats", &image, json!("gcr.io/distroless/cc-debian12:nonroot"), "a tag that moves");
}
