//! `docs/metrics.md`: every metric of every service, from `--metrics`.

use std::{fmt::Write as _, path::Path};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::{SERVICES, ask};

const HEAD: &str = "\
# Metrics

Every process exports them on its admin port at `/metrics`, in the text form of Prometheus. This page is made from
the code by `cargo xtask docs`; a test fails when they differ. Counters end with `_total`, units are in the names.
Histograms have the series `_bucket`, `_sum` and `_count`. A counter without labels, or whose labels all have known
values, is there from the start with 0, in every combination; other series appear when they are first used.

Labels never hold ids of accounts. Dashboards and alerts are in [k8s/monitoring](../k8s/monitoring); what each alert
means is in [runbooks.md](runbooks.md).
";

/// Path from the root of the clone.
pub const PATH: &str = "docs/metrics.md";

/// Renders the page.
pub fn render(binaries: &Path) -> Result<String> {
    let mut page = HEAD.to_owned();
    let metrics: Vec<Value> =
        SERVICES.iter().map(|program| ask(binaries, *program, "--metrics")).collect::<Result<_>>()?;
    for (part, title) in [("of every service", "Every service"), ("of the process", "The process itself")] {
        if metrics.iter().any(|of_one| of_one[part] != metrics[0][part]) {
            bail!("the services print different common metrics; build all of them from one revision");
        }
        section(&mut page, title, &metrics[0][part])?;
    }
    for (program, metrics) in SERVICES.iter().zip(&metrics) {
        section(&mut page, program.binary(), &metrics["of its own"])?;
    }
    Ok(page)
}

/// The names on the page.
pub fn names(page: &str) -> Vec<String> {
    let cells = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    cells.map(|(name, _)| name.to_owned()).collect()
}

fn section(page: &mut String, title: &str, metrics: &Value) -> Result<()> {
    write!(page, "\n## {title}\n\n| Name | Kind | Unit | Labels | Meaning |\n|---|---|---|---|---|\n")?;
    for metric in metrics.as_array().context("metrics are not a list")? {
        let text = |key: &str| metric[key].as_str().unwrap_or_default();
        let labels: Vec<_> = metric["labels"].as_array().into_iter().flatten().map(label).collect();
        let (name, kind, unit, help) = (text("name"), text("kind"), text("unit"), text("help"));
        writeln!(page, "| `{name}` | {kind} | {unit} | {} | {help} |", labels.join("; "))?;
    }
    Ok(())
}

fn label(label: &Value) -> String {
    let values: Vec<_> = label["values"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let name = label["name"].as_str().unwrap_or_default();
    if values.is_empty() { format!("`{name}`") } else { format!("`{name}`: {}", values.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_written_and_its_names_are_read_back() {
        let metrics = serde_json::json!([{
            "name": "a_total", "kind": "counter", "unit": "count", "help": "Things.",
            "labels": [{"name": "cause", "values": ["x", "y"]}, {"name": "open", "values": []}],
        }]);
        let mut page = String::new();
        section(&mut page, "Title", &metrics).unwrap();
        assert!(
            page.ends_with("| `a_total` | counter | count | `cause`: x, y; `open` | Things. |\n"),
            "{page}"
        );
        assert_eq!(names(&page), ["a_total"]);
    }
}
