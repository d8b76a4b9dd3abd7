//! The network: closed but for what is named, and each method of the older API goes to the process that has it.

use serde_json::{Value, json};

use super::{Contract, list, of_kind, text, title};

/// The older system's service, split between two of ours.
const LEGACY: &str = "nova.graph_service.v2.GraphService";

/// One policy denies everything to every pod.
pub(super) fn denied_by_default(documents: &[Value]) -> Vec<String> {
    let denies = |policy: &Value| {
        let spec = &policy["spec"];
        spec["podSelector"] == json!({})
            && spec["policyTypes"] == json!(["Ingress", "Egress"])
            && spec["ingress"].is_null()
            && spec["egress"].is_null()
    };
    if of_kind(documents, "NetworkPolicy").any(denies) {
        return Vec::new();
    }
    vec!["no NetworkPolicy denies what is not allowed".to_owned()]
}

/// There is a route.
pub(super) fn has_a_route(documents: &[Value]) -> Vec<String> {
    if of_kind(documents, "GRPCRoute").next().is_some() {
        return Vec::new();
    }
    vec!["no GRPCRoute".to_owned()]
}

/// Writes of the older API go to command-service, its reads to query-service, and both exist on the ports named.
pub(super) fn methods_are_routed(documents: &[Value], contract: &Contract) -> Vec<String> {
    let mut problems = Vec::new();
    for route in of_kind(documents, "GRPCRoute") {
        for method in &contract.legacy_methods {
            let is_write = method.starts_with("Create") || method.starts_with("Delete");
            let wanted = if is_write { "command-service" } else { "query-service" };
            let goes = backend(route, LEGACY, method);
            if goes != Some(wanted) {
                problems.push(format!("{}: {method} goes to {goes:?}, not to {wanted}", title(route)));
            }
        }
        for backend in list(&route["spec"]["rules"]).iter().flat_map(|rule| list(&rule["backendRefs"])) {
            let exists = of_kind(documents, "Service").any(|service| {
                service["metadata"]["name"] == backend["name"]
                    && list(&service["spec"]["ports"]).iter().any(|port| port["port"] == backend["port"])
            });
            if !exists {
                problems.push(format!(
                    "{}: no Service {} with port {}",
                    title(route),
                    backend["name"],
                    backend["port"]
                ));
            }
        }
    }
    problems
}

/// GetStatus says why no pod is ready, so it goes where pods need not be.
pub(super) fn status_is_reachable(documents: &[Value]) -> Vec<String> {
    let reaches_all = |name: &str| {
        of_kind(documents, "Service").any(|service| {
            service["metadata"]["name"] == name && service["spec"]["publishNotReadyAddresses"] == true
        })
    };
    let mut problems = Vec::new();
    for route in of_kind(documents, "GRPCRoute") {
        for service in ["followgraph.command.v1.CommandService", "followgraph.query.v1.QueryService"] {
            if !backend(route, service, "GetStatus").is_some_and(reaches_all) {
                problems.push(format!(
                    "{}: {service}/GetStatus has no Service with publishNotReadyAddresses",
                    title(route)
                ));
            }
        }
    }
    problems
}

/// Where a method goes: a match that names it wins over one that names the service only.
fn backend<'a>(route: &'a Value, service: &str, method: &str) -> Option<&'a str> {
    let rule_for = |wanted: Option<&str>| {
        list(&route["spec"]["rules"]).iter().find(|rule| {
            list(&rule["matches"]).iter().any(|found| {
                found["method"]["service"] == service && found["method"]["method"].as_str() == wanted
            })
        })
    };
    let rule = rule_for(Some(method)).or_else(|| rule_for(None))?;
    list(&rule["backendRefs"]).first().map(|backend| text(&backend["name"]))
}
