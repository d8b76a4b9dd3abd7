//! What the sources say that a deployment must fit: variables, methods, metrics, versions of servers.
//!
//! Owns: reading them from the sources as text, because this tool links to no service. A variable is known to a program
//! if its name stands as a text in the program's sources or in those of service-kit.
//!
//! What can go wrong: a name that is put together at run time is not found; then the check fails, and says which.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use anyhow::{Context, Result};
use devstack::fetch;

/// Folders of sources, by the last part of the image's name.
const PROGRAMS: [(&str, &[&str]); 4] = [
    ("command-service", &["command-service/src", "service-kit/src"]),
    ("query-service", &["query-service/src", "service-kit/src"]),
    ("projector", &["projector/src", "service-kit/src"]),
    ("cli", &["followgraph/src"]),
];

/// What the sources say.
#[derive(Debug, Default)]
pub(in crate::deployment) struct Contract {
    pub(super) variables: BTreeMap<&'static str, BTreeSet<String>>,
    pub(super) legacy_methods: Vec<String>,
    pub(super) query_metrics: String,
    pub(super) metrics_adapter: String,
    /// Roles in PostgreSQL that only read.
    pub(super) readers: Vec<String>,
    /// NATS's users and what each may do, once they are kept in one place for all.
    pub(super) nats_users: Option<String>,
}

impl Contract {
    /// Reads them.
    pub(in crate::deployment) fn read(root: &Path) -> Result<Self> {
        let read =
            |path: &str| fs::read_to_string(root.join(path)).with_context(|| format!("cannot read {path}"));
        let mut variables = BTreeMap::new();
        for (program, folders) in PROGRAMS {
            let mut names = BTreeSet::new();
            for folder in folders {
                names_in_folder(&root.join(folder), &mut names)?;
            }
            variables.insert(program, names);
        }
        Ok(Self {
            variables,
            legacy_methods: methods(&read("proto/nova/graph_service/v2/graph_service.proto")?),
            query_metrics: read("query-service/src/metrics.rs")?,
            metrics_adapter: read("k8s/overlays/production/metrics-adapter.yaml")?,
            readers: readers(&read("migrations/roles/postgres.sql")?),
            nats_users: fs::read_to_string(root.join("migrations/roles/nats.conf")).ok(),
        })
    }

    /// The variables that the program of an image knows; `None` for images of others.
    pub(super) fn variables(&self, image: &str) -> Option<&BTreeSet<String>> {
        let (path, _) = image.rsplit_once(':')?;
        let (folder, program) = path.rsplit_once('/')?;
        if folder.rsplit('/').next() != Some("followgraph") {
            return None;
        }
        self.variables.get(program)
    }

    /// The version of a server that the tests run.
    pub(super) fn server_version(&self, image: &str) -> Option<&'static str> {
        match image {
            "nats" => Some(fetch::NATS.version),
            "neo4j" => fetch::NEO4J.strip_prefix("neo4j-"),
            // 18.0.0 of the package is 18.0 of the server.
            "postgres" | "postgresql" => fetch::POSTGRES.strip_prefix("postgres-")?.strip_suffix(".0"),
            _ => None,
        }
    }
}

/// The roles of `('role', connections, true)` in the script that makes them.
pub(super) fn readers(script: &str) -> Vec<String> {
    let only_reads = |row: &str| row.contains(", true)");
    let rows = script.lines().map(str::trim).filter(|line| only_reads(line));
    rows.filter_map(|row| row.strip_prefix("('")?.split('\'').next()).map(str::to_owned).collect()
}

fn names_in_folder(folder: &Path, names: &mut BTreeSet<String>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            names_in_folder(&path, names)?;
        } else if path.extension().is_some_and(|it| it == "rs") {
            names.extend(names_in(&fs::read_to_string(&path)?));
        }
    }
    Ok(())
}

/// Texts that have the form of a variable's name.
pub(super) fn names_in(source: &str) -> impl Iterator<Item = String> {
    source.split('"').filter(|text| is_name(text)).map(str::to_owned)
}

fn is_name(text: &str) -> bool {
    text.len() > 3
        && text.starts_with(|first: char| first.is_ascii_uppercase())
        && text.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
}

/// The methods of a .proto file with one service.
pub(super) fn methods(proto: &str) -> Vec<String> {
    proto
        .lines()
        .filter_map(|line| line.trim().strip_prefix("rpc "))
        .filter_map(|rest| rest.split('(').next())
        .map(str::to_owned)
        .collect()
}
