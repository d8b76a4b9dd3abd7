//! Network: policies deny by default, and routes send each method to the service that implements it.

use serde_json::{Value, json};

use super::{
    contract::Contract,
    documents::{list, named, of_kind, text, title},
};

/// The service of the older API; command-service and query-service implement a part each.
const LEGACY: &str = "nova.graph_service.v2.GraphService";

/// A NetworkPolicy denies all traffic of all pods.
pub fn denied_by_default(documents: &[Value], problems: &mut Vec<String>) {
    let denies = |policy: &Value| {
        let spec = &policy["spec"];
        spec["podSelector"] == json!({})
            && spec["policyTypes"] == json!(["Ingress", "Egress"])
            && spec["ingress"].is_null()
            && spec["egress"].is_null()
    };
    if !of_kind(documents, "NetworkPolicy").any(denies) {
        problems.push("no NetworkPolicy denies what is not allowed".to_owned());
    }
}

/// The overlay has a GRPCRoute.
pub fn has_a_route(documents: &[Value], problems: &mut Vec<String>) {
    if of_kind(documents, "GRPCRoute").next().is_none() {
        problems.push("no GRPCRoute".to_owned());
    }
}

/// Writes of the older API go to command-service and reads to query-service, and every backend exists.
pub fn methods_are_routed(documents: &[Value], contract: &Contract, problems: &mut Vec<String>) {
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
            let (name, port) = (&backend["name"], &backend["port"]);
            let exists = named(documents, "Service", text(name)).is_some_and(|service| {
                list(&service["spec"]["ports"]).iter().any(|served| served["port"] == *port)
            });
            if !exists {
                problems.push(format!("{}: no Service {name} with port {port}", title(route)));
            }
        }
    }
}

/// GetStatus says why no pod is ready, so its Service includes pods that are not ready.
pub fn status_is_reachable(documents: &[Value], problems: &mut Vec<String>) {
    let reaches_all = |name: &str| {
        named(documents, "Service", name)
            .is_some_and(|service| service["spec"]["publishNotReadyAddresses"] == true)
    };
    for route in of_kind(documents, "GRPCRoute") {
        let title = title(route);
        for service in ["followgraph.command.v1.CommandService", "followgraph.query.v1.QueryService"] {
            if !backend(route, service, "GetStatus").is_some_and(reaches_all) {
                let wanted = "Service with publishNotReadyAddresses";
                problems.push(format!("{title}: {service}/GetStatus has no {wanted}"));
            }
        }
    }
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
