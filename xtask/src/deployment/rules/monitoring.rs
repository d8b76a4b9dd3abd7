//! Monitoring: PodMonitors select every service, label it as the alerts expect, and scrape often enough.

use serde_json::Value;

use super::documents::{Pod, list, of_kind, text, title};

/// The label of a pod that becomes the label `job` of its metrics.
const JOB_LABEL: &str = "app.kubernetes.io/name";
/// Longest scrape interval in seconds that the windows of the alerts allow.
const LONGEST_INTERVAL: u64 = 30;

/// If the overlay has PodMonitors, one of them selects a port of each service.
pub fn scraped(documents: &[Value], problems: &mut Vec<String>) {
    let monitors: Vec<_> = of_kind(documents, "PodMonitor").collect();
    for monitor in &monitors {
        let (title, spec) = (title(monitor), &monitor["spec"]);
        if spec["jobLabel"] != JOB_LABEL {
            problems.push(format!("{title}: jobLabel is not {JOB_LABEL}, so alerts miss the service"));
        }
        for interval in list(&spec["podMetricsEndpoints"]).iter().map(|endpoint| &endpoint["interval"]) {
            let seconds = text(interval).strip_suffix('s').and_then(|it| it.parse::<u64>().ok());
            if seconds.is_none_or(|seconds| seconds > LONGEST_INTERVAL) {
                problems.push(format!(
                    "{title}: the interval is {interval}, alerts need {LONGEST_INTERVAL}s or less"
                ));
            }
        }
    }
    if monitors.is_empty() {
        return;
    }
    for pod in Pod::all(documents).filter(|pod| pod.is_service) {
        let is_found = monitors.iter().any(|monitor| {
            selects(&monitor["spec"]["selector"], pod.labels)
                && list(&monitor["spec"]["podMetricsEndpoints"]).iter().any(|it| has_port(&pod, &it["port"]))
        });
        if !is_found {
            problems.push(format!("{}: no PodMonitor finds a port of it", pod.title));
        }
    }
}

fn has_port(pod: &Pod<'_>, name: &Value) -> bool {
    pod.containers().iter().flat_map(|container| list(&container["ports"])).any(|port| port["name"] == *name)
}

/// Evaluates `matchLabels`, and `matchExpressions` with `In`; no other operator is used here.
fn selects(selector: &Value, labels: &Value) -> bool {
    let mut equal = selector["matchLabels"].as_object().into_iter().flatten();
    equal.all(|(key, value)| labels[key.as_str()] == *value)
        && list(&selector["matchExpressions"])
            .iter()
            .all(|it| it["operator"] == "In" && list(&it["values"]).contains(&labels[text(&it["key"])]))
}
