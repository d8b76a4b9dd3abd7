//! `legacy stats` and `legacy verify`: how many edges each store has.
//!
//! Owns the counting in both stores and the comparison. The two stores never have
//! one snapshot, so equal counts are looked for at one revision.

use std::time::Duration;

use anyhow::Context as _;
use neo4rs::{Graph, query};
use serde::Serialize;
use sqlx::PgPool;
use tokio::time::Instant;

use super::older;
use crate::args::{ConnectionArgs, Format, StoreArgs, VerifyArgs};
use crate::commands::Outcome;
use crate::error::Advised;
use crate::import::legacy::source::{self, Source};
use crate::mistakes::Mistakes;
use crate::output;
use crate::stores::{self, Neo4j, connect_postgres};

/// How long the stores are looked at until they are at one revision.
const PATIENCE: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(100);

/// One statement has one snapshot.
const IN_POSTGRES: &str = "-- legacy_stats
SELECT epoch, revision, (SELECT count(*) FROM follows), (SELECT count(*) FROM mutes),
       (SELECT count(*) FROM blocks), (SELECT count(*) FROM follow_requests)
FROM log_head";

const CHECKPOINT: &str = "MATCH (c:Checkpoint {name: 'followgraph'})
RETURN c.epoch AS epoch, c.visible AS visible, c.target AS target";

/// Neo4j keeps these counts, so each costs nothing.
const IN_NEO4J: [&str; 4] = [
    "MATCH ()-[r:FOLLOWS]->() RETURN count(r) AS edges",
    "MATCH ()-[r:MUTES]->() RETURN count(r) AS edges",
    "MATCH ()-[r:BLOCKS]->() RETURN count(r) AS edges",
    "MATCH ()-[r:REQUESTED]->() RETURN count(r) AS edges",
];

/// What a store has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
struct Counts {
    follows: i64,
    mutes: i64,
    blocks: i64,
    requests: i64,
}

/// A store and what it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
struct Store {
    store: &'static str,
    epoch: i64,
    /// What is counted includes all up to here.
    revision: i64,
    /// Nothing was being written while it was counted.
    #[serde(skip)]
    still: bool,
    #[serde(flatten)]
    counts: Counts,
}

/// Both stores.
#[derive(Debug, Serialize)]
struct Report {
    stores: [Store; 2],
    equal: bool,
}

/// Counts once.
pub async fn stats(connection: &ConnectionArgs, format: Format, args: &StoreArgs) -> anyhow::Result<Outcome> {
    let mut mistakes = Mistakes::default();
    let servers = check(args, &mut mistakes);
    mistakes.finish()?;
    let report = Stores::open(connection, args, &servers).await?.count().await?;
    match format {
        Format::Json => output::json(&report)?,
        Format::Text => output::line(report.table()),
    }
    Ok(Outcome::Done)
}

/// What `verify` found, for programs.
#[derive(Debug, Serialize)]
struct Verified {
    stores: [Store; 2],
    /// The older system's database against PostgreSQL.
    #[serde(skip_serializing_if = "Option::is_none")]
    older: Option<Vec<older::Kind>>,
    equal: bool,
}

/// Counts until both are equal, or differ at one revision, or patience ends. Before that, compares with the older
/// system's database.
pub async fn verify(
    connection: &ConnectionArgs,
    format: Format,
    args: &VerifyArgs,
) -> anyhow::Result<Outcome> {
    let mut mistakes = Mistakes::default();
    let servers = check(&args.stores, &mut mistakes);
    if let Some(url) = &args.from_legacy_postgres {
        mistakes.note(source::check_address(url));
    }
    mistakes.finish()?;
    let stores = Stores::open(connection, &args.stores, &servers).await?;
    let older = match &args.from_legacy_postgres {
        Some(url) => {
            let older = Source::open(url, connection.timeout).await?;
            Some(older::compare(older, &stores.pool).await?)
        }
        None => None,
    };
    let end = Instant::now() + PATIENCE;
    let report = loop {
        let report = stores.count().await?;
        if report.equal || report.is_final() || Instant::now() >= end {
            break report;
        }
        tokio::time::sleep(LOOK).await;
    };
    let equal = report.equal && older.as_deref().is_none_or(older::equal);
    match format {
        Format::Json => output::json(&Verified { stores: report.stores, older, equal })?,
        Format::Text => {
            if let Some(older) = &older {
                output::line(format!("{}\n", older::text(older)));
            }
            output::line(format!("{}\n\n{}", report.table(), report.verdict()));
        }
    }
    Ok(Outcome::from(equal))
}

/// Checks the settings of both stores, which these verbs cannot do without.
pub fn check(args: &StoreArgs, mistakes: &mut Mistakes) -> Vec<Neo4j> {
    let servers = stores::check(args, None, mistakes);
    if servers.is_empty() {
        mistakes.push(Advised {
            message: "the address of Neo4j is not known".to_owned(),
            hint: "set NEO4J_URI, NEO4J_USER and NEO4J_PASSWORD".to_owned(),
            source: None,
        });
    }
    servers
}

