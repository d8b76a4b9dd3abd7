//! Rules for readiness, memory, access and restarts, each with a document that breaks it.

use serde_json::{Value, json};

use super::super::{Strictness, compose, images, manifests};
use super::{CONTAINER, breaks, contract, good, position};

#[test]
fn a_neo4j_is_ready_once_it_is_read_from() {
    let set = "StatefulSet/neo4j";
    let probe = format!("{CONTAINER}/readinessProbe");
    breaks(set, &probe, json!({"tcpSocket": {"port": "bolt"}, "periodSeconds": 5}), "ready 0 s after");
    breaks(set, &probe, json!({"periodSeconds": 5, "successThreshold": 12}), "ready 55 s after");
    // A node drain ignores minReadySeconds.
    let mut documents = good();
    let place = position(&documents, set);
    documents[place]["spec"]["minReadySeconds"] = json!(120);
    documents[place]["spec"]["template"]["spec"]["containers"][0]["readinessProbe"] = json!({});
    let problems = manifests(&documents, Strictness::Production, &contract());
    assert!(problems.len() == 1 && problems[0].contains("ready 0 s after"), "{problems:?}");
}

#[test]
fn a_neo4j_fits_its_memory() {
    let limit = format!("{CONTAINER}/resources/limits");
    breaks("StatefulSet/neo4j", &limit, json!({"memory": "3583Mi"}), "exceed the limit of 3583 MiB");
    let conf = "/data/neo4j.conf";
    let larger = json!("server.memory.heap.max_size=1g\nserver.memory.pagecache.size=513m");
    breaks("ConfigMap/neo4j", conf, larger, "exceed the limit of 3584 MiB");
    breaks("ConfigMap/neo4j", conf, json!("server.memory.heap.max_size=1g"), "cannot be read");
}

#[test]
fn reads_are_closed_in_production() {
    let map = "ConfigMap/query-service";
    breaks(map, "/data/LEGACY_READS", json!("open"), "LEGACY_READS is \"open\"");
    breaks(map, "/data/LEGACY_READS", json!(null), "LEGACY_READS is \"\"");
    let mut contract = contract();
    contract.variables.entry("query-service").or_default().insert("ANONYMOUS_READS".to_owned());
    let mut documents = good();
    let place = position(&documents, map);
    documents[place]["data"]["ANONYMOUS_READS"] = json!("true");
    let problems = manifests(&documents, Strictness::Production, &contract);
    assert!(problems.len() == 1 && problems[0].contains("ANONYMOUS_READS"), "{problems:?}");
    assert!(
        !manifests(&documents, Strictness::Throwaway, &contract)
            .iter()
            .any(|it| it.contains("ANONYMOUS_READS"))
    );
}

#[test]
fn the_status_is_reachable_while_no_pod_is_ready() {
    let route = "GRPCRoute/route";
    let status = "has no Service with publishNotReadyAddresses";
    breaks("Service/query-service-status", "/spec/publishNotReadyAddresses", json!(false), status);
    breaks(route, "/spec/rules/2/matches", json!([]), status);
    let calls = json!([{"name": "query-service", "port": 9081}]);
    breaks(route, "/spec/rules/3/backendRefs", calls, "QueryService/GetStatus");
}

#[test]
fn services_of_compose_restart() {
    let file = |nats: Value| {
        vec![json!({"services": {
            "migrate": {"image": "followgraph/cli:1.0.0"},
            "nats": nats,
            "relay": {"image": "nats:2.15.1", "restart": "always", "depends_on": {
                "migrate": {"condition": "service_completed_successfully"}}},
        }})]
    };
    let check = |nats| compose(&file(nats), &contract());
    assert_eq!(check(json!({"image": "nats:2.15.1", "restart": "unless-stopped"})), Vec::<String>::new());
    for nats in [json!({"image": "nats:2.15.1"}), json!({"image": "nats:2.15.1", "restart": "no"})] {
        let problems = check(nats);
        assert!(problems.len() == 1 && problems[0].contains("nats: stays down"), "{problems:?}");
    }
}

#[test]
fn the_health_of_an_image_does_not_depend_on_its_stores() {
    let check = |asks: &str| {
        let text =
            format!("FROM rust:1.95-bookworm\nHEALTHCHECK --interval=5s CMD [\"projector\", \"{asks}\"]\n");
        images::dockerfile(&text, &contract())
    };
    assert_eq!(check("--healthcheck"), Vec::<String>::new());
    assert_eq!(check("--healthcheck=live"), Vec::<String>::new());
    for asks in ["--healthcheck=ready", "http://127.0.0.1:9182/readyz"] {
        let problems = check(asks);
        assert!(problems.len() == 1 && problems[0].contains("HEALTHCHECK"), "{problems:?}");
    }
}

#[test]
fn a_secret_that_the_script_does_not_create_is_found() {
    let made = |secrets: Value| super::super::secrets_made(&good(), secrets.as_array().expect("a list"));
    let secret =
        |name: &str, data: Value| json!({"kind": "Secret", "metadata": {"name": name}, "stringData": data});
    let database = secret("database", json!({"url": "postgres://"}));
    let nats = secret("nats", json!({"COMMAND_SERVICE_PASSWORD": "x"}));
    assert_eq!(made(json!([database, nats])), Vec::<String>::new());
    let problems = made(json!([database, secret("nats", json!({}))]));
    assert!(
        problems.len() == 1 && problems[0].contains("Secret/nats COMMAND_SERVICE_PASSWORD"),
        "{problems:?}"
    );
    let problems = made(json!([secret("database", json!({"uri": "x"})), nats]));
    assert!(problems.len() == 5 && problems[0].contains("Secret/database url"), "{problems:?}");
}
