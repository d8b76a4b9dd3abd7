//! Each rule with a document that breaks it. No other rule may report that document.

mod availability;
mod limits;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{Contract, Strictness, compose, contract, manifests};

fn contract() -> Contract {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    let common = ["SHUTDOWN_DEADLINE_SECONDS", "DATABASE_URL"];
    Contract {
        variables: BTreeMap::from([
            ("command-service", names(&[&common[..], &["STREAM_REPLICAS"]].concat())),
            ("query-service", names(&[&common[..], &["NEO4J_URIS", "LEGACY_READS"]].concat())),
            ("projector", names(&[&common[..], &["NEO4J_URI"]].concat())),
        ]),
        legacy_methods: vec!["CreateFollow".to_owned(), "GetFollowers".to_owned()],
        readers: vec!["followgraph_query".to_owned()],
        query_metrics: "pub const READS: &str = \"query_reads_total\";".to_owned(),
        metrics_adapter: "query_reads_total query_reads_per_second".to_owned(),
        nats_users: Some("accounts {}".to_owned()),
    }
}

fn workload(kind: &str, name: &str, image: &str, labels: Value) -> Value {
    json!({
        "kind": kind,
        "metadata": {"name": name, "labels": labels},
        "spec": {"replicas": 1, "template": {"spec": {
            "serviceAccountName": "account",
            "automountServiceAccountToken": false,
            "terminationGracePeriodSeconds": 40,
            "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": "main",
                "image": image,
                "securityContext": {
                    "allowPrivilegeEscalation": false,
                    "capabilities": {"drop": ["ALL"]},
                },
                "startupProbe": {}, "readinessProbe": {}, "livenessProbe": {},
                "lifecycle": {"preStop": {"sleep": {"seconds": 10}}},
                "envFrom": [{"configMapRef": {"name": name}}],
                "env": [{"name": "DATABASE_URL", "valueFrom": {"secretKeyRef": {"name": "database", "key": "url"}}}],
            }],
        }}},
    })
}

/// The first document is command-service, the second query-service.
fn good() -> Vec<Value> {
    let service = json!({"app.kubernetes.io/component": "service"});
    let map =
        |name: &str, data: Value| json!({"kind": "ConfigMap", "metadata": {"name": name}, "data": data});
    let mut neo4j = workload("StatefulSet", "neo4j", "neo4j:5.26.30-community", json!({}));
    let container = &mut neo4j["spec"]["template"]["spec"]["containers"][0];
    container["readinessProbe"] = json!({"periodSeconds": 5, "successThreshold": 13});
    container["resources"]["limits"]["memory"] = json!("3584Mi");
    let memory = "server.memory.heap.max_size=1G\nserver.memory.pagecache.size=512m";
    let status = |name: &str, port: u16| {
        json!({"kind": "Service", "metadata": {"name": name},
            "spec": {"publishNotReadyAddresses": true, "ports": [{"port": port}]}})
    };
    vec![
        workload("Deployment", "command-service", "followgraph/command-service:1.0.0", service.clone()),
        workload(
            "Deployment",
            "query-service",
            "example.com/followgraph/query-service:1.0.0",
            service.clone(),
        ),
        workload("StatefulSet", "projector", "followgraph/projector:1.0.0", service),
        neo4j,
        workload("StatefulSet", "nats", "nats:2.15.1", json!({})),
        map("command-service", json!({"STREAM_REPLICAS": "1"})),
        map("query-service", json!({"NEO4J_URIS": "bolt://neo4j-0.neo4j:7687", "LEGACY_READS": "token"})),
        map("projector", json!({"SHUTDOWN_DEADLINE_SECONDS": "20"})),
        map("neo4j", json!({"neo4j.conf": memory})),
        map("nats", json!({"nats.conf": "password: $COMMAND_SERVICE_PASSWORD"})),
        json!({"kind": "ServiceAccount", "metadata": {"name": "account"}}),
        json!({"kind": "Service", "metadata": {"name": "command-service"}, "spec": {"ports": [{"port": 9080}]}}),
        json!({"kind": "Service", "metadata": {"name": "query-service"}, "spec": {"ports": [{"port": 9081}]}}),
        status("command-service-status", 9080),
        status("query-service-status", 9081),
        json!({"kind": "NetworkPolicy", "metadata": {"name": "none"},
            "spec": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}}),
        json!({"kind": "GRPCRoute", "metadata": {"name": "route"}, "spec": {"rules": [
            {"matches": [{"method": {"service": "nova.graph_service.v2.GraphService", "method": "CreateFollow"}}],
                "backendRefs": [{"name": "command-service", "port": 9080}]},
            {"matches": [{"method": {"service": "nova.graph_service.v2.GraphService"}}],
                "backendRefs": [{"name": "query-service", "port": 9081}]},
            {"matches": [{"method": {"service": "followgraph.command.v1.CommandService", "method": "GetStatus"}}],
                "backendRefs": [{"name": "command-service-status", "port": 9080}]},
            {"matches": [{"method": {"service": "followgraph.query.v1.QueryService", "method": "GetStatus"}}],
                "backendRefs": [{"name": "query-service-status", "port": 9081}]},
        ]}}),
        json!({"kind": "HorizontalPodAutoscaler", "metadata": {"name": "query-service"}, "spec": {"metrics": [
            {"type": "Pods", "pods": {"metric": {"name": "query_reads_per_second"}}},
        ]}}),
    ]
}

