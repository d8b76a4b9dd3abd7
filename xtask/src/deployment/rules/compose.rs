//! compose.yaml: the rules for images, secrets and settings that Kubernetes has too, and restarts.

use serde_json::{Map, Value};

use super::{contract::Contract, documents::text, images, secrets};

/// Problems of a compose file.
pub fn compose(documents: &[Value], contract: &Contract) -> Vec<String> {
    let empty = Map::new();
    let services = documents.first().and_then(|document| document["services"].as_object()).unwrap_or(&empty);
    let mut problems = Vec::new();
    if services.is_empty() {
        problems.push("it has no services".to_owned());
    }
    for (service, spec) in services {
        let mut report = |problem: String| problems.push(format!("{service}: {problem}"));
        let is_waited_for = |other: &Value| {
            other["depends_on"][service]["condition"].as_str() == Some("service_completed_successfully")
        };
        // A service that another one waits to complete runs once and needs no restart.
        let runs_once = services.values().any(is_waited_for);
        if !runs_once && matches!(text(&spec["restart"]), "" | "no") {
            report("stays down after a restart of the engine or the machine; set `restart`".to_owned());
        }
        let image = text(&spec["image"]);
        if let Some(problem) = images::wrong_with(image, contract) {
            report(problem);
        }
        if !spec["environment"].is_null() && !spec["environment"].is_object() {
            report("environment must be a map".to_owned());
        }
        for (name, value) in spec["environment"].as_object().unwrap_or(&empty) {
            let value = text(value);
            // A value from the environment is not in the repository.
            if !value.contains("${")
                && let Some(problem) = secrets::wrong_with(name, value)
            {
                report(problem);
            }
            if contract.variables(image).is_some_and(|known| !known.contains(name)) {
                report(format!("the program does not know {name}"));
            }
        }
    }
    problems
}
