//! Neo4j servers that sets leave for later ones. To start the JVM takes longer than all the rest of a set.

use std::time::Duration;

use devstack::{Servers, SpareNeo4j};
use neo4rs::{Graph, query};
use parking_lot::Mutex;

use crate::turns::AT_ONCE;

/// How long it may take to empty a server. One that a test has left in a bad state is not waited for.
const EMPTYING: Duration = Duration::from_secs(20);

static SPARES: Mutex<Vec<SpareNeo4j>> = Mutex::new(Vec::new());

/// Keeps the Neo4j of a set that has ended, if it can be used again.
pub fn leave(servers: &mut Servers) {
    let Some(server) = servers.spare_neo4j() else { return };
    let mut spares = SPARES.lock();
    spares.push(server);
    let surplus = if spares.len() > AT_ONCE { Some(spares.remove(0)) } else { None };
    drop(spares);
    if let Some(spare) = surplus {
        remove(spare);
    }
}

/// An empty server, if there is one.
pub async fn take() -> Option<SpareNeo4j> {
    let server = SPARES.lock().pop()?;
    let (url, user, password) = (server.neo4j.url(), server.neo4j.user(), server.neo4j.password());
    match tokio::time::timeout(EMPTYING, empty(&url, user, password)).await {
        Ok(Ok(())) => Some(server),
        outcome => {
            eprintln!("a Neo4j of another test is not used again: {outcome:?}");
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

/// Removes data, constraints and indexes.
async fn empty(url: &str, user: &str, password: &str) -> Result<(), neo4rs::Error> {
    let graph = Graph::new(url, user, password)?;
    graph.run(query("MATCH (n) CALL (n) { DETACH DELETE n } IN TRANSACTIONS OF 5000 ROWS")).await?;
    // Constraints first: their indexes go with them.
    for kind in ["CONSTRAINT", "INDEX"] {
        let listed = format!("SHOW {kind}S YIELD name, type WHERE type <> 'LOOKUP' RETURN name");
        let mut rows = graph.execute(query(&listed)).await?;
        let mut names: Vec<String> = Vec::new();
        while let Some(row) = rows.next().await? {
            names.push(row.get("name").map_err(neo4rs::Error::DeserializationError)?);
        }
        for name in names {
            graph.run(query(&format!("DROP {kind} `{name}` IF EXISTS"))).await?;
        }
    }
    Ok(())
}