fn position(documents: &[Value], title: &str) -> usize {
    documents
        .iter()
        .position(|document| super::documents::title(document) == title)
        .expect("a document of that title")
}

/// Sets one value of one document and expects exactly one problem, which contains `wanted`.
#[track_caller]
fn breaks(title: &str, pointer: &str, value: Value, wanted: &str) {
    let mut documents = good();
    let document = position(&documents, title);
    let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
    let place = documents[document].pointer_mut(parent).expect("a place");
    match place {
        Value::Array(items) => items[key.parse::<usize>().expect("an index")] = value,
        place => place[key] = value,
    }
    let problems = manifests(&documents, Strictness::Production, &contract());
    assert!(problems.len() == 1 && problems[0].contains(wanted), "{title} {pointer}: {problems:#?}");
}

const COMMAND: &str = "Deployment/command-service";
const CONTAINER: &str = "/spec/template/spec/containers/0";

#[test]
fn good_documents_have_no_problem() {
    assert_eq!(manifests(&good(), Strictness::Production, &contract()), Vec::<String>::new());
}

#[test]
fn images_are_pinned() {
    let image = format!("{CONTAINER}/image");
    let digest = "nats@sha256:0000";
    assert_eq!(super::images::wrong_with(digest, &contract()), None);
    for (title, name, wanted) in [
        ("StatefulSet/nats", "nats", "has no tag"),
        ("StatefulSet/nats", "example.com:5000/nats", "has no tag"),
        ("StatefulSet/nats", "nats:latest", "a tag that moves"),
        ("StatefulSet/nats", "nats:2.9.10", "not of the version that is tested, 2.15.1"),
        ("StatefulSet/neo4j", "neo4j:5.26.3", "not of the version that is tested, 5.26.30"),
        ("StatefulSet/neo4j", "postgres:17.2", "not of the version that is tested, 18.0"),
        (COMMAND, "followgraph/command-service:main", "a tag that moves"),
    ] {
        breaks(title, &image, json!(name), wanted);
    }
    let mut documents = good();
    documents.push(
        json!({"kind": "Cluster", "metadata": {"name": "db"}, "spec": {"imageName": "x/postgresql:17"}}),
    );
    assert_eq!(manifests(&documents, Strictness::Production, &contract()).len(), 1);
}

#[test]
fn secrets_in_clear_are_found() {
    for content in ["data", "stringData"] {
        let mut documents = good();
        documents.push(json!({"kind": "Secret", "metadata": {"name": "s"}, content: {"a": "b"}}));
        let problems = manifests(&documents, Strictness::Production, &contract());
        assert!(problems.len() == 1 && problems[0].contains("content in the repository"), "{problems:?}");
    }
    let variable = format!("{CONTAINER}/env/0");
    let url = json!({"name": "DATABASE_URL", "value": "postgres://me:hunter2@db/x"});
    breaks(COMMAND, &variable, url, "DATABASE_URL has a password in an address");
    breaks("ConfigMap/neo4j", "/data/AUTH_TOKENS", json!("x"), "AUTH_TOKENS has the name of a secret");
    breaks(
        "ConfigMap/nats",
        "/data/nats.conf",
        json!("routes: [nats://a:b@c:1]"),
        "a password in an address",
    );
    assert_eq!(super::secrets::wrong_with("NEO4J_URI", "bolt://neo4j@host:7687"), None);
}

