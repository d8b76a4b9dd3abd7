//! What `followgraph status` prints as JSON.

use serde_json::Value;

/// Whether a complete replica is at the head and serves reads.
pub fn has_caught_up(status: &Value) -> bool {
    let any = |list: &str, is_good: &dyn Fn(&Value) -> bool| {
        status[list].as_array().is_some_and(|all| all.iter().any(is_good))
    };
    let head = status["head"]["revision"].as_u64();
    let shows_head = |replica: &Value| replica["complete"] == true && replica["visible"].as_u64() >= head;
    let serves = |store: &Value| {
        let name = store["name"].as_str().unwrap_or_default();
        name.starts_with("neo4j") && store["serving"] == true
    };
    head.is_some() && any("replicas", &shows_head) && any("stores", &serves)
}
