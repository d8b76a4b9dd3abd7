//! Error reasons with their gRPC codes, from the table in `proto/src/error.rs`.

use anyhow::{Context, Result};
use devstack::workspace;

const TABLE: &str = "proto/src/error.rs";

pub(super) fn render() -> Result<String> {
    let source = workspace::read(TABLE)?;
    let (_, rest) =
        source.split_once("pub fn code(").with_context(|| format!("{TABLE} has no table of codes"))?;
    let (table, _) = rest.split_once("\n}\n").context("the table has an end")?;
    let mut lines = rows(table);
    lines.sort_unstable();
    Ok(lines.concat())
}

/// A line for each reason in `R::Reason | R::Other => Code::Value`.
fn rows(table: &str) -> Vec<String> {
    let parts: Vec<&str> = table.split("::").collect();
    let (mut lines, mut reasons) = (Vec::new(), Vec::new());
    for pair in parts.windows(2) {
        let word = |text: &str| text.chars().take_while(|char| char.is_alphanumeric()).collect::<String>();
        let value = capitals(&word(pair[1]));
        if pair[0].ends_with("Code") {
            lines.extend(reasons.drain(..).map(|reason| format!("{reason}: {value}\n")));
        } else if pair[0].ends_with('R') {
            reasons.push(value);
        }
    }
    lines
}

/// `SelfEdge` in the form of the wire: `SELF_EDGE`.
fn capitals(name: &str) -> String {
    let mut text = String::new();
    for char in name.chars() {
        if char.is_uppercase() && !text.is_empty() {
            text.push('_');
        }
        text.push(char.to_ascii_uppercase());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_share_the_code_of_their_row() {
        let table = "match reason {\n  R::SelfEdge\n  | R::Blocked => Code::InvalidArgument,\n  \
                     R::Internal => {\n  Code::Internal\n";
        let wanted = ["SELF_EDGE: INVALID_ARGUMENT\n", "BLOCKED: INVALID_ARGUMENT\n", "INTERNAL: INTERNAL\n"];
        assert_eq!(rows(table), wanted);
    }
}