#[test]
fn pods_are_restricted() {
    let pod = "/spec/template/spec";
    for (pointer, value, wanted) in [
        ("/automountServiceAccountToken", json!(true), "mounts a token"),
        ("/securityContext/runAsNonRoot", json!(false), "may run as root"),
        ("/securityContext/seccompProfile", json!({"type": "Unconfined"}), "no seccomp profile"),
        ("/hostNetwork", json!(true), "namespace of the host"),
        ("/containers/0/securityContext/allowPrivilegeEscalation", json!(null), "may gain privileges"),
        ("/containers/0/securityContext/capabilities", json!({}), "keeps capabilities"),
        ("/serviceAccountName", json!(null), "no service account"),
        ("/serviceAccountName", json!("other"), "refers to ServiceAccount/other"),
    ] {
        breaks("StatefulSet/neo4j", &format!("{pod}{pointer}"), value, wanted);
    }
}

#[test]
fn init_containers_are_restricted_too() {
    let init = json!([{"name": "first", "image": "nats:2.15.1",
        "securityContext": {"allowPrivilegeEscalation": false}}]);
    breaks("StatefulSet/nats", "/spec/template/spec/initContainers", init, "first keeps capabilities");
}

#[test]
fn containers_need_probes() {
    for probe in ["readinessProbe", "livenessProbe", "startupProbe"] {
        breaks(COMMAND, &format!("{CONTAINER}/{probe}"), json!(null), &format!("no {probe}"));
    }
}

#[test]
fn services_get_time_to_drain() {
    breaks(COMMAND, "/spec/template/spec/terminationGracePeriodSeconds", json!(30), "needs 35 s to drain");
    breaks(COMMAND, "/spec/template/spec/terminationGracePeriodSeconds", json!(null), "killed after 30 s");
    breaks(COMMAND, &format!("{CONTAINER}/lifecycle"), json!(null), "no pause before SIGTERM");
    breaks("ConfigMap/projector", "/data/SHUTDOWN_DEADLINE_SECONDS", json!("60"), "needs 75 s to drain");
}

#[test]
fn a_reference_to_nothing_is_found() {
    breaks(
        "StatefulSet/nats",
        &format!("{CONTAINER}/envFrom/0/configMapRef/name"),
        json!("gone"),
        "ConfigMap/gone",
    );
    let volumes = json!([{"name": "conf", "configMap": {"name": "gone"}}]);
    breaks("StatefulSet/nats", "/spec/template/spec/volumes", volumes, "ConfigMap/gone");
    // Throwaway secrets are in the overlay, so they must be complete.
    let problems = manifests(&good(), Strictness::Throwaway, &contract());
    assert!(
        problems.len() == 5 && problems.iter().all(|it| it.contains("Secret/database url")),
        "{problems:#?}"
    );
}

#[test]
fn every_setting_is_known_to_its_program() {
    breaks("ConfigMap/command-service", "/data/STREAM_REPLICA", json!("1"), "does not know STREAM_REPLICA");
    breaks("ConfigMap/query-service", "/data/STREAM_REPLICAS", json!("1"), "does not know STREAM_REPLICAS");
    let variables = json!([
        {"name": "ORDINAL", "valueFrom": {"fieldRef": {"fieldPath": "x"}}},
        {"name": "NEO4J_URI", "value": "bolt://neo4j-$(ORDINAL).neo4j:7687"},
    ]);
    let mut documents = good();
    documents[2]["spec"]["template"]["spec"]["containers"][0]["env"] = variables;
    assert_eq!(manifests(&documents, Strictness::Production, &contract()), Vec::<String>::new());
    let source = r#"const A: &str = "DATABASE_URL"; let b = "not this"; #[arg(env = "NEO4J_URI")]"#;
    assert_eq!(contract::names_in(source).collect::<Vec<_>>(), ["DATABASE_URL", "NEO4J_URI"]);
}

#[test]
fn replicas_fit_together() {
    breaks("StatefulSet/projector", "/spec/replicas", json!(2), "1 Neo4j but 2 projectors");
    let uris = json!("bolt://neo4j-1.neo4j:7687");
    breaks("ConfigMap/query-service", "/data/NEO4J_URIS", uris, "the pods are bolt://neo4j-0.neo4j:7687");
    breaks("ConfigMap/command-service", "/data/STREAM_REPLICAS", json!("3"), "NATS has 1 servers");
}

/// `1G` is 1 GiB for Neo4j, and less in Kubernetes.
#[test]
fn neo4j_fits_its_memory() {
    let limit = "/spec/template/spec/containers/0/resources/limits/memory";
    breaks("StatefulSet/neo4j", limit, json!("3550Mi"), "exceed");
}

