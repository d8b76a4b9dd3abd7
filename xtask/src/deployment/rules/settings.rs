//! Settings: each is one that its program knows, and those that belong together fit.

use serde_json::Value;

use super::{
    Contract, Pod, config_map, list, of_kind,
    pods::{secrets_of, settings_of},
    text, title,
};

/// Each variable of our programs is one that the program reads.
pub(super) fn known(documents: &[Value], contract: &Contract) -> Vec<String> {
    let mut problems = Vec::new();
    for pod in Pod::all(documents) {
        for container in pod.all_containers() {
            let Some(known) = contract.variables(text(&container["image"])) else { continue };
            let settings: Vec<_> = settings_of(documents, container).collect();
            let names = settings.iter().map(|(name, _)| *name).chain(secrets_of(documents, container));
            for name in names.filter(|name| !known.contains(*name)) {
                // One that only serves to make up others.
                let part = format!("$({name})");
                if !settings.iter().any(|(_, value)| value.contains(&part)) {
                    problems.push(format!("{}: the program does not know {name}", pod.title));
                }
            }
        }
    }
    problems
}

/// As many projectors as Neo4j, and all of them are asked, by the names that they have.
pub(super) fn one_neo4j_each(documents: &[Value]) -> Vec<String> {
    let replicas = |name: &str| {
        of_kind(documents, "StatefulSet")
            .find(|set| set["metadata"]["name"] == name)
            .map(|set| set["spec"]["replicas"].as_u64().unwrap_or(1))
    };
    let (Some(neo4j), Some(projectors)) = (replicas("neo4j"), replicas("projector")) else {
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

/// A stream cannot be kept by more servers than there are.
pub(super) fn stream_replicas(documents: &[Value]) -> Vec<String> {
    let servers = of_kind(documents, "StatefulSet")
        .find(|set| set["metadata"]["name"] == "nats")
        .map_or(0, |set| set["spec"]["replicas"].as_u64().unwrap_or(1));
    let wanted = setting(documents, "command-service", "STREAM_REPLICAS").parse::<u64>().unwrap_or(1);
    if wanted <= servers {
        return Vec::new();
    }
    vec![format!("ConfigMap/command-service: STREAM_REPLICAS is {wanted}, but NATS has {servers} servers")]
}

/// What JetStream may store leaves room on its volume: a tenth, for the file system and the servers' own journal.
pub(super) fn stream_store(documents: &[Value]) -> Vec<String> {
    let files = config_map(documents, "nats").into_iter().flatten();
    let stored = files
        .flat_map(|(_, file)| text(file).lines())
        .find_map(|line| line.trim().strip_prefix("max_file_store:"))
        .map(str::trim);
    let volume = of_kind(documents, "StatefulSet")
        .filter(|set| set["metadata"]["name"] == "nats")
        .flat_map(|set| list(&set["spec"]["volumeClaimTemplates"]))
        .find(|claim| claim["metadata"]["name"] == "data")
        .map(|claim| text(&claim["spec"]["resources"]["requests"]["storage"]));
    let (Some(stored), Some(volume)) = (stored, volume) else { return Vec::new() };
    match (bytes(stored), bytes(volume)) {
        (Some(most), Some(room)) if most <= room / 10 * 9 => Vec::new(),
        _ => vec![format!("ConfigMap/nats: max_file_store is {stored}, too much for a volume of {volume}")],
    }
}

/// A size as NATS or Kubernetes write it: `8GB` and `8Gi` are the same, and `8G` is less.
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

/// NATS's users are those that the tests run with. Kustomize reads no file outside of its folder, so there is a copy.
pub(super) fn nats_users(documents: &[Value], contract: &Contract) -> Vec<String> {
    let used = setting(documents, "nats", "users.conf");
    match &contract.nats_users {
        Some(kept) if !used.is_empty() && used != kept => {
            vec!["ConfigMap/nats: users.conf is not a copy of migrations/roles/nats.conf".to_owned()]
        }
        _ => Vec::new(),
    }
}

/// `x_per_second` is the rate of the counter `x_total`, which the scaled program has, and the adapter is told of.
pub(super) fn autoscaling_metrics(documents: &[Value], contract: &Contract) -> Vec<String> {
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

/// No read is open to callers without a token.
pub(super) fn reads_are_closed(documents: &[Value]) -> Vec<String> {
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

/// One entry of a ConfigMap; empty if it is not there.
fn setting<'a>(documents: &'a [Value], map: &str, name: &str) -> &'a str {
    config_map(documents, map).and_then(|map| map.get(name)).map(text).unwrap_or_default()
}
