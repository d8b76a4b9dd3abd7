//! Manifests as values.

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::{Value, json};

/// The documents of a YAML file.
pub fn documents(text: &str) -> Result<Vec<Value>> {
    serde_norway::Deserializer::from_str(text)
        .map(|document| Value::deserialize(document).context("cannot read a manifest"))
        .filter(|document| !matches!(document, Ok(Value::Null)))
        .collect()
}

/// One object with all of them, which kubectl applies in this order.
pub fn list(objects: &[Value]) -> String {
    json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string()
}

/// The object of this kind and name.
pub fn named<'a>(objects: &'a [Value], kind: &str, name: &str) -> Result<&'a Value> {
    objects
        .iter()
        .find(|object| object["kind"] == kind && object["metadata"]["name"] == name)
        .with_context(|| format!("there is no {kind} {name}"))
}

/// A string of a manifest; empty if it is none.
pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The elements of a list; none if it is no list.
pub fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}
