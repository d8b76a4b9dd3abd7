//! Facts in the sources that a deployment must match: variables, methods, metrics, and versions of servers.
//!
//! They are read as text, because xtask links no service. A program knows a variable if its sources, or those of
//! service-kit, contain the name as a string literal. A name that is composed at run time is reported as unknown.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use devstack::{
    fetch, pins,
    workspace::{self, read},
};

/// Folders of sources, by the last part of the image's name.
const PROGRAMS: [(&str, &[&str]); 4] = [
    ("command-service", &["command-service/src", "service-kit/src"]),
    ("query-service", &["query-service/src", "service-kit/src"]),
    ("projector", &["projector/src", "service-kit/src"]),
    ("cli", &["followgraph/src"]),
];

/// The facts.
#[derive(Debug, Default)]
pub struct Contract {
    pub variables: BTreeMap<&'static str, BTreeSet<String>>,
    pub legacy_methods: Vec<String>,
    pub query_metrics: String,
    pub metrics_adapter: String,
    /// PostgreSQL roles that are read-only.
    pub readers: Vec<String>,
    /// NATS's users and their permissions, `migrations/roles/nats.conf`.
    pub nats_users: Option<String>,
}

impl Contract {
    /// Reads them from the clone.
    pub fn read() -> Result<Self> {
        let mut variables: BTreeMap<_, BTreeSet<String>> = BTreeMap::new();
        for (program, folders) in PROGRAMS {
            let names = variables.entry(program).or_default();
            for folder in folders {
                names.extend(workspace::sources(folder)?.values().flat_map(|source| names_in(source)));
            }
        }
        Ok(Self {
            variables,
            legacy_methods: methods(&read("proto/nova/graph_service/v2/graph_service.proto")?),
            query_metrics: read("query-service/src/metrics.rs")?,
            metrics_adapter: read("k8s/overlays/production/metrics-adapter.yaml")?,
            readers: readers(&read("migrations/roles/postgres.sql")?),
            nats_users: read("migrations/roles/nats.conf").ok(),
        })
    }

    /// The variables that an image's program knows; `None` for an image that is not ours.
    pub fn variables(&self, image: &str) -> Option<&BTreeSet<String>> {
        let (path, _) = image.rsplit_once(':')?;
        let (folder, program) = path.rsplit_once('/')?;
        if folder.rsplit('/').next() != Some("followgraph") {
            return None;
        }
        self.variables.get(program)
    }

    /// The version of a server that the tests run; `None` for another image.
    pub fn server_version(&self, image: &str) -> Option<&'static str> {
        match image {
            "nats" => pins::wheel("nats-server").ok().map(|wheel| wheel.version.as_str()),
            "neo4j" => fetch::NEO4J.strip_prefix("neo4j-"),
            // The package 18.0.0 contains the server 18.0.
            "postgres" | "postgresql" => fetch::POSTGRES.strip_prefix("postgres-")?.strip_suffix(".0"),
            _ => None,
        }
    }
}

/// Read-only roles: rows `('role', connections, true)` of the script that creates the roles.
pub fn readers(script: &str) -> Vec<String> {
    let only_reads = |row: &str| row.contains(", true)");
    let rows = script.lines().map(str::trim).filter(|line| only_reads(line));
    rows.filter_map(|row| row.strip_prefix("('")?.split('\'').next()).map(str::to_owned).collect()
}

/// String literals in the form of a variable's name.
pub fn names_in(source: &str) -> impl Iterator<Item = String> {
    source.split('"').filter(|text| is_name(text)).map(str::to_owned)
}

fn is_name(text: &str) -> bool {
    text.len() > 3
        && text.starts_with(|first: char| first.is_ascii_uppercase())
        && text.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
}

/// The methods of a .proto file with one service.
pub fn methods(proto: &str) -> Vec<String> {
    proto
        .lines()
        .filter_map(|line| line.trim().strip_prefix("rpc "))
        .filter_map(|rest| rest.split('(').next())
        .map(str::to_owned)
        .collect()
}
