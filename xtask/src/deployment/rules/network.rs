//! Network: policies deny by default, and routes send each method to the service that implements it.

use serde_json::{Value, json};

use super::{
    contract::Contract,
    documents::{list, named, of_kind, text, title},
};

/// The service of the older API; command-service and query-service implement a part each.
const LEGACY: &str = "nova.graph_service.v2.GraphService";

/// A NetworkPolicy denies all traffic of all pods.
pub fn denied_by_default(documents: &[Value]) -> Vec<String> {
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

/// The overlay has a GRPCRoute.
pub fn has_a_route(documents: &[Value]) -> Vec<String> {
    if of_kind(documents, "GRPCRoute").next().is_some() {
        return Vec::new();
    }
    vec!["no GRPCRoute".to_owned()]
}

/// Writes of the older API go to command-service and reads to query-service, and every backend exists.
pub fn methods_are_routed(documents: &[Value], contract: &Contract) -> Vec<String> {
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
            let exists = named(documents, "Service", text(&backend["name"])).is_some_and(|service| {
                list(&service["spec"]["ports"]).iter().any(|port| port["port"] == backend["port"])
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

/// GetStatus says why no pod is ready, so its Service includes pods that are not ready.
pub fn status_is_reachable(documents: &[Value]) -> Vec<String> {
    let reaches_all = |name: &str| {
        named(documents, "Service", name)
            .is_some_and(|service| service["spec"]["publishNotReadyAddresses"] == true)
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

/// The Service that gets a method: a match of the method takes precedence over one of the whole gRPC service.
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
