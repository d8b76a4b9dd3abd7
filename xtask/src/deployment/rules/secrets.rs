//! Secrets: manifests refer to them and do not contain them.

use serde_json::Value;

use super::documents::{Pod, Strictness, config_map, list, named, of_kind, password_variables, text, title};

const WORDS: [&str; 6] = ["PASSWORD", "PASSWD", "SECRET", "TOKEN", "KEYS", "CREDENTIAL"];

/// In production no Secret has content, and nowhere does a plain value look like a secret.
pub fn none_in_clear(documents: &[Value], strictness: Strictness, problems: &mut Vec<String>) {
    if strictness == Strictness::Production {
        for secret in of_kind(documents, "Secret") {
            if !secret["data"].is_null() || !secret["stringData"].is_null() {
                problems.push(format!("{}: a Secret with content in the repository", title(secret)));
            }
        }
    }
    let mut check = |title: &str, name: &str, value: &Value| {
        problems.extend(wrong_with(name, text(value)).map(|problem| format!("{title}: {problem}")));
    };
    for map in of_kind(documents, "ConfigMap") {
        for (name, value) in map["data"].as_object().into_iter().flatten() {
            check(&title(map), name, value);
        }
    }
    for pod in Pod::all(documents) {
        for variable in pod.all_containers().flat_map(|container| list(&container["env"])) {
            check(&pod.title, text(&variable["name"]), &variable["value"]);
        }
    }
}

/// The Secret that PostgreSQL's operator creates.
const OPERATORS: &str = "database-app";

/// The script creates every Secret and key that the documents refer to.
pub fn made(documents: &[Value], secrets: &[Value]) -> Vec<String> {
    let mut problems = Vec::new();
    let mut demand = |title: &str, name: &str, key: Option<&str>| {
        let found = name == OPERATORS
            || named(secrets, "Secret", name)
                .is_some_and(|secret| key.is_none_or(|key| secret["stringData"][key].is_string()));
        if !found {
            let key = key.unwrap_or_default();
            problems.push(format!("{title}: secrets.sh makes no Secret/{name} {key}"));
        }
    };
    for pod in Pod::all(documents) {
        for (_, name, key) in pod.references().iter().filter(|(kind, ..)| *kind == "Secret") {
            if let Some(name) = name.as_str() {
                demand(&pod.title, name, *key);
            }
        }
    }
    for cluster in of_kind(documents, "Cluster") {
        for role in list(&cluster["spec"]["managed"]["roles"]) {
            for key in ["username", "password"] {
                demand(&title(cluster), text(&role["passwordSecret"]["name"]), Some(key));
            }
        }
    }
    let files = config_map(documents, "nats").into_iter().flatten();
    for variable in files.flat_map(|(_, file)| password_variables(text(file))) {
        demand("ConfigMap/nats", "nats", Some(variable));
    }
    problems
}

/// The problem of a plain value that is a secret, by its name or by its form.
pub fn wrong_with(name: &str, value: &str) -> Option<String> {
    let upper = name.to_ascii_uppercase();
    if !value.is_empty() && WORDS.iter().any(|word| upper.contains(word)) {
        return Some(format!("{name} has the name of a secret and its value in clear"));
    }
    has_password(value).then(|| format!("{name} has a password in an address"))
}

/// `scheme://user:password@host`.
fn has_password(value: &str) -> bool {
    value.split("://").skip(1).any(|rest| {
        let authority = rest.split(['/', '?', ',', '\n', ' ']).next().unwrap_or_default();
        authority.rsplit_once('@').is_some_and(|(user, _)| user.contains(':'))
    })
}
