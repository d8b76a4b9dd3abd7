//! Settings: every program knows its variables, and settings of different programs match each other.

use serde_json::Value;

use super::{
    contract::Contract,
    documents::{Pod, config_map, list, named, of_kind, secrets_of, setting, settings_of, text, title},
};

/// Our programs read every variable that they get.
pub fn known(documents: &[Value], contract: &Contract) -> Vec<String> {
    let mut problems = Vec::new();
    for pod in Pod::all(documents) {
        for container in pod.all_containers() {
            let Some(known) = contract.variables(text(&container["image"])) else { continue };
            let settings: Vec<_> = settings_of(documents, container).collect();
            let names = settings.iter().map(|(name, _)| *name).chain(secrets_of(documents, container));
            for name in names.filter(|name| !known.contains(*name)) {
                // A variable may exist to be part of another one.
                let part = format!("$({name})");
                if !settings.iter().any(|(_, value)| value.contains(&part)) {
                    problems.push(format!("{}: the program does not know {name}", pod.title));
                }
            }
        }
    }
    problems
}

/// There is one projector for each Neo4j, and query-service has the addresses of all of them.
pub fn one_neo4j_each(documents: &[Value]) -> Vec<String> {
    let (Some(neo4j), Some(projectors)) = (replicas(documents, "neo4j"), replicas(documents, "projector"))
    else {
        return vec!["StatefulSet/neo4j or StatefulSet/projector is missing".to_owned()];
    };
    let mut problems = Vec::new();
    if neo4j != projectors {
        problems.push(format!("{neo4j} Neo4j but {projectors} projectors"));
    }
    let wanted: Vec<_> = (0..neo4j).map(|ordinal| format!("bolt://neo4j-{ordinal}.neo4j:7687")).collect();
    let asked = setting(documents, "query-service", "NEO4J_URIS");
    if asked != wanted.join(",") {
        problems.push(format!(
            "ConfigMap/query-service: NEO4J_URIS is {asked:?}, the pods are {}",
            wanted.join(",")
        ));
    }
    problems
}

/// The replicas of a StatefulSet; `None` if it is missing.
fn replicas(documents: &[Value], name: &str) -> Option<u64> {
    named(documents, "StatefulSet", name).map(|set| set["spec"]["replicas"].as_u64().unwrap_or(1))
}

/// The stream has at most as many replicas as there are NATS servers.
pub fn stream_replicas(documents: &[Value]) -> Vec<String> {
    let servers = replicas(documents, "nats").unwrap_or(0);
    let wanted = setting(documents, "command-service", "STREAM_REPLICAS").parse::<u64>().unwrap_or(1);
    if wanted <= servers {
        return Vec::new();
    }
    vec![format!("ConfigMap/command-service: STREAM_REPLICAS is {wanted}, but NATS has {servers} servers")]
}

/// JetStream's limit leaves a tenth of its volume free, for the file system and the servers' own journal.
pub fn stream_store(documents: &[Value]) -> Vec<String> {
    let files = config_map(documents, "nats").into_iter().flatten();
    let stored = files
        .flat_map(|(_, file)| text(file).lines())
        .find_map(|line| line.trim().strip_prefix("max_file_store:"))
        .map(str::trim);
    let volume = named(documents, "StatefulSet", "nats")
        .into_iter()
        .flat_map(|set| list(&set["spec"]["volumeClaimTemplates"]))
        .find(|claim| claim["metadata"]["name"] == "data")
        .map(|claim| text(&claim["spec"]["resources"]["requests"]["storage"]));
    let (Some(stored), Some(volume)) = (stored, volume) else { return Vec::new() };
    match (bytes(stored), bytes(volume)) {
        (Some(most), Some(room)) if most <= room / 10 * 9 => Vec::new(),
        _ => vec![format!("ConfigMap/nats: max_file_store is {stored}, too much for a volume of {volume}")],
    }
}

/// Bytes of a size of NATS (`8GB` is 8 GiB) or Kubernetes (`8Gi`, and `8G` for powers of ten).
fn bytes(size: &str) -> Option<u64> {
    let end = size.find(|sign: char| !sign.is_ascii_digit()).unwrap_or(size.len());
    let (number, unit) = size.split_at(end);
    let unit: u64 = match unit {
        "" => 1,
        "M" => 1_000_000,
        "MB" | "Mi" | "MiB" => 1 << 20,
        "G" => 1_000_000_000,
        "GB" | "Gi" | "GiB" => 1 << 30,
        "T" => 1_000_000_000_000,
        "TB" | "Ti" | "TiB" => 1 << 40,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit)
}

/// NATS's users are those of the tests. Kustomize reads no file outside of its folder, so the overlay has a copy.
pub fn nats_users(documents: &[Value], contract: &Contract) -> Vec<String> {
    let used = setting(documents, "nats", "users.conf");
    match &contract.nats_users {
        Some(kept) if !used.is_empty() && used != kept => {
            vec!["ConfigMap/nats: users.conf is not a copy of migrations/roles/nats.conf".to_owned()]
        }
        _ => Vec::new(),
    }
}

/// Each metric `x_per_second` of an autoscaler is in the metrics adapter, and query-service has the counter `x_total`.
pub fn autoscaling_metrics(documents: &[Value], contract: &Contract) -> Vec<String> {
    let mut problems = Vec::new();
    for scaler in of_kind(documents, "HorizontalPodAutoscaler") {
        for metric in list(&scaler["spec"]["metrics"]).iter().filter(|metric| metric["type"] == "Pods") {
            let name = text(&metric["pods"]["metric"]["name"]);
            let counter =
                name.strip_suffix("_per_second").map(|stem| format!("{stem}_total")).unwrap_or_default();
            if counter.is_empty() || !contract.query_metrics.contains(&format!("\"{counter}\"")) {
                problems.push(format!("{}: query-service has no counter behind {name}", title(scaler)));
            } else if ![name, &counter].iter().all(|word| contract.metrics_adapter.contains(word)) {
                problems.push(format!("{}: metrics-adapter.yaml does not make {name}", title(scaler)));
            }
        }
    }
    problems
}

/// Reads require a token.
pub fn reads_are_closed(documents: &[Value]) -> Vec<String> {
    let of_query = |name: &str| setting(documents, "query-service", name);
    let mut problems = Vec::new();
    if !matches!(of_query("LEGACY_READS"), "token" | "off") {
        problems.push(format!(
            "ConfigMap/query-service: LEGACY_READS is {:?}, so reads of the older API are open to everyone",
            of_query("LEGACY_READS")
        ));
    }
    if of_query("ANONYMOUS_READS") == "true" {
        problems.push("ConfigMap/query-service: ANONYMOUS_READS opens all reads to everyone".to_owned());
    }
    problems
}
