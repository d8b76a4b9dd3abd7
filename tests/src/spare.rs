//! The Neo4j that a set of servers leaves for the next one. To start its JVM takes longer than all the rest of a set.

use std::time::Duration;

use devstack::{Servers, SpareNeo4j};
use neo4rs::{Graph, query};
use parking_lot::Mutex;

/// How long it may take to empty it. One that a test has left in a bad state is not waited for.
const EMPTYING: Duration = Duration::from_secs(20);

static SPARE: Mutex<Option<SpareNeo4j>> = Mutex::new(None);

/// Keeps the Neo4j of a set that is done with, in place of an earlier one.
pub fn leave(servers: &mut Servers) {
    if let Some(spare) = servers.spare_neo4j() {
        let earlier = SPARE.lock().replace(spare);
        if let Some(earlier) = earlier {
            remove(earlier);
        }
    }
}

/// An empty one, if there is one.
pub async fn take() -> Option<SpareNeo4j> {
    let spare = SPARE.lock().take()?;
    let (url, user, password) = (spare.neo4j.url(), spare.neo4j.user(), spare.neo4j.password());
    match tokio::time::timeout(EMPTYING, empty(&url, user, password)).await {
        Ok(Ok(())) => Some(spare),
        outcome => {
            eprintln!("a Neo4j of another test is not used again: {outcome:?}");
            remove(spare);
            None
        }
    }
}

fn remove(spare: SpareNeo4j) {
    if let Err(error) = spare.remove() {
        eprintln!("while removing a Neo4j of another test: {error:#}");
    }
}

/// Removes data, constraints and indexes.
async fn empty(url: &str, user: &str, password: &str) -> Result<(), neo4rs::Error> {
    let graph = Graph::new(url, user, password)?;
    graph.run(query("MATCH (n) CALL (n) { DETACH DELETE n } IN TRANSACTIONS OF 5000 ROWS")).await?;
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
