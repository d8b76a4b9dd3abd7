//! The metrics of a process on `/metrics`, and those that it declares.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use devstack::services::Program;
use devstack::{http, promql};

/// One line of `/metrics`.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    pub metric: String,
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

/// A metric as a program declares it: its labels, each with its values, or `None` if those are open.
pub type Declared = BTreeMap<String, BTreeMap<String, Vec<String>>>;

/// All current samples of a process.
///
/// # Panics
/// If it does not answer.
pub fn scrape(admin: SocketAddr) -> Vec<Sample> {
    let answer = http::get(admin, "/metrics").unwrap_or_else(|error| panic!("{admin}: {error}"));
    assert_eq!(answer.status, 200);
    let lines = answer.body.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| parse(line).unwrap_or_else(|| panic!("not a sample: {line}"))).collect()
}

/// The number of gRPC calls that a process has answered.
pub fn calls_answered(admin: SocketAddr) -> f64 {
    let samples = scrape(admin);
    let handled = samples.iter().filter(|sample| sample.metric == "grpc_server_handled_total");
    handled.map(|sample| sample.value).sum()
}

/// The admin ports of the shared pipeline: command-service, query-service, projector.
///
/// # Panics
/// If there is none; the message says how to start one.
pub fn shared_admins() -> [(Program, SocketAddr); 3] {
    // Fails first, with a message, if there is no pipeline.
    crate::Endpoints::shared();
    [(Program::Command, "COMMAND"), (Program::Query, "QUERY"), (Program::Projector, "PROJECTOR")].map(
        |(program, name)| {
            let address = std::env::var(format!("FOLLOWGRAPH_TEST_{name}_ADMIN")).expect("set by the tool");
            (program, address.parse().expect("an address"))
        },
    )
}

/// The metrics that a program declares.
///
/// # Panics
/// If it is not built.
pub fn declared(binaries: &Path, program: Program) -> Declared {
    let output =
        Command::new(binaries.join(program.binary())).arg("--metrics").output().expect("the program runs");
    let parts: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let metrics =
        parts.as_object().expect("parts").values().flat_map(|part| part.as_array().expect("a list"));
    let text = |value: &serde_json::Value| value.as_str().expect("text").to_owned();
    let label = |label: &serde_json::Value| {
        let values = label["values"].as_array().expect("a list").iter().map(text).collect();
        (text(&label["name"]), values)
    };
    let labels =
        |metric: &serde_json::Value| metric["labels"].as_array().expect("a list").iter().map(label).collect();
    metrics.map(|metric| (text(&metric["name"]), labels(metric))).collect()
}

fn parse(line: &str) -> Option<Sample> {
    let (series, value) = line.rsplit_once(' ')?;
    let (name, labels) = match series.split_once('{') {
        None => (series, BTreeMap::new()),
        Some((name, labels)) => (name, parse_labels(labels.strip_suffix('}')?)?),
    };
    let is_part = labels.contains_key("le") || name.ends_with("_sum") || name.ends_with("_count");
    let metric = if is_part { promql::family(name) } else { name };
    Some(Sample { metric: metric.to_owned(), labels, value: value.parse().ok()? })
}

/// Our label values hold neither quotes nor commas.
fn parse_labels(text: &str) -> Option<BTreeMap<String, String>> {
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=')?;
        Some((name.to_owned(), value.trim_matches('"').to_owned()))
    };
    text.split(',').filter(|part| !part.is_empty()).map(pair).collect()
}
