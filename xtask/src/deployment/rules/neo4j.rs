//! Neo4j: ready only when it is used again, and within its memory.

use serde_json::Value;

use super::{config_map, list, of_kind, text};

/// How long its port is open before it is ready, in seconds. query-service uses it again after up to half a minute; a
/// rollout or a node drain that goes on earlier leaves no replica to read from.
const LEAST_SECONDS: u64 = 60;
/// What the JVM takes besides heap and page cache, in MiB: docs/kubernetes.md.
const JVM_MEBIBYTES: u64 = 2048;

/// The readiness of the pod itself waits: a node drain does not look at minReadySeconds.
pub(super) fn ready_when_used(documents: &[Value]) -> Vec<String> {
    let mut problems = Vec::new();
    for container in containers(documents) {
        let probe = &container["readinessProbe"];
        let times = probe["successThreshold"].as_u64().unwrap_or(1);
        let period = probe["periodSeconds"].as_u64().unwrap_or(10);
        let waits = times.saturating_sub(1) * period;
        if waits < LEAST_SECONDS {
            problems.push(format!(
                "StatefulSet/neo4j: ready {waits} s after its port is open, and the next pod is then taken; it needs \
                 {LEAST_SECONDS} s until it is read from (successThreshold, periodSeconds)"
            ));
        }
    }
    problems
}

/// Heap, page cache and the JVM fit into the limit of memory.
pub(super) fn fits_its_memory(documents: &[Value]) -> Vec<String> {
    let conf = config_map(documents, "neo4j").and_then(|map| map.get("neo4j.conf")).map_or("", text);
    let set = |name: &str| {
        let line = conf.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix('='));
        line.and_then(mebibytes)
    };
    let sizes = (set("server.memory.heap.max_size"), set("server.memory.pagecache.size"));
    let mut problems = Vec::new();
    for container in containers(documents) {
        let limit = mebibytes(text(&container["resources"]["limits"]["memory"]));
        match (sizes, limit) {
            ((Some(heap), Some(cache)), Some(limit)) if heap + cache + JVM_MEBIBYTES <= limit => {}
            ((Some(heap), Some(cache)), Some(limit)) => problems.push(format!(
                "StatefulSet/neo4j: heap {heap} MiB, page cache {cache} MiB and {JVM_MEBIBYTES} MiB for the JVM exceed the \
                 limit of {limit} MiB"
            )),
            _ => problems.push(
                "StatefulSet/neo4j: heap, page cache (ConfigMap/neo4j) or the limit of memory cannot be read".to_owned(),
            ),
        }
    }
    problems
}

fn containers(documents: &[Value]) -> impl Iterator<Item = &Value> {
    of_kind(documents, "StatefulSet")
        .filter(|set| set["metadata"]["name"] == "neo4j")
        .flat_map(|set| list(&set["spec"]["template"]["spec"]["containers"]))
}

/// Sizes as Neo4j (`512m`, `1g`) and Kubernetes (`512Mi`, `1Gi`) write them.
fn mebibytes(size: &str) -> Option<u64> {
    let size = size.trim();
    let end = size.find(|sign: char| !sign.is_ascii_digit())?;
    let number: u64 = size[..end].parse().ok()?;
    match &size[end..] {
        "m" | "Mi" => Some(number),
        "g" | "Gi" => number.checked_mul(1024),
        _ => None,
    }
}
