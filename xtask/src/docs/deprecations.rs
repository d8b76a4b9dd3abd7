//! `docs/deprecations.md`: older names of settings that still work, from `--settings` of each service.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{SERVICES, ask};

const HEAD: &str = "\
# Deprecations

<!-- Made by `cargo xtask docs` of what the programs say (`command-service --settings`); a test holds it to that. -->

A renamed setting works under its older name until the next minor release. A process that finds one logs a warning when
it starts. If both names are set, their values must be the same; otherwise the process does not start, and the error
names both.
";

/// Renders the page.
pub fn render(binaries: &Path) -> Result<String> {
    let mut rows = Vec::new();
    for program in SERVICES {
        for setting in ask::<Vec<Value>>(binaries, program, "--settings")? {
            rows.extend(rows_of(program.binary(), &setting, env!("CARGO_PKG_VERSION"))?);
        }
    }
    Ok(page(&rows))
}

/// A row for each older name of a setting.
fn rows_of(program: &str, setting: &Value, version: &str) -> Result<Vec<String>> {
    let name = setting["name"].as_str().unwrap_or_default();
    let mut rows = Vec::new();
    for former in setting["formerly"].as_array().into_iter().flatten() {
        let text = |key: &str| former[key].as_str().unwrap_or_default();
        let (older, since, gone_in) = (text("name"), text("since"), text("gone_in"));
        ensure!(
            numbers(gone_in)? > numbers(version)?,
            "{program}: this is {version}, so remove the older name {older} of {name}"
        );
        rows.push(format!("| `{older}` | `{name}` | {program} | {since} | {gone_in} |\n"));
    }
    Ok(rows)
}

fn page(rows: &[String]) -> String {
    if rows.is_empty() {
        return format!("{HEAD}\nNo setting has an older name.\n");
    }
    let table = "| Older name | Name | Service | Renamed in | Gone in |\n|---|---|---|---|---|\n";
    format!("{HEAD}\n{table}{}", rows.concat())
}

/// The parts of a version, for comparison.
fn numbers(version: &str) -> Result<Vec<u32>> {
    version.split('.').map(str::parse).collect::<Result<_, _>>().with_context(|| format!("version {version}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_older_name_is_a_row_until_its_release() {
        let setting =
            json!({"name": "NEW", "formerly": [{"name": "OLD", "since": "0.9.0", "gone_in": "0.10.0"}]});
        let rows = rows_of("projector", &setting, "0.9.3").expect("not due yet");
        assert_eq!(rows, ["| `OLD` | `NEW` | projector | 0.9.0 | 0.10.0 |\n"]);
        assert!(
            page(&rows).ends_with("|---|---|---|---|---|\n| `OLD` | `NEW` | projector | 0.9.0 | 0.10.0 |\n")
        );
        let due = rows_of("projector", &setting, "0.10.0").expect_err("due");
        assert_eq!(due.to_string(), "projector: this is 0.10.0, so remove the older name OLD of NEW");
        assert!(rows_of("projector", &json!({"name": "NEW"}), "0.10.0").expect("nothing").is_empty());
        assert!(page(&[]).ends_with("\nNo setting has an older name.\n"));
    }
}
