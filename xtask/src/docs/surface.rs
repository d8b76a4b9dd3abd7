//! `docs/surface`: everything that clients, scripts and operators can see, one fact a line. The diff of two revisions
//! lists what changed for them.

mod contract;
mod errors;
mod help;
mod json;

use std::{fmt::Write as _, path::Path};

use anyhow::Result;
use devstack::services::Program;
use serde_json::Value;

use super::{Page, ask, labels, list, text};

/// The generated pages of the folder; its README is written by hand.
pub const PAGES: &[Page] = &[
    Page { path: "docs/surface/contract.txt", render: |_| contract::render() },
    Page { path: "docs/surface/errors.txt", render: |_| errors::render() },
    Page { path: "docs/surface/settings.txt", render: settings },
    Page { path: "docs/surface/metrics.txt", render: metrics },
    Page { path: "docs/surface/help.txt", render: help::render },
    Page { path: "docs/surface/json.txt", render: |_| json::render() },
];

fn settings(binaries: &Path) -> Result<String> {
    let mut page = String::new();
    for program in Program::ALL {
        for setting in ask::<Vec<Value>>(binaries, program, "--settings")? {
            writeln!(page, "{} {}", program.binary(), setting_line(&setting))?;
        }
    }
    Ok(page)
}

fn setting_line(setting: &Value) -> String {
    let default = match (setting["default"].as_str(), setting["required"] == true) {
        (Some(default), _) => format!("default {default}"),
        (None, true) => "required".to_owned(),
        (None, false) => "optional".to_owned(),
    };
    let secret = if setting["secret"] == true { "; secret" } else { "" };
    let older: String =
        list(setting, "formerly").map(|former| format!("; formerly {}", text(former, "name"))).collect();
    format!("{}: {}; {default}{secret}{older}", text(setting, "name"), text(setting, "accepts"))
}

fn metrics(binaries: &Path) -> Result<String> {
    let mut page = String::new();
    for program in Program::ALL {
        let groups = ask::<Value>(binaries, program, "--metrics")?;
        let groups = groups.as_object().into_iter().flat_map(|groups| groups.values());
        let mut lines: Vec<String> = groups.filter_map(Value::as_array).flatten().map(metric_line).collect();
        lines.sort_unstable();
        for line in lines {
            writeln!(page, "{} {line}", program.binary())?;
        }
    }
    Ok(page)
}

fn metric_line(metric: &Value) -> String {
    let (name, kind, unit) = (text(metric, "name"), text(metric, "kind"), text(metric, "unit"));
    let labels: String = labels(metric)
        .map(|(name, values)| match values.as_slice() {
            [] => format!(" {name}"),
            values => format!(" {name}={}", values.join("|")),
        })
        .collect();
    format!("{name}: {kind}, {unit};{labels}").trim_end_matches(';').to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn settings_and_metrics_are_one_line_each() {
        let setting =
            json!({"name": "KEY", "accepts": "text", "default": null, "required": true, "secret": true});
        assert_eq!(setting_line(&setting), "KEY: text; required; secret");
        let setting = json!({"name": "A_SECONDS", "accepts": "seconds from 1 to 9", "default": "5",
                             "required": false, "secret": false, "formerly": [{"name": "OLD"}]});
        assert_eq!(setting_line(&setting), "A_SECONDS: seconds from 1 to 9; default 5; formerly OLD");
        let metric = json!({"name": "a_total", "kind": "counter", "unit": "count",
                            "labels": [{"name": "cause", "values": ["x", "y"]}, {"name": "open", "values": []}]});
        assert_eq!(metric_line(&metric), "a_total: counter, count; cause=x|y open");
        let metric = json!({"name": "up", "kind": "gauge", "unit": "switch", "labels": []});
        assert_eq!(metric_line(&metric), "up: gauge, switch");
    }
}
