//! The gRPC contract: services, messages and enums, as `buf` compiles them.

use std::process::Command;

use anyhow::{Context, Result};
use devstack::{process::complete, workspace};
use serde_json::Value;

use super::{list, text as name};
use crate::checkers;

pub(super) fn render() -> Result<String> {
    let output = complete(
        Command::new(checkers::buf()?)
            .args(["build", "proto", "--exclude-imports", "--exclude-source-info", "-o", "-#format=json"])
            .current_dir(workspace::root()),
    )?;
    let set: Value = serde_json::from_slice(&output.stdout).context("buf prints no JSON")?;
    Ok(text(&set))
}

/// One line for each method, field and enum value, under its package. Each line names its message, because a diff shows
/// it alone.
fn text(set: &Value) -> String {
    let mut files: Vec<&Value> = list(set, "file").collect();
    files.sort_by_key(|file| (name(file, "package"), name(file, "name")));
    let mut text = String::new();
    for file in files {
        let package = name(file, "package");
        let mut lines = Vec::new();
        for service in list(file, "service") {
            lines.extend(list(service, "method").map(|method| rpc(package, name(service, "name"), method)));
        }
        for message in list(file, "messageType") {
            message_lines(package, name(message, "name"), message, &mut lines);
        }
        for of in list(file, "enumType") {
            enum_lines(name(of, "name"), of, &mut lines);
        }
        text += &format!(
            "{}package {package} ({})\n",
            if text.is_empty() { "" } else { "\n" },
            name(file, "name")
        );
        text.extend(lines.into_iter().map(|line| line + "\n"));
    }
    text
}

fn rpc(package: &str, service: &str, method: &Value) -> String {
    let side = |streams: &str, message: &str| {
        let stream = if method[streams] == true { "stream " } else { "" };
        format!("{stream}{}", local(package, name(method, message)))
    };
    format!(
        "rpc {service}.{}: {} -> {}",
        name(method, "name"),
        side("clientStreaming", "inputType"),
        side("serverStreaming", "outputType")
    )
}

fn message_lines(package: &str, path: &str, message: &Value, lines: &mut Vec<String>) {
    lines.push(format!("message {path}"));
    let mut fields: Vec<&Value> = list(message, "field").collect();
    fields.sort_by_key(|field| field["number"].as_i64());
    for field in fields {
        let (label, within) = match (field["label"].as_str(), field["oneofIndex"].as_u64()) {
            _ if field["proto3Optional"] == true => ("optional ", String::new()),
            (Some("LABEL_REPEATED"), _) => ("repeated ", String::new()),
            (_, Some(at)) => ("", format!(", oneof {}", name(&message["oneofDecl"][at as usize], "name"))),
            _ => ("", String::new()),
        };
        let of = match name(field, "typeName") {
            "" => name(field, "type").trim_start_matches("TYPE_").to_lowercase(),
            of => local(package, of).to_owned(),
        };
        lines.push(format!("{path}.{} = {}: {label}{of}{within}", name(field, "name"), field["number"]));
    }
    // The end of a range is exclusive.
    reserved(path, message, 1, lines);
    for nested in list(message, "nestedType") {
        message_lines(package, &format!("{path}.{}", name(nested, "name")), nested, lines);
    }
    for of in list(message, "enumType") {
        enum_lines(&format!("{path}.{}", name(of, "name")), of, lines);
    }
}

fn enum_lines(path: &str, of: &Value, lines: &mut Vec<String>) {
    lines.push(format!("enum {path}"));
    lines.extend(
        list(of, "value").map(|value| format!("{path}.{} = {}", name(value, "name"), value["number"])),
    );
    reserved(path, of, 0, lines);
}

fn reserved(path: &str, of: &Value, excluded: i64, lines: &mut Vec<String>) {
    for range in list(of, "reservedRange") {
        let bound = |key: &str| range[key].as_i64().unwrap_or_default();
        lines.push(format!("{path} reserves {} to {}", bound("start"), bound("end") - excluded));
    }
    for reserved in list(of, "reservedName").filter_map(Value::as_str) {
        lines.push(format!("{path} reserves {reserved}"));
    }
}

/// The name of a type, without its package if that is `package`.
fn local<'a>(package: &str, name: &'a str) -> &'a str {
    let name = name.trim_start_matches('.');
    name.strip_prefix(package).and_then(|rest| rest.strip_prefix('.')).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_part_of_a_contract_is_a_line() {
        let set = json!({"file": [{
            "name": "a/b.proto", "package": "a",
            "service": [{"name": "S", "method": [
                {"name": "Watch", "inputType": ".a.M", "outputType": ".b.N", "serverStreaming": true}]}],
            "messageType": [{
                "name": "M",
                "field": [
                    {"name": "two", "number": 2, "label": "LABEL_OPTIONAL", "type": "TYPE_BOOL", "oneofIndex": 0},
                    {"name": "one", "number": 1, "label": "LABEL_REPEATED", "type": "TYPE_MESSAGE", "typeName": ".a.M"},
                    {"name": "three", "number": 3, "label": "LABEL_OPTIONAL", "type": "TYPE_INT32", "oneofIndex": 1,
                     "proto3Optional": true}],
                "oneofDecl": [{"name": "choice"}, {"name": "_three"}],
                "reservedRange": [{"start": 10, "end": 12}], "reservedName": ["old"]}],
            "enumType": [{"name": "E", "value": [{"name": "E_A", "number": 0}]}],
        }]});
        let wanted = "\
package a (a/b.proto)
rpc S.Watch: M -> stream b.N
message M
M.one = 1: repeated M
M.two = 2: bool, oneof choice
M.three = 3: optional int32
M reserves 10 to 11
M reserves old
enum E
E.E_A = 0
";
        assert_eq!(text(&set), wanted);
    }
}