#[test]
fn the_limit_of_jetstream_fits_its_volume() {
    let claims = |storage: &str| json!([{"metadata": {"name": "data"}, "spec": {"resources": {"requests": {"storage": storage}}}}]);
    let with = |stored: &str, storage: &str| {
        let mut documents = good();
        let map = position(&documents, "ConfigMap/nats");
        documents[map]["data"]["store.conf"] = json!(format!("# Size.\nmax_file_store: {stored}\n"));
        let set = position(&documents, "StatefulSet/nats");
        documents[set]["spec"]["volumeClaimTemplates"] = claims(storage);
        manifests(&documents, Strictness::Production, &contract())
    };
    for (stored, storage) in [("9GB", "10Gi"), ("900MB", "1Gi"), ("9G", "10G"), ("1TB", "2Ti")] {
        assert_eq!(with(stored, storage), Vec::<String>::new(), "{stored} in {storage}");
    }
    // Sizes that cannot be read are mistakes too.
    for (stored, storage) in
        [("8GB", "8Gi"), ("10GB", "10G"), ("1TB", "50Gi"), ("lots", "10Gi"), ("8GB", "ten")]
    {
        let problems = with(stored, storage);
        assert!(
            problems.len() == 1 && problems[0].contains("too much for a volume"),
            "{stored}: {problems:?}"
        );
    }
}

#[test]
fn users_of_nats_are_those_of_the_tests() {
    let users = "/data/users.conf";
    breaks("ConfigMap/nats", users, json!("accounts { A {} }"), "not a copy of migrations/roles/nats.conf");
    let mut documents = good();
    let nats = position(&documents, "ConfigMap/nats");
    documents[nats]["data"]["users.conf"] = json!("accounts {}");
    assert_eq!(manifests(&documents, Strictness::Production, &contract()), Vec::<String>::new());
}

#[test]
fn metrics_of_the_autoscaler_exist() {
    let name = "/spec/metrics/0/pods/metric/name";
    breaks(
        "HorizontalPodAutoscaler/query-service",
        name,
        json!("query_wishes_per_second"),
        "no counter behind",
    );
    let contract = Contract { metrics_adapter: String::new(), ..contract() };
    let problems = manifests(&good(), Strictness::Production, &contract);
    assert!(
        problems.len() == 1 && problems[0].contains("metrics-adapter.yaml does not make"),
        "{problems:?}"
    );
}

#[test]
fn the_network_is_closed() {
    breaks("NetworkPolicy/none", "/spec/policyTypes", json!(["Ingress"]), "no NetworkPolicy denies");
    breaks("NetworkPolicy/none", "/spec/ingress", json!([{}]), "no NetworkPolicy denies");
}

#[test]
fn methods_of_the_older_api_are_routed() {
    let route = "GRPCRoute/route";
    let method = "/spec/rules/0/matches/0/method/method";
    breaks(route, method, json!("CreateFollows"), "CreateFollow goes to Some(\"query-service\")");
    breaks(
        route,
        "/spec/rules/0/backendRefs/0",
        json!({"name": "query-service", "port": 9081}),
        "CreateFollow goes to",
    );
    breaks(route, "/spec/rules/1/matches", json!([]), "GetFollowers goes to None");
    breaks(
        route,
        "/spec/rules/1/backendRefs/0/port",
        json!(9080),
        "no Service \"query-service\" with port 9080",
    );
    breaks(route, "/kind", json!("HTTPRoute"), "no GRPCRoute");
    let proto = "service S {\n  // rpc Old(x)\n  rpc CreateFollow(A) returns (B);\n}";
    assert_eq!(contract::methods(proto), ["CreateFollow"]);
}

#[test]
fn compose_files_follow_the_same_rules() {
    let file = |environment: Value, image: &str| {
        let one = json!({"image": image, "environment": environment, "restart": "always"});
        vec![json!({"services": {"one": one}})]
    };
    let check = |environment, image| compose(&file(environment, image), &contract());
    let ours = "followgraph/command-service:1.0.0";
    let good = json!({"DATABASE_URL": "postgres://me:${PASSWORD:?}@db/x", "STREAM_REPLICAS": "1"});
    assert_eq!(check(good, ours), Vec::<String>::new());
    for (environment, image, wanted) in [
        (json!({}), "nats:latest", "a tag that moves"),
        (json!({"DATABASE_URL": "postgres://me:hunter2@db/x"}), ours, "a password in an address"),
        (json!({"POSTGRES_PASSWORD": "hunter2"}), "postgres:18.0", "the name of a secret"),
        (json!({"STREAM_REPLICA": "1"}), ours, "does not know STREAM_REPLICA"),
        (json!(["A=b"]), ours, "must be a map"),
    ] {
        let problems = check(environment, image);
        assert!(problems.len() == 1 && problems[0].contains(wanted), "{wanted}: {problems:?}");
    }
    assert_eq!(compose(&[json!({})], &contract()), ["it has no services"]);
}
