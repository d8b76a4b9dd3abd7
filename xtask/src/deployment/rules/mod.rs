//! This project's own rules for manifests, compose.yaml and the Dockerfile.
//!
//! A rule is a function from documents to problems; a problem is a line that names the object. A rule finds nothing in a
//! document of an unexpected form. So the schemas are validated first, and each rule has a test with a document that
//! breaks it.

mod compose;
mod contract;
mod database;
mod documents;
mod images;
mod monitoring;
mod neo4j;
mod network;
mod pods;
mod secrets;
mod settings;
#[cfg(test)]
mod tests;

use serde_json::Value;

pub use compose::compose;
pub use contract::Contract;
pub use documents::{Strictness, config_map, password_variables};
pub use images::dockerfile;
pub use secrets::made as secrets_made;

/// Problems of an overlay.
pub fn manifests(documents: &[Value], strictness: Strictness, contract: &Contract) -> Vec<String> {
    let mut problems = Vec::new();
    problems.extend(images::pinned(documents, contract));
    problems.extend(secrets::none_in_clear(documents, strictness));
    problems.extend(pods::restricted(documents));
    problems.extend(pods::probed(documents));
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
