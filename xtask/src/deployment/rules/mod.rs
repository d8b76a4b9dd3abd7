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
    images::pinned(documents, contract, &mut problems);
    secrets::none_in_clear(documents, strictness, &mut problems);
    pods::restricted(documents, &mut problems);
    pods::probed(documents, &mut problems);
    pods::drained(documents, &mut problems);
    pods::probes_without_tls(documents, &mut problems);
    pods::references(documents, strictness, &mut problems);
    settings::known(documents, contract, &mut problems);
    settings::one_neo4j_each(documents, &mut problems);
    settings::stream_replicas(documents, &mut problems);
    settings::stream_store(documents, &mut problems);
    settings::nats_users(documents, contract, &mut problems);
    settings::autoscaling_metrics(documents, contract, &mut problems);
    database::connections(documents, &mut problems);
    database::fallback_budget(documents, &mut problems);
    database::role_defaults(documents, contract, &mut problems);
    monitoring::scraped(documents, &mut problems);
    neo4j::ready_when_used(documents, &mut problems);
    neo4j::fits_its_memory(documents, &mut problems);
    network::methods_are_routed(documents, contract, &mut problems);
    network::status_is_reachable(documents, &mut problems);
    if strictness == Strictness::Production {
        network::denied_by_default(documents, &mut problems);
        network::has_a_route(documents, &mut problems);
        settings::reads_are_closed(documents, &mut problems);
    }
    problems
}