struct Stores {
    pool: PgPool,
    graph: Graph,
}

impl Stores {
    async fn open(connection: &ConnectionArgs, args: &StoreArgs, servers: &[Neo4j]) -> anyhow::Result<Self> {
        let pool = connect_postgres(&args.database_url, connection.timeout).await?;
        let server = servers.first().context("no Neo4j")?;
        let graph = server.connect(connection.timeout).await?;
        Ok(Self { pool, graph })
    }

    /// PostgreSQL first: Neo4j then has at least a chance to have caught up.
    async fn count(&self) -> anyhow::Result<Report> {
        let postgres = self.postgres().await.context("cannot count in PostgreSQL")?;
        let neo4j = self.neo4j().await.context("cannot count in Neo4j")?;
        Ok(Report::new(postgres, neo4j))
    }

    async fn postgres(&self) -> Result<Store, sqlx::Error> {
        let (epoch, revision, follows, mutes, blocks, requests) =
            sqlx::query_as(IN_POSTGRES).fetch_one(&self.pool).await?;
        let counts = Counts { follows, mutes, blocks, requests };
        Ok(Store { store: "PostgreSQL", epoch, revision, still: true, counts })
    }

    async fn neo4j(&self) -> anyhow::Result<Store> {
        let before = self.checkpoint().await?;
        let mut edges = [0; 4];
        for (count, statement) in edges.iter_mut().zip(IN_NEO4J) {
            *count = self.number(statement).await?;
        }
        let after = self.checkpoint().await?;
        let [follows, mutes, blocks, requests] = edges;
        let counts = Counts { follows, mutes, blocks, requests };
        let still = before == after && before.visible == before.target;
        Ok(Store { store: "Neo4j", epoch: before.epoch, revision: before.visible, still, counts })
    }

    async fn number(&self, statement: &str) -> anyhow::Result<i64> {
        let mut rows = self.graph.execute(query(statement)).await?;
        let row = rows.next().await?.context("no answer")?;
        let number = row.get("edges")?;
        // Read to the end, or the connection is not free for the next statement.
        while rows.next().await?.is_some() {}
        Ok(number)
    }

    /// Zeros where no projector has begun.
    async fn checkpoint(&self) -> anyhow::Result<Checkpoint> {
        let mut rows = self.graph.execute(query(CHECKPOINT)).await?;
        let mut found = Checkpoint::default();
        while let Some(row) = rows.next().await? {
            found = Checkpoint {
                epoch: row.get("epoch")?,
                visible: row.get("visible")?,
                target: row.get("target")?,
            };
        }
        Ok(found)
    }
}

/// Where a read model stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Checkpoint {
    epoch: i64,
    visible: i64,
    target: i64,
}

impl Report {
    fn new(postgres: Store, neo4j: Store) -> Self {
        Self { equal: postgres.counts == neo4j.counts, stores: [postgres, neo4j] }
    }

    /// Both were counted at the same revision, so looking again finds nothing new.
    fn is_final(&self) -> bool {
        let [postgres, neo4j] = &self.stores;
        neo4j.still && (postgres.epoch, postgres.revision) == (neo4j.epoch, neo4j.revision)
    }

    fn table(&self) -> String {
        let mut table = output::table(&["STORE", "REVISION", "FOLLOWS", "MUTES", "BLOCKS", "REQUESTS"]);
        for Store { store, revision, counts, .. } in &self.stores {
            let numbers = [*revision, counts.follows, counts.mutes, counts.blocks, counts.requests];
            let mut row = vec![(*store).to_owned()];
            row.extend(numbers.map(|number| number.to_string()));
            table.add_row(row);
        }
        output::table_text(table)
    }

    fn verdict(&self) -> &'static str {
        match (self.equal, self.is_final()) {
            (true, _) => "equal",
            (false, true) => {
                "different at the same revision: `followgraph status` tells what the sweep has found"
            }
            (false, false) => "different, at different revisions: the read model is behind, or writes go on",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(store: &'static str, revision: i64, follows: i64) -> Store {
        let counts = Counts { follows, mutes: 2, blocks: 1, requests: 0 };
        Store { store, epoch: 1, revision, still: true, counts }
    }

    #[test]
    fn a_difference_counts_only_at_one_revision() {
        let equal = Report::new(store("PostgreSQL", 9, 5), store("Neo4j", 8, 5));
        assert!(equal.equal);
        assert_eq!(
            equal.table(),
            "STORE       REVISION  FOLLOWS  MUTES  BLOCKS  REQUESTS\n\
             PostgreSQL  9         5        2      1       0\n\
             Neo4j       8         5        2      1       0"
        );
        assert!(Report::new(store("PostgreSQL", 9, 5), store("Neo4j", 9, 4)).is_final());
        assert!(!Report::new(store("PostgreSQL", 9, 5), store("Neo4j", 8, 4)).is_final());
        let moving = Store { still: false, ..store("Neo4j", 9, 4) };
        assert!(!Report::new(store("PostgreSQL", 9, 5), moving).is_final());
    }
}
