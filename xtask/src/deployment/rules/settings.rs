//! Settings: every program knows its variables, and settings of different programs match each other.

use serde_json::Value;

use super::{
    contract::Contract,
    documents::{
        Pod, bytes, config_map, list, named, of_kind, secrets_of, setting, settings_of, text, title,
    },
};

/// Our programs read every variable that they get.
pub fn known(documents: &[Value], contract: &Contract, problems: &mut Vec<String>) {
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
}

/// There is one projector for each Neo4j, and query-service has the addresses of all of them.
pub fn one_neo4j_each(documents: &[Value], problems: &mut Vec<String>) {
    let (Some(neo4j), Some(projectors)) = (replicas(documents, "neo4j"), replicas(documents, "projector"))
    else {
        return problems.push("StatefulSet/neo4j or StatefulSet/projector is missing".to_owned());
    };
    if neo4j != projectors {
        problems.push(format!("{neo4j} Neo4j but {projectors} projectors"));
    }
    let pods: Vec<_> = (0..neo4j).map(|ordinal| format!("bolt://neo4j-{ordinal}.neo4j:7687")).collect();
    let (pods, asked) = (pods.join(","), setting(documents, "query-service", "NEO4J_URIS"));
    if asked != pods {
        problems.push(format!("ConfigMap/query-service: NEO4J_URIS is {asked:?}, the pods are {pods}"));
    }
}

/// The replicas of a StatefulSet; `None` if it is missing.
fn replicas(documents: &[Value], name: &str) -> Option<u64> {
    named(documents, "StatefulSet", name).map(|set| set["spec"]["replicas"].as_u64().unwrap_or(1))
}

/// The stream has at most as many replicas as there are NATS servers.
pub fn stream_replicas(documents: &[Value], problems: &mut Vec<String>) {
    let servers = replicas(documents, "nats").unwrap_or(0);
    let wanted = setting(documents, "command-service", "STREAM_REPLICAS").parse::<u64>().unwrap_or(1);
    if wanted > servers {
        problems.push(format!(
            "ConfigMap/command-service: STREAM_REPLICAS is {wanted}, but NATS has {servers} servers"
        ));
    }
}

/// JetStream's limit leaves a tenth of its volume free, for the file system and the servers' own journal.
pub fn stream_store(documents: &[Value], problems: &mut Vec<String>) {
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
    let (Some(stored), Some(volume)) = (stored, volume) else { return };
    if bytes(stored).zip(bytes(volume)).is_none_or(|(most, room)| most > room / 10 * 9) {
        problems
            .push(format!("ConfigMap/nats: max_file_store is {stored}, too much for a volume of {volume}"));
    }
}

/// NATS's users are those of the tests. Kustomize reads no file outside of its folder, so the overlay has a copy.
pub fn nats_users(documents: &[Value], contract: &Contract, problems: &mut Vec<String>) {
    let used = setting(documents, "nats", "users.conf");
    if !used.is_empty() && contract.nats_users.as_ref().is_some_and(|kept| used != kept) {
        problems.push("ConfigMap/nats: users.conf is not a copy of migrations/roles/nats.conf".to_owned());
    }
}

/// Each metric `x_per_second` of an autoscaler is in the metrics adapter, and query-service has the counter `x_total`.
pub fn autoscaling_metrics(documents: &[Value], contract: &Contract, problems: &mut Vec<String>) {
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
}

/// Reads require a token.
pub fn reads_are_closed(documents: &[Value], problems: &mut Vec<String>) {
    let legacy_reads = setting(documents, "query-service", "LEGACY_READS");
    if !matches!(legacy_reads, "token" | "off") {
        problems.push(format!(
            "ConfigMap/query-service: LEGACY_READS is {legacy_reads:?}, so reads of the older API are open to everyone"
        ));
    }
    if setting(documents, "query-service", "ANONYMOUS_READS") == "true" {
        problems.push("ConfigMap/query-service: ANONYMOUS_READS opens all reads to everyone".to_owned());
    }
}
