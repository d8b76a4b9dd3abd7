//! Neo4j: a pod is ready only when reads use it again, and its memory settings fit the limit.

use serde_json::Value;

use super::documents::{bytes, list, named, setting, text};

/// Seconds between the open port and readiness. query-service uses a replica again after up to 30 s; a rollout or a node
/// drain that proceeds earlier leaves no replica to read from.
const LEAST_SECONDS: u64 = 60;
/// Memory of the JVM in addition to heap and page cache: docs/kubernetes.md.
const JVM_MEBIBYTES: u64 = 2048;

/// The readiness probe waits. `minReadySeconds` would not do: a node drain ignores it.
pub fn ready_when_used(documents: &[Value], problems: &mut Vec<String>) {
    for container in containers(documents) {
        let probe = &container["readinessProbe"];
        let times = probe["successThreshold"].as_u64().unwrap_or(1);
        let period = probe["periodSeconds"].as_u64().unwrap_or(10);
        let waits = times.saturating_sub(1) * period;
        if waits < LEAST_SECONDS {
            problems.push(format!(
                "StatefulSet/neo4j: ready {waits} s after its port opens, before it is read from; raise successThreshold or \
                 periodSeconds to {LEAST_SECONDS} s"
            ));
        }
    }
}

/// Heap, page cache and JVM fit into the memory limit.
pub fn fits_its_memory(documents: &[Value], problems: &mut Vec<String>) {
    let mebibytes = |size: &str| bytes(size).map(|bytes| bytes >> 20);
    let conf = setting(documents, "neo4j", "neo4j.conf");
    let set = |name: &str| {
        let line = conf.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix('='));
        // `8G` is 8 GiB there, as `8g` is; in Kubernetes it is a power of ten.
        mebibytes(&line?.to_lowercase())
    };
    let sizes = set("server.memory.heap.max_size").zip(set("server.memory.pagecache.size"));
    for container in containers(documents) {
        let limit = mebibytes(text(&container["resources"]["limits"]["memory"]));
        let Some(((heap, cache), limit)) = sizes.zip(limit) else {
            problems.push(
                "StatefulSet/neo4j: heap, page cache (ConfigMap/neo4j) or the memory limit cannot be read"
                    .to_owned(),
            );
            continue;
        };
        if heap + cache + JVM_MEBIBYTES > limit {
            problems.push(format!(
                "StatefulSet/neo4j: heap {heap} MiB, page cache {cache} MiB and {JVM_MEBIBYTES} MiB for the JVM exceed the \
                 limit of {limit} MiB"
            ));
        }
    }
}

fn containers(documents: &[Value]) -> impl Iterator<Item = &Value> {
    let set = named(documents, "StatefulSet", "neo4j").into_iter();
    set.flat_map(|set| list(&set["spec"]["template"]["spec"]["containers"]))
}
