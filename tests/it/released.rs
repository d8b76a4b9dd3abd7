//! The contract, settings and metrics of a release stay. `tests/released` lists them.
//!
//! `buf breaking` in `cargo xtask check` compares the contract. `tests/released/removed.txt` lists intended removals,
//! with the release's line and the reason.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;
use tests::own::binaries;

const SETTINGS: &str = include_str!("../released/0.1.0/settings.txt");
const METRICS: &str = include_str!("../released/0.1.0/metrics.txt");
const REMOVED: &str = include_str!("../released/removed.txt");

const PROGRAMS: [&str; 3] = ["command-service", "projector", "query-service"];

#[test]
fn settings_of_the_release_still_work() {
    let now: Vec<(Vec<String>, bool)> = PROGRAMS
        .into_iter()
        .flat_map(|program| {
            let settings = said(program, "--settings");
            let settings = settings.as_array().expect("a list").clone();
            settings
                .into_iter()
                .map(move |setting| (names_of(program, &setting), setting["required"] == true))
        })
        .collect();
    let names: BTreeSet<&str> = now.iter().flat_map(|(names, _)| names).map(String::as_str).collect();
    let released: BTreeSet<(&str, bool)> = SETTINGS
        .lines()
        .map(|line| {
            let (name, need) = line.rsplit_once(' ').expect("program, name, need");
            (name, need == "required")
        })
        .collect();
    let missing: Vec<_> = released
        .iter()
        .map(|(name, _)| *name)
        .filter(|name| !names.contains(name) && !removed(name))
        .collect();
    assert!(missing.is_empty(), "keep an alias, or list it in removed.txt: {missing:?}");

    let was_required = |name: &String| released.contains(&(name.as_str(), true));
    let required: Vec<_> = now
        .iter()
        .filter(|(names, required)| *required && !names.iter().any(was_required))
        .map(|(names, _)| names)
        .collect();
    assert!(required.is_empty(), "a deployment of the release would not start: {required:?}");
}

/// The names under which a program reads a setting, including older ones.
fn names_of(program: &str, setting: &Value) -> Vec<String> {
    let older = setting["formerly"].as_array().expect("a list");
    let name = |setting: &Value| format!("{program} {}", setting["name"].as_str().expect("a name"));
    std::iter::once(setting).chain(older).map(name).collect()
}

#[test]
fn metrics_of_the_release_keep_name_kind_and_labels() {
    let now: BTreeSet<String> = PROGRAMS.into_iter().flat_map(metrics_of).collect();
    // A label may be added, but not removed.
    let missing: Vec<_> = METRICS
        .lines()
        .flat_map(|line| {
            let (what, labels) = line.rsplit_once(' ').expect("program, name, kind, labels");
            labels.split(',').map(move |label| format!("{what} {label}"))
        })
        .filter(|name| !now.contains(name) && !removed(name))
        .collect();
    assert!(missing.is_empty(), "alerts and dashboards use them; else list them in removed.txt: {missing:?}");
}

/// Each metric of a program without a label, and once with each of its labels.
fn metrics_of(program: &str) -> Vec<String> {
    let groups = said(program, "--metrics");
    let mut lines = Vec::new();
    for metric in
        groups.as_object().expect("groups").values().flat_map(|group| group.as_array().expect("a list"))
    {
        let text = |name: &str| metric[name].as_str().expect("a text");
        let what = format!("{program} {} {}", text("name"), text("kind"));
        for label in metric["labels"].as_array().expect("a list") {
            lines.push(format!("{what} {}", label["name"].as_str().expect("a name")));
        }
        lines.push(format!("{what} -"));
    }
    lines
}

/// True if the name was removed on purpose: a line starts with it, and a colon and a reason follow.
fn removed(name: &str) -> bool {
    let reason = |line: &str| line.strip_prefix(name).and_then(|rest| rest.strip_prefix(": ")).is_some();
    REMOVED.lines().any(reason)
}

/// The JSON output of a program.
fn said(program: &str, flag: &str) -> Value {
    // Fails first if `cargo xtask test` has not built the program.
    tests::Endpoints::shared();
    let output = Command::new(binaries().join(program)).arg(flag).output().expect("the program runs");
    assert!(output.status.success(), "{program} {flag}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}
