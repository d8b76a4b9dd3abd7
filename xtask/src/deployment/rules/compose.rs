//! compose.yaml: the same rules about images, secrets and settings as for Kubernetes.

use serde_json::{Map, Value};

use super::{Contract, images, secrets, text};

/// What is wrong with a compose file.
pub(in crate::deployment) fn compose(documents: &[Value], contract: &Contract) -> Vec<String> {
    let empty = Map::new();
    let services = documents.first().and_then(|document| document["services"].as_object()).unwrap_or(&empty);
    let mut problems = Vec::new();
    if services.is_empty() {
        problems.push("it has no services".to_owned());
    }
    for (service, spec) in services {
        let mut told = |problem: String| problems.push(format!("{service}: {problem}"));
        let waited_for = |other: &Value| {
            other["depends_on"][service]["condition"].as_str() == Some("service_completed_successfully")
        };
        // What only runs once is waited for by those that need it.
        let runs_once = services.values().any(waited_for);
        if !runs_once && matches!(text(&spec["restart"]), "" | "no") {
            told("stays down after the engine or the machine was restarted (restart)".to_owned());
        }
        let image = text(&spec["image"]);
        if let Some(problem) = images::wrong_with(image, contract) {
            told(problem);
        }
        if !spec["environment"].is_null() && !spec["environment"].is_object() {
            told("environment must be a map".to_owned());
        }
        for (name, value) in spec["environment"].as_object().unwrap_or(&empty) {
            let value = text(value);
            // A value that comes from outside is not in clear; one that is required says so itself.
            if !value.contains("${")
                && let Some(problem) = secrets::wrong_with(name, value)
            {
                told(problem);
            }
            if contract.variables(image).is_some_and(|known| !known.contains(name)) {
                told(format!("the program does not know {name}"));
            }
        }
    }
    problems
}
