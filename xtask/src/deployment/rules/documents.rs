//! Access to the documents of an overlay, as Kustomize renders them.

use serde_json::{Map, Value};

/// How strict the rules of an overlay are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strictness {
    /// For development: one pod of each server, and passwords that protect nothing.
    Throwaway,
    /// No secret in the repository, and no access that is not named.
    Production,
}

/// The data of a ConfigMap. Kustomize may have added a hash to its name.
pub fn config_map<'a>(documents: &'a [Value], name: &str) -> Option<&'a Map<String, Value>> {
    of_kind(documents, "ConfigMap").find(|map| is_called(map, name)).and_then(|map| map["data"].as_object())
}

/// One entry of a ConfigMap; empty if it is missing.
pub fn setting<'a>(documents: &'a [Value], map: &str, name: &str) -> &'a str {
    config_map(documents, map).and_then(|map| map.get(name)).map(text).unwrap_or_default()
}

pub fn named<'a>(documents: &'a [Value], kind: &str, name: &str) -> Option<&'a Value> {
    of_kind(documents, kind).find(|document| document["metadata"]["name"] == name)
}

pub fn of_kind<'a>(documents: &'a [Value], kind: &str) -> impl Iterator<Item = &'a Value> {
    documents.iter().filter(move |document| document["kind"] == kind)
}

/// `name`, or `name-` and the ten characters of a hash.
pub fn is_called(document: &Value, name: &str) -> bool {
    let whole = text(&document["metadata"]["name"]);
    whole == name
        || whole
            .strip_prefix(name)
            .and_then(|rest| rest.strip_prefix('-'))
            .is_some_and(|hash| hash.len() == 10 && !hash.contains('-'))
}

pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

pub fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

pub fn title(document: &Value) -> String {
    format!("{}/{}", text(&document["kind"]), text(&document["metadata"]["name"]))
}

/// Name and value of each variable that a container gets from a ConfigMap or has in its own `env`.
pub fn settings_of<'a>(
    documents: &'a [Value],
    container: &'a Value,
) -> impl Iterator<Item = (&'a str, &'a str)> {
    let from_maps = list(&container["envFrom"])
        .iter()
        .filter_map(|source| config_map(documents, text(&source["configMapRef"]["name"])))
        .flatten()
        .map(|(name, value)| (name.as_str(), text(value)));
    let plain =
        list(&container["env"]).iter().map(|variable| (text(&variable["name"]), text(&variable["value"])));
    from_maps.chain(plain)
}

/// Names of the variables that a container gets from `secretRef`.
pub fn secrets_of<'a>(documents: &'a [Value], container: &'a Value) -> impl Iterator<Item = &'a str> {
    list(&container["envFrom"])
        .iter()
        .filter_map(|source| source["secretRef"]["name"].as_str())
        .filter_map(|name| of_kind(documents, "Secret").find(|secret| is_called(secret, name)))
        .filter_map(|secret| secret["data"].as_object())
        .flat_map(|data| data.keys().map(String::as_str))
}

/// Names of the variables for passwords (`$NAME_PASSWORD`) in a configuration of NATS.
pub fn password_variables(configuration: &str) -> impl Iterator<Item = &str> {
    let variables = configuration.split('$').skip(1).filter_map(|rest| rest.split_whitespace().next());
    variables.filter(|variable| variable.ends_with("_PASSWORD"))
}

/// Bytes of a size of NATS (`8GB` is 8 GiB), Neo4j (`8g`) or Kubernetes (`8Gi`, and `8G` for powers of ten).
pub fn bytes(size: &str) -> Option<u64> {
    let size = size.trim();
    let end = size.find(|sign: char| !sign.is_ascii_digit()).unwrap_or(size.len());
    let (number, unit) = size.split_at(end);
    let unit: u64 = match unit {
        "" => 1,
        "M" => 1_000_000,
        "m" | "MB" | "Mi" | "MiB" => 1 << 20,
        "G" => 1_000_000_000,
        "g" | "GB" | "Gi" | "GiB" => 1 << 30,
        "T" => 1_000_000_000_000,
        "TB" | "Ti" | "TiB" => 1 << 40,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit)
}

/// The template of the pods that a document creates.
pub struct Pod<'a> {
    pub title: String,
    pub kind: &'a str,
    pub is_service: bool,
    pub labels: &'a Value,
    pub spec: &'a Value,
}

impl<'a> Pod<'a> {
    pub fn all(documents: &'a [Value]) -> impl Iterator<Item = Self> {
        documents.iter().filter(|document| document["spec"]["template"]["spec"].is_object()).map(|document| {
            Self {
                title: title(document),
                kind: text(&document["kind"]),
                is_service: document["metadata"]["labels"]["app.kubernetes.io/component"] == "service",
                labels: &document["spec"]["template"]["metadata"]["labels"],
                spec: &document["spec"]["template"]["spec"],
            }
        })
    }

    /// Without init containers.
    pub fn containers(&self) -> &'a [Value] {
        list(&self.spec["containers"])
    }

    /// Kind, name and key of everything that it refers to. An absent name is null.
    pub fn references(&self) -> Vec<(&'static str, &'a Value, Option<&'a str>)> {
        let mut found = vec![("ServiceAccount", &self.spec["serviceAccountName"], None)];
        let volumes = list(&self.spec["volumes"]).iter();
        found.extend(volumes.map(|volume| ("ConfigMap", &volume["configMap"]["name"], None)));
        for container in self.all_containers() {
            for source in list(&container["envFrom"]) {
                found.push(("ConfigMap", &source["configMapRef"]["name"], None));
                found.push(("Secret", &source["secretRef"]["name"], None));
            }
            let variables = list(&container["env"]).iter();
            let keys = variables.map(|variable| &variable["valueFrom"]["secretKeyRef"]);
            found.extend(keys.map(|of| ("Secret", &of["name"], of["key"].as_str())));
        }
        found
    }

    /// With init containers.
    pub fn all_containers(&self) -> impl Iterator<Item = &'a Value> {
        list(&self.spec["initContainers"]).iter().chain(self.containers())
    }
}
