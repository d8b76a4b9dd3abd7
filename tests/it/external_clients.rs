//! Clients that know the contract by reflection alone can call all methods: one in Python, which uses reflection
//! v1alpha, and grpcurl, which uses v1.

mod grpcurl;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Output, Stdio};

use devstack::python::Python;
use devstack::workspace;
use serde_json::json;
use tests::{Endpoints, LIMIT, new_user};
use tokio::task::block_in_place;

use self::grpcurl::Grpcurl;

const COMMANDS: &str = "followgraph.command.v1.CommandService";
const QUERIES: &str = "followgraph.query.v1.QueryService";
const LEGACY: &str = "nova.graph_service.v2.GraphService";
const HEALTH: &str = "grpc.health.v1.Health";
const REFLECTION: &str = "grpc.reflection.v1.ServerReflection";

/// The folder of the Python client.
fn folder() -> PathBuf {
    workspace::root().join("tests/it/external_clients")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_in_python_calls_all_that_reflection_shows() {
    run_python_client(&Endpoints::shared()).await;
}

/// Runs the Python client against a set of servers.
pub async fn run_python_client(endpoints: &Endpoints) {
    let python = block_in_place(|| Python::with_packages(&folder().join("requirements.txt")))
        .unwrap_or_else(|error| panic!("the client in Python cannot run here: {error:#}"));
    let mut command = tokio::process::Command::from(python.command());
    command
        .arg(folder().join("client.py"))
        .env("FOLLOWGRAPH_COMMAND_ADDR", &endpoints.command)
        .env("FOLLOWGRAPH_QUERY_ADDR", &endpoints.query)
        .env("FOLLOWGRAPH_TOKEN", &endpoints.token)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let ended = tokio::time::timeout(LIMIT, command.output()).await;
    let Output { status, stdout, stderr } = ended.expect("it ends").expect("Python runs");
    let [out, err] = [stdout, stderr].map(|bytes| String::from_utf8(bytes).expect("UTF-8"));
    assert!(status.success(), "{status}\n{out}{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn grpcurl_describes_every_service_and_method_and_type() {
    let endpoints = Endpoints::shared();
    let grpcurl = Grpcurl::install(&endpoints.token);
    for (address, own) in [(&endpoints.command, COMMANDS), (&endpoints.query, QUERIES)] {
        let services = grpcurl.text(&[address, "list"]).await;
        let services: BTreeSet<_> = services.lines().collect();
        assert_eq!(services, BTreeSet::from([own, LEGACY, HEALTH, REFLECTION]));
        let mut types = BTreeSet::new();
        for service in services {
            let described = grpcurl.text(&[address, "describe", service]).await;
            assert!(described.starts_with(&format!("{service} is a service:")), "{described}");
            let methods = grpcurl.text(&[address, "list", service]).await;
            assert_ne!(methods, "", "{service} has methods");
            for method in methods.lines() {
                let described = grpcurl.text(&[address, "describe", method]).await;
                // Comments precede it.
                let line = described.lines().find(|line| line.starts_with("rpc ")).expect("a method");
                let named: Vec<_> =
                    line.split_whitespace().filter_map(|word| word.strip_prefix('.')).collect();
                assert_eq!(named.len(), 2, "a request and a response: {described}");
                types.extend(named.into_iter().map(str::to_owned));
            }
        }
        for name in types {
            // A template contains the types of all fields too, so reflection must have them.
            let described = grpcurl.text(&["-msg-template", address, "describe", &name]).await;
            assert!(described.starts_with(&format!("{name} is a message:")), "{described}");
            assert!(described.contains("Message template:"), "{described}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn grpcurl_writes_and_reads() {
    let endpoints = Endpoints::shared();
    let grpcurl = Grpcurl::install(&endpoints.token);
    let command = async |method: &str, messages: &[serde_json::Value]| {
        grpcurl.call(&endpoints.command, &format!("{COMMANDS}/{method}"), messages).await
    };
    let query = async |method: &str, message: serde_json::Value| {
        grpcurl.call(&endpoints.query, &format!("{QUERIES}/{method}"), &[message]).await
    };
    let [ann, ben, cat, dan] = std::array::from_fn(|_| new_user());

    let written = command("Follow", &[json!({"actor_id": ann, "target_id": ben})]).await;
    assert_eq!(written[0]["changed"], true);
    assert_eq!(written[0]["relationship"]["following"], true);
    let fresh = json!({"at_least_as_fresh": written[0]["writtenAt"]});
    let request = json!({"viewer_id": ann, "target_id": ben, "consistency": fresh});
    assert_eq!(query("Check", request).await[0]["following"], true);
    let listed = query("ListFollowers", json!({"user_id": ben, "consistency": fresh})).await;
    assert_eq!(listed[0]["edges"].as_array().map(Vec::len), Some(1), "{listed:?}");
    assert_eq!(listed[0]["edges"][0]["userId"], ann);
    let status = command("GetStatus", &[]).await;
    assert_eq!(status[0]["stream"]["state"], "STREAM_STATE_OK");

    // Of blocks, because other tests create many follows and all are printed.
    let edge = |target: &str| json!({"source_id": ann, "target_id": target});
    let chunk = |target: &str| json!({"kind": "EDGE_KIND_BLOCK", "edges": [edge(target)]});
    let chunks = [&cat, &dan, &cat].map(|target| chunk(target));
    let imported = command("ImportEdges", &chunks).await;
    let accepted: Vec<_> = imported.iter().map(|answer| answer["accepted"].as_u64()).collect();
    assert_eq!(accepted, [Some(1), Some(1), None], "the third is there already: {imported:?}");
    let exported = query("ExportEdges", json!({"kind": "EDGE_KIND_BLOCK"})).await;
    let blocked: BTreeSet<_> = exported
        .iter()
        .flat_map(|message| message["edges"].as_array().into_iter().flatten())
        .filter(|edge| edge["sourceId"] == ann.as_str())
        .filter_map(|edge| edge["targetId"].as_str())
        .collect();
    assert_eq!(blocked, BTreeSet::from([cat.as_str(), dan.as_str()]));
}

#[tokio::test(flavor = "multi_thread")]
async fn grpcurl_shows_what_is_wrong_with_an_input() {
    let endpoints = Endpoints::shared();
    let grpcurl = Grpcurl::install(&endpoints.token);
    let request = json!({"actor_id": new_user(), "target_id": "somebody"});
    let error = grpcurl.refused(&endpoints.command, &format!("{COMMANDS}/Follow"), &[request]).await;
    for told in ["Code: InvalidArgument", "target_id", "google.rpc.ErrorInfo", "INVALID_UUID"] {
        assert!(error.contains(told), "{told}: {error}");
    }
}
