//! Neo4j servers that sets leave for later ones: starting the JVM takes longer than the rest of a set.
//!
//! An emptied server keeps the schema of this version. If the schema does not change, Neo4j also keeps the plans of the
//! services' statements, and query-service does not wait for all of them before it is ready.

use std::time::Duration;

use devstack::{Servers, SpareNeo4j};
use neo4rs::{Graph, query};
use parking_lot::Mutex;

use crate::turns::AT_ONCE;

/// Timeout of emptying a server, which a test may have left in a bad state.
const EMPTYING: Duration = Duration::from_secs(20);

/// The schema of this version.
const SCHEMA: &str = include_str!("../../migrations/neo4j/schema.cypher");

static SPARES: Mutex<Vec<Spare>> = Mutex::new(Vec::new());

/// A server that waits for a set.
struct Spare {
    server: SpareNeo4j,
    schema: Schema,
}

/// The version that created the schema of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schema {
    /// This version.
    Present,
    /// Any other: its constraints and indexes may differ although their names are the same.
    Other,
}

/// Keeps the Neo4j of a set that has ended, if it can be used again.
pub fn leave(servers: &mut Servers, schema: Schema) {
    let Some(server) = servers.spare_neo4j() else { return };
    let mut spares = SPARES.lock();
    spares.push(Spare { server, schema });
    // The last one used has the most plans.
    let surplus = if spares.len() > AT_ONCE { Some(spares.remove(0)) } else { None };
    drop(spares);
    if let Some(spare) = surplus {
        remove(spare.server);
    }
}

/// A server without data, if there is one. It has the schema of this version only if `wanted` says so.
pub async fn take(wanted: Schema) -> Option<SpareNeo4j> {
    let Spare { server, schema } = SPARES.lock().pop()?;
    let keeps = wanted == Schema::Present && schema == Schema::Present;
    let (url, user, password) = (server.neo4j.url(), server.neo4j.user(), server.neo4j.password());
    match tokio::time::timeout(EMPTYING, empty(&url, user, password, keeps)).await {
        Ok(Ok(())) => Some(server),
        outcome => {
            // Not to the captured output: a set that starts its own Neo4j takes longer.
            let line = format!("a Neo4j of another test is not used again: {outcome:?}\n");
            let _ = std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes());
            remove(server);
            None
        }
    }
}

fn remove(server: SpareNeo4j) {
    if let Err(error) = server.remove() {
        eprintln!("while removing a Neo4j of another test: {error:#}");
    }
}

/// Removes the data, and all constraints and indexes except, if `keeps`, those of this version's schema.
async fn empty(url: &str, user: &str, password: &str, keeps: bool) -> Result<(), neo4rs::Error> {
    let graph = Graph::new(url, user, password)?;
    graph.run(query("MATCH (n) CALL (n) { DETACH DELETE n } IN TRANSACTIONS OF 5000 ROWS")).await?;
    let kept: Vec<&str> = if keeps { names_in(SCHEMA).collect() } else { Vec::new() };
    // Constraints first: their indexes go with them.
    for (kind, kinds) in [("CONSTRAINT", "CONSTRAINTS"), ("INDEX", "INDEXES")] {
        let listed = format!("SHOW {kinds} YIELD name, type WHERE type <> 'LOOKUP' RETURN name");
        let mut rows = graph.execute(query(&listed)).await?;
        let mut names: Vec<String> = Vec::new();
        while let Some(row) = rows.next().await? {
            names.push(row.get("name").map_err(neo4rs::Error::DeserializationError)?);
        }
        for name in names.iter().filter(|name| !kept.contains(&name.as_str())) {
            graph.run(query(&format!("DROP {kind} `{name}` IF EXISTS"))).await?;
        }
    }
    Ok(())
}

/// The names of the constraints and indexes that a schema creates. The index of a constraint has the constraint's name.
fn names_in(schema: &str) -> impl Iterator<Item = &str> {
    schema.lines().filter_map(|line| {
        let rest = line.strip_prefix("CREATE CONSTRAINT ").or_else(|| line.strip_prefix("CREATE INDEX "))?;
        rest.split(' ').next()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_statement_of_the_schema_has_a_name() {
        let statements = SCHEMA.lines().filter(|line| line.starts_with("CREATE ")).count();
        let names: Vec<_> = names_in(SCHEMA).collect();
        assert_eq!(names.len(), statements);
        assert!(names.contains(&"follows_pair") && names.contains(&"checkpoint_name"), "{names:?}");
    }
}
