//! `docs/configuration.md`: every setting of every service, from `--settings`.

use std::path::Path;

use anyhow::Result;
use devstack::services::Program;
use serde_json::Value;

use super::{SERVICES, ask, older_names};

const HEAD: &str = "\
# Configuration

<!-- Made by `cargo xtask docs` of what the programs say (`command-service --settings`); a test holds it to that. -->

Services are configured by environment variables alone. All of them are read and checked before a port opens: a
process whose settings cannot be used says everything that is wrong with them at once, and ends with exit code 2. A
variable that is empty counts as not set. Each process prints the settings in use, without secrets, in its first log
line; `--help` explains them, `--settings` prints them as JSON.

**Secret** settings are never shown: not in logs, not in errors. How each is rotated, and how connections are
encrypted, is in [security.md](security.md). The command line `followgraph` has its settings in `followgraph --help`.
";

/// Renders the page.
pub fn render(binaries: &Path) -> Result<String> {
    let mut page = HEAD.to_owned();
    for program in SERVICES {
        page += &section(program, &ask::<Vec<Value>>(binaries, program, "--settings")?);
    }
    Ok(page)
}

fn section(program: Program, settings: &[Value]) -> String {
    let mut section =
        format!("\n## {}\n\n| Variable | Value | Default | Meaning |\n|---|---|---|---|\n", program.binary());
    for setting in settings {
        let text = |name: &str| escaped(setting[name].as_str().unwrap_or_default());
        let default = match (&setting["default"], setting["required"] == true) {
            (Value::String(default), _) => format!("`{}`", escaped(default)),
            (_, true) => "required".to_owned(),
            (_, false) => "not set".to_owned(),
        };
        let secret = if setting["secret"] == true { "; **secret**" } else { "" };
        let example = match text("example") {
            example if example.is_empty() => String::new(),
            example => format!(" Example: `{example}`"),
        };
        let older: String = older_names(setting)
            .iter()
            .map(|older| format!(" Older name: `{older}`, see [deprecations](deprecations.md)."))
            .collect();
        section += &format!(
            "| `{}` | {}{secret} | {default} | {}{example}{older} |\n",
            text("name"),
            text("accepts"),
            text("about")
        );
    }
    section
}

/// Escaped for a cell of a table.
fn escaped(text: &str) -> String {
    text.replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_setting_is_a_row() {
        let settings = [
            json!({"name": "KEY", "accepts": "text", "default": null, "required": true, "secret": true,
                   "example": "a|b", "about": "Opens the door."}),
            json!({"name": "PAUSE_SECONDS", "accepts": "seconds, above zero", "default": "5", "required": false,
                   "secret": false, "example": "", "about": "How long it waits.",
                   "formerly": [{"name": "REST_SECONDS"}]}),
        ];
        let section = section(Program::Query, &settings);
        assert!(
            section.ends_with(
                "| `KEY` | text; **secret** | required | Opens the door. Example: `a\\|b` |\n\
                 | `PAUSE_SECONDS` | seconds, above zero | `5` | How long it waits. \
                 Older name: `REST_SECONDS`, see [deprecations](deprecations.md). |\n"
            ),
            "{section}"
        );
        assert!(section.starts_with("\n## query-service\n"));
    }
}
