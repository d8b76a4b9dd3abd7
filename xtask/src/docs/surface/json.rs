//! Keys of the JSON that `followgraph -o json` prints, from the types that it serializes.
//!
//! The sources are read line by line, which suffices for formatted code.

use anyhow::Result;
use devstack::workspace;

const SOURCES: &str = "followgraph/src";

pub(super) fn render() -> Result<String> {
    let mut lines = Vec::new();
    for (path, source) in workspace::sources(SOURCES)? {
        let module = path.with_extension("");
        lines.extend(keys(&source).into_iter().map(|line| format!("{} {line}\n", module.display())));
    }
    Ok(lines.concat())
}

/// `Type.key: form` for every key of every serialized type.
fn keys(source: &str) -> Vec<String> {
    let code = source.split("#[cfg(test)]").next().unwrap_or_default();
    let (mut lines, mut of, mut attributes) = (Vec::new(), None, String::new());
    let (mut serialized, mut in_row) = (false, false);
    for line in code.lines().map(str::trim_end) {
        let text = line.trim_start();
        let field = text
            .trim_start_matches("pub(super) ")
            .trim_start_matches("pub(crate) ")
            .trim_start_matches("pub ");
        if line.starts_with("#[derive(") {
            serialized = line.contains("Serialize");
        } else if let Some(attribute) = text.strip_prefix("#[serde(") {
            attributes = attribute.trim_end_matches(")]").to_owned();
        } else if serialized && let Some(rest) = field.strip_prefix("struct ").or(field.strip_prefix("enum "))
        {
            of = Some(rest.split([' ', '<', '(']).next().unwrap_or_default().to_owned());
            serialized = false;
            attributes.clear();
        } else if let Some((name, _)) =
            field.strip_prefix("struct ").and_then(|rest| rest.split_once(" from "))
        {
            // A row of `json_row!`, within its braces.
            let name = name.split('<').next().unwrap_or_default();
            (of, in_row) = (Some(name.to_owned()), true);
            attributes.clear();
        } else if line == "}" || in_row && line == "    }" {
            (of, in_row) = (None, false);
        } else if in_row && (line.len() - text.len() != 8 || !text.contains(": ")) {
            // A part of a value that takes several lines.
        } else if let Some(of) = &of
            && !text.starts_with("//")
            && !text.starts_with('#')
        {
            // In a row, the value follows the type.
            let field = field.split(" =").next().unwrap_or_default();
            if attributes != "skip" {
                lines.push(format!("{of}.{}", key(field, &attributes)));
            }
            attributes.clear();
        }
    }
    lines
}

fn key(field: &str, attributes: &str) -> String {
    let Some((name, of)) = field.trim_end_matches(',').split_once(": ") else {
        return field.trim_end_matches(',').to_owned();
    };
    let note = match attributes {
        "flatten" => "; its keys are part of this object",
        _ if attributes.starts_with("skip_serializing_if") => "; or absent",
        _ => "",
    };
    format!("{name}: {}{note}", form(of))
}

/// The JSON form of a Rust type.
fn form(of: &str) -> String {
    let of = of.trim_start_matches('&').trim_start_matches("'static ").trim_start_matches("'a ");
    let inner = |prefix: &str| of.strip_prefix(prefix)?.strip_suffix('>');
    match of {
        "bool" => "boolean".to_owned(),
        "str" | "String" | "Uuid" => "string".to_owned(),
        "u8" | "u16" | "u32" | "u64" | "u128" | "usize" | "i32" | "i64" | "f64" => "number".to_owned(),
        _ => {
            if let Some(inner) = of.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')) {
                format!("list of {}", form(inner))
            } else if let Some(inner) = inner("Option<") {
                format!("{} or null", form(inner))
            } else if let Some(inner) = inner("Vec<") {
                format!("list of {}", form(inner))
            } else if let Some((_, value)) = inner("BTreeMap<").and_then(|inner| inner.split_once(", ")) {
                format!("object of {}", form(value))
            } else {
                of.split('<').next().unwrap_or(of).to_owned()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_those_of_serialized_types() {
        let source = "\
#[derive(Debug, Serialize)]
pub(super) struct Row<'a> {
    /// A comment.
    pub(super) user_id: &'a str,
    #[serde(skip_serializing_if = \"Option::is_none\")]
    pair: Option<Pair<'a>>,
    #[serde(flatten)]
    rest: Rest,
    #[serde(skip)]
    outcome: Outcome,
    reasons: BTreeMap<String, u64>,
}

#[derive(Debug)]
struct Other {
    hidden: bool,
}

json_row! {
    /// A comment.
    pub struct Counts<'a> from counts: &'a wire::Counts, all: bool {
        #[serde(skip_serializing_if = \"Option::is_none\")]
        followers: Option<u64> = counts.followers,
        kind: String = match counts.kind() {
            Kind::A => name: x,
        },
    }
}

#[cfg(test)]
mod tests {
    #[derive(Serialize)]
    struct Fake { x: u8 }
}
";
        let wanted = [
            "Row.user_id: string",
            "Row.pair: Pair or null; or absent",
            "Row.rest: Rest; its keys are part of this object",
            "Row.reasons: object of number",
            "Counts.followers: number or null; or absent",
            "Counts.kind: string",
        ];
        assert_eq!(keys(source), wanted);
    }
}
