//! This project's own rules about what is deployed.
//!
//! Owns: which rules there are, and walking through documents. Each rule is a function from documents to problems; a
//! problem is a line that names the object. They must not know how documents came to be.
//!
//! What can go wrong: a rule that finds nothing because a document has another shape than it expects. So the schemas are
//! checked first, and each rule has a test with a document that breaks it.

mod compose;
mod contract;
mod database;
mod images;
mod monitoring;
mod neo4j;
mod network;
mod pods;
mod secrets;
mod settings;
#[cfg(test)]
mod tests;

use serde_json::{Map, Value};

pub(super) use compose::compose;
pub(super) use contract::Contract;
pub(super) use images::dockerfile;
pub(super) use secrets::made as secrets_made;

/// What may be in an overlay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Strictness {
    /// Passwords that protect nothing; one of each server.
    Throwaway,
    /// No secret, nothing left open.
    Production,
}

/// What is wrong with the documents of an overlay.
pub(super) fn manifests(documents: &[Value], strictness: Strictness, contract: &Contract) -> Vec<String> {
    let mut problems = Vec::new();
    problems.extend(images::pinned(documents, contract));
    problems.extend(secrets::none_in_clear(documents, strictness));
    problems.extend(pods::restricted(documents));
    problems.extend(pods::watched(documents));
    problems.extend(pods::drained(documents));
    problems.extend(pods::probes_without_tls(documents));
    problems.extend(pods::references(documents, strictness));
    problems.extend(settings::known(documents, contract));
    problems.extend(settings::one_neo4j_each(documents));
    problems.extend(settings::stream_replicas(documents));
    problems.extend(settings::stream_store(documents));
    problems.extend(settings::nats_users(documents, contract));
    problems.extend(settings::autoscaling_metrics(documents, contract));
    problems.extend(database::connections(documents));
    problems.extend(database::fallback_budget(documents));
    problems.extend(database::role_defaults(documents, contract));
    problems.extend(monitoring::scraped(documents));
    problems.extend(neo4j::ready_when_used(documents));
    problems.extend(neo4j::fits_its_memory(documents));
    problems.extend(network::methods_are_routed(documents, contract));
    problems.extend(network::status_is_reachable(documents));
    if strictness == Strictness::Production {
        problems.extend(network::denied_by_default(documents));
        problems.extend(network::has_a_route(documents));
        problems.extend(settings::reads_are_closed(documents));
    }
    problems
}

/// The data of a ConfigMap, whose name may end in a hash.
pub(super) fn config_map<'a>(documents: &'a [Value], name: &str) -> Option<&'a Map<String, Value>> {
    of_kind(documents, "ConfigMap").find(|map| is_called(map, name)).and_then(|map| map["data"].as_object())
}

fn of_kind<'a>(documents: &'a [Value], kind: &str) -> impl Iterator<Item = &'a Value> {
    documents.iter().filter(move |document| document["kind"] == kind)
}

/// `name`, or `name-` and the ten characters of a hash.
fn is_called(document: &Value, name: &str) -> bool {
    let whole = text(&document["metadata"]["name"]);
    whole == name
        || whole
            .strip_prefix(name)
            .and_then(|rest| rest.strip_prefix('-'))
            .is_some_and(|hash| hash.len() == 10 && !hash.contains('-'))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn title(document: &Value) -> String {
    format!("{}/{}", text(&document["kind"]), text(&document["metadata"]["name"]))
}

/// The pods that a document makes.
struct Pod<'a> {
    title: String,
    kind: &'a str,
    is_service: bool,
    labels: &'a Value,
    spec: &'a Value,
}

impl<'a> Pod<'a> {
    fn all(documents: &'a [Value]) -> impl Iterator<Item = Self> {
        documents.iter().filter(|document| document["spec"]["template"]["spec"].is_object()).map(|document| {
            Self {
                title: title(document),
                kind: text(&document["kind"]),
                is_service: document["metadata"]["labels"]["app.kubernetes.io/component"] == "service",
                labels: &document["spec"]["template"]["metadata"]["labels"],
                spec: &document["spec"]["template"]["spec"],
            }
        })
    }

    /// Those that run for as long as the pod.
    fn containers(&self) -> &'a [Value] {
        list(&self.spec["containers"])
    }

    /// Those too that run before.
    fn all_containers(&self) -> impl Iterator<Item = &'a Value> {
        list(&self.spec["initContainers"]).iter().chain(self.containers())
    }
}
