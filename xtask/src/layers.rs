//! Checks which modules of a crate use which.
//!
//! A module may use its own layer of [`CRATES`] and lower ones. Files must not use each other in a circle, not even
//! within a layer. A use is a `use` declaration or a path outside of tests, followed through re-exports to the file that
//! defines the name; so a `mod.rs` that only declares and re-exports its children uses nothing.
//!
//! In crates that are [`Parents::Lenient`], a child may use what its parent's file defines although that file calls the
//! child.

mod graph;
mod leaves;
mod source;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Result, bail};
use devstack::workspace;

use graph::Uses;
use source::Sources;

/// Name of the root file of a crate in the table. If it has no layer, it is above all.
const ROOT: &str = "crate";

/// Whether a file and its parent module's file may use each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Parents {
    Strict,
    Lenient,
}

/// Every crate with its layers of modules, the lowest first.
const CRATES: &[(&str, Parents, &[&str])] = &[
    (
        "proto",
        Parents::Strict,
        &["crate generated ids timestamp", "error etag event subjects token", "legacy"],
    ),
    (
        "service-kit",
        Parents::Strict,
        &[
            "backoff catalog clock codes config ids listen shares stderr timeout",
            "about errors healthcheck metrics tls",
            "arguments auth nats readiness trace",
            "lifecycle telemetry",
            "admin grpc neo4j postgres",
            "process",
        ],
    ),
    ("migrations", Parents::Strict, &["crate", "roles"]),
    (
        "event-log",
        Parents::Strict,
        &["event position projectors reach", "outbox verify", "sources", "heartbeat stream", "source"],
    ),
    (
        "command-service",
        Parents::Strict,
        &[
            "domain health metrics",
            "responses",
            "store",
            "clock leadership projectors",
            "committer relay",
            "beacon grpc jobs maintenance",
            "config",
            "app",
        ],
    ),
    (
        "projector",
        Parents::Strict,
        &[
            "config edge health metrics status",
            "announce apply truth",
            "feed graph",
            "sweep",
            "engine",
            "app",
        ],
    ),
    (
        "query-service",
        Parents::Lenient,
        &[
            "metrics queries",
            "batching neo4j postgres recent",
            "memory page_token replicas",
            "health overlay",
            "router",
            "grpc",
            "config",
            "app",
        ],
    ),
    (
        "followgraph",
        Parents::Strict,
        &[
            "error files outcome output text",
            "client dates ids older stores",
            "global report retry",
            "commands",
            "args",
            "parser",
        ],
    ),
    (
        "devstack",
        Parents::Strict,
        &[
            "graph http lock_file prerequisites principals private_file process promql user workspace",
            "env_file",
            "daemon fake_time fetch monitoring secrets tls",
            "debian go ports python services",
            "grpcurl nats neo4j pgbouncer postgres prometheus",
            "servers",
            "pipeline",
        ],
    ),
    (
        "xtask",
        Parents::Strict,
        &[
            "checkers deployment layers signals",
            "child docs k8s_check",
            "monitoring",
            "check pages stack test",
            "up upgrade_test",
            "demo",
        ],
    ),
];

/// Fails with every upward use and every circle.
pub fn check() -> Result<()> {
    let mut problems = Vec::new();
    for (name, parents, layers) in CRATES {
        let folder = workspace::root().join(name);
        let mut files = BTreeMap::new();
        read(&folder, Path::new("src"), &mut files)?;
        problems
            .extend(problems_in(&files, *parents, layers)?.into_iter().map(|one| format!("{name}/{one}")));
    }
    if !problems.is_empty() {
        bail!("see xtask/src/layers.rs for the layers\n{}", problems.join("\n"));
    }
    Ok(())
}

fn read(folder: &Path, within: &Path, files: &mut BTreeMap<PathBuf, String>) -> Result<()> {
    for entry in fs::read_dir(folder.join(within))? {
        let entry = entry?;
        let path = within.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            read(folder, &path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.insert(path, fs::read_to_string(entry.path())?);
        }
    }
    Ok(())
}

fn problems_in(files: &BTreeMap<PathBuf, String>, parents: Parents, layers: &[&str]) -> Result<Vec<String>> {
    let library = Path::new("src/lib.rs");
    let root = if files.contains_key(library) { library } else { Path::new("src/main.rs") };
    let sources = Sources::read(root, files)?;
    let mut uses = graph::uses(&sources);
    let mut problems = unknown(&sources, layers);
    problems.extend(upward(&sources, &uses, layers));
    if parents == Parents::Lenient {
        uses.retain(|(from, to), _| !is_above(&sources, *to, *from));
    }
    problems.extend(graph::circles(&uses).iter().map(|circle| shown(&sources, &uses, circle)));
    Ok(problems)
}

/// Modules that only the table or only the crate has.
fn unknown(sources: &Sources, layers: &[&str]) -> Vec<String> {
    let names = |texts: &[&str]| -> BTreeSet<String> {
        texts.iter().flat_map(|text| text.split(' ')).map(str::to_owned).collect()
    };
    let listed = names(layers);
    let there: BTreeSet<String> =
        (0..sources.files.len()).map(|file| top(sources, file).to_owned()).collect();
    let missing = there.difference(&listed).filter(|name| *name != ROOT);
    let missing = missing.map(|name| format!("src: the module {name} is in no layer"));
    let gone = listed
        .difference(&there)
        .map(|name| format!("src: the layers name a module {name} that does not exist"));
    missing.chain(gone).collect()
}

fn upward(sources: &Sources, uses: &Uses, layers: &[&str]) -> Vec<String> {
    let layer = |module: &str| {
        let found = layers.iter().position(|layer| layer.split(' ').any(|name| name == module));
        // `unknown` reports other modules without a layer.
        found.unwrap_or(if module == ROOT { layers.len() } else { 0 })
    };
    let mut problems = Vec::new();
    for ((from, to), place) in uses {
        let (user, used) = (top(sources, *from), top(sources, *to));
        if layer(used) > layer(user) {
            let file = sources.files[*from].path.display();
            problems.push(format!(
                "{file}:{}: {user} uses {}, but {used} is in a higher layer",
                place.line, place.path
            ));
        }
    }
    problems
}

/// The first part of a file's module path.
fn top(sources: &Sources, file: usize) -> &str {
    match sources.files[file].module.split("::").next() {
        None | Some("") => ROOT,
        Some(name) => name,
    }
}

/// Whether `one` is the file of a module that contains the other's.
fn is_above(sources: &Sources, one: usize, other: usize) -> bool {
    let (one, other) = (&sources.files[one].module, &sources.files[other].module);
    one.is_empty() || other.strip_prefix(one.as_str()).is_some_and(|rest| rest.starts_with("::"))
}

fn shown(sources: &Sources, uses: &Uses, circle: &[usize]) -> String {
    let mut text = "src: circle:".to_owned();
    for (at, from) in circle.iter().enumerate() {
        let to = circle[(at + 1) % circle.len()];
        let place = &uses[&(*from, to)];
        text += &format!(" {}:{} uses {},", sources.files[*from].path.display(), place.line, place.path);
    }
    text.trim_end_matches(',').to_owned()
}
