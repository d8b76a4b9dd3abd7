//! `legacy stats` and `legacy verify`: number of edges in each store.
//!
//! The stores do not share a snapshot, and counts of different revisions cannot be compared. So `verify` compares only
//! counts of the same revision.

use std::time::Duration;

use anyhow::Context as _;
use neo4rs::{Graph, query};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use tokio::time::Instant;

use super::edges;
use crate::error::Mistakes;
use crate::global::{GlobalArgs, Outcome};
use crate::older::{self, Snapshot};
use crate::output::{self, Format};
use crate::stores::{Neo4j, ReplicaArgs, connect_postgres};

/// How long `verify` waits until all stores are at one revision.
const TIMEOUT: Duration = Duration::from_secs(30);
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// One statement, so that all counts are of one snapshot.
const IN_POSTGRES: &str = "-- legacy_stats
SELECT epoch, revision, (SELECT count(*) FROM follows), (SELECT count(*) FROM mutes),
       (SELECT count(*) FROM blocks), (SELECT count(*) FROM follow_requests)
FROM log_head";

const CHECKPOINT: &str = "MATCH (c:Checkpoint {name: 'followgraph'})
RETURN c.epoch AS epoch, c.visible AS visible, c.target AS target, coalesce(c.complete, false) AS complete";

const RELATIONSHIPS: [&str; 4] = ["FOLLOWS", "MUTES", "BLOCKS", "REQUESTED"];

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
struct Counts {
    follows: i64,
    mutes: i64,
    blocks: i64,
    requests: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Store {
    store: String,
    epoch: i64,
    /// The counts include all changes up to this revision.
    revision: i64,
    /// False while a read model is being built.
    complete: bool,
    /// False if the store was written during the count.
    #[serde(skip)]
    unchanged: bool,
    #[serde(flatten)]
    counts: Counts,
}

impl Store {
    /// Whether its counts can be compared with those of PostgreSQL.
    fn is_at(&self, truth: &Self) -> bool {
        self.complete && self.unchanged && (self.epoch, self.revision) == (truth.epoch, truth.revision)
    }
}

#[derive(Debug, Serialize)]
struct Report {
    stores: Vec<Store>,
    /// All stores are complete and were counted at one revision.
    at_one_revision: bool,
    /// The stores are at one revision and have the same counts.
    equal: bool,
}

/// Stores to compare.
#[derive(Debug, clap::Args)]
pub struct VerifyArgs {
    /// The stores of followgraph.
    #[command(flatten)]
    pub stores: ReplicaArgs,
    /// URL of the older system's PostgreSQL, to compare every follow, mute and block
    ///
    /// Prefer PGPASSWORD or ~/.pgpass for the password: other users can read arguments.
    #[arg(long, value_name = "URL")]
    pub from_legacy_postgres: Option<String>,
}

pub async fn stats(global: &GlobalArgs, args: &ReplicaArgs) -> anyhow::Result<Outcome> {
    let mut mistakes = Mistakes::default();
    let servers = args.check(&mut mistakes);
    mistakes.finish()?;
    let report = Stores::open(global, args, &servers).await?.count().await?;
    global.output.show(&report, || report.table())?;
    Ok(Outcome::Done)
}

#[derive(Debug, Serialize)]
struct Verified {
    stores: Vec<Store>,
    at_one_revision: bool,
    /// The older system's database compared with PostgreSQL.
    #[serde(skip_serializing_if = "Option::is_none")]
    older: Option<Vec<edges::Kind>>,
    equal: bool,
}

/// Compares with the older system's database, then counts until all stores are at one revision or the timeout ends.
pub async fn verify(global: &GlobalArgs, args: &VerifyArgs) -> anyhow::Result<Outcome> {
    let mut mistakes = Mistakes::default();
    let servers = args.stores.check(&mut mistakes);
    if let Some(url) = &args.from_legacy_postgres {
        mistakes.note(older::check_address(url));
    }
    mistakes.finish()?;
    let stores = Stores::open(global, &args.stores, &servers).await?;
    let mut older = None;
    if let Some(url) = &args.from_legacy_postgres {
        let snapshot = Snapshot::open(url, global.connection.timeout).await?;
        older = Some(edges::compare(snapshot, &stores.pool).await?);
    }
    let end = Instant::now() + TIMEOUT;
    let report = loop {
        let report = stores.count().await?;
        if report.at_one_revision || Instant::now() >= end {
            break report;
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    };
    let equal = report.equal && older.as_deref().is_none_or(edges::equal);
    match global.output {
        Format::Json => {
            let Report { stores, at_one_revision, .. } = report;
            output::json(&Verified { stores, at_one_revision, older, equal })?;
        }
        Format::Text => {
            if let Some(older) = &older {
                output::line(format!("{}\n", edges::text(older)));
            }
            output::line(format!("{}\n\n{}", report.table(), report.verdict()));
        }
    }
    Ok(Outcome::from(equal))
}

struct Stores {
    pool: PgPool,
    replicas: Vec<Replica>,
}

impl Stores {
    async fn open(global: &GlobalArgs, args: &ReplicaArgs, servers: &[Neo4j]) -> anyhow::Result<Self> {
        let timeout = global.connection.timeout;
        let pool = connect_postgres(&args.stores.database_url, timeout).await?;
        let mut replicas = Vec::new();
        for server in servers {
            let graph = server.connect(timeout).await?;
            replicas.push(Replica { name: server.name.clone(), graph });
        }
        Ok(Self { pool, replicas })
    }

    /// Counts PostgreSQL first, so that Neo4j can reach its revision.
    async fn count(&self) -> anyhow::Result<Report> {
        let postgres = self.postgres().await.context("cannot count in PostgreSQL")?;
        let mut replicas = Vec::new();
        for replica in &self.replicas {
            let counted = replica.count().await;
            replicas.push(counted.with_context(|| format!("cannot count in {}", replica.name))?);
        }
        Ok(Report::new(postgres, replicas))
    }

    async fn postgres(&self) -> Result<Store, sqlx::Error> {
        let (epoch, revision, follows, mutes, blocks, requests) =
            sqlx::query_as(IN_POSTGRES).fetch_one(&self.pool).await?;
        let counts = Counts { follows, mutes, blocks, requests };
        Ok(Store { store: "PostgreSQL".to_owned(), epoch, revision, complete: true, unchanged: true, counts })
    }
}

struct Replica {
    name: String,
    graph: Graph,
}

impl Replica {
    async fn count(&self) -> anyhow::Result<Store> {
        let before = self.checkpoint().await?;
        let mut edges = [0; 4];
        for (count, relationship) in edges.iter_mut().zip(RELATIONSHIPS) {
            *count = self.number(relationship).await?;
        }
        let after = self.checkpoint().await?;
        let [follows, mutes, blocks, requests] = edges;
        let counts = Counts { follows, mutes, blocks, requests };
        let Checkpoint { epoch, visible, target, complete } = before;
        let unchanged = before == after && visible == target;
        Ok(Store { store: self.name.clone(), epoch, revision: visible, complete, unchanged, counts })
    }

    /// Number of relationships of a type. Neo4j maintains these counts, so the statement is cheap.
    async fn number(&self, relationship: &str) -> anyhow::Result<i64> {
        let statement = format!("MATCH ()-[r:{relationship}]->() RETURN count(r) AS edges");
        let mut rows = self.graph.execute(query(&statement)).await?;
        let row = rows.next().await?.context("an empty answer")?;
        let number = row.get("edges")?;
        // The connection is free for the next statement only at the end of the rows.
        while rows.next().await?.is_some() {}
        Ok(number)
    }

    /// Zeros before a projector has started.
    async fn checkpoint(&self) -> anyhow::Result<Checkpoint> {
        let mut rows = self.graph.execute(query(CHECKPOINT)).await?;
        let mut found = Checkpoint::default();
        while let Some(row) = rows.next().await? {
            found = row.to()?;
        }
        Ok(found)
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
struct Checkpoint {
    epoch: i64,
    visible: i64,
    target: i64,
    complete: bool,
}

impl Report {
    fn new(postgres: Store, replicas: Vec<Store>) -> Self {
        let at_one_revision = replicas.iter().all(|replica| replica.is_at(&postgres));
        let equal = at_one_revision && replicas.iter().all(|replica| replica.counts == postgres.counts);
        let stores = std::iter::once(postgres).chain(replicas).collect();
        Self { stores, at_one_revision, equal }
    }

    fn table(&self) -> String {
        let rows = self.stores.iter().map(|Store { store, revision, counts, .. }| {
            output::numbers(store, [*revision, counts.follows, counts.mutes, counts.blocks, counts.requests])
        });
        output::table(&["STORE", "REVISION", "FOLLOWS", "MUTES", "BLOCKS", "REQUESTS"], rows)
    }

    fn verdict(&self) -> &'static str {
        if self.equal {
            "equal"
        } else if self.at_one_revision {
            "different at the same revision: `followgraph status` shows the results of the sweep"
        } else if self.stores.iter().all(|store| store.complete) {
            "not compared: the stores are not at one revision, because a projector lags or does not run, or writes \
             continue"
        } else {
            "not compared: a read model is not complete; `followgraph legacy backfill` waits for it"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(store: &str, revision: i64, follows: i64) -> Store {
        let counts = Counts { follows, mutes: 2, blocks: 1, requests: 0 };
        Store { store: store.to_owned(), epoch: 1, revision, complete: true, unchanged: true, counts }
    }

    fn judged(replicas: impl IntoIterator<Item = Store>) -> (bool, bool) {
        let report = Report::new(store("PostgreSQL", 9, 5), replicas.into_iter().collect());
        (report.at_one_revision, report.equal)
    }

    #[test]
    fn counts_are_compared_only_at_one_revision() {
        assert_eq!(judged([store("Neo4j", 9, 5)]), (true, true));
        assert_eq!(judged([store("Neo4j", 9, 4)]), (true, false));
        // A follow and an unfollow later, the counts are equal again.
        for behind in [
            store("Neo4j", 8, 5),
            Store { epoch: 2, ..store("Neo4j", 9, 5) },
            Store { unchanged: false, ..store("Neo4j", 9, 5) },
            Store { complete: false, ..store("Neo4j", 9, 5) },
        ] {
            assert_eq!(judged([behind.clone()]), (false, false), "{behind:?}");
        }
    }

    #[test]
    fn every_replica_is_compared() {
        let [a, b] = ["Neo4j bolt://a:1", "Neo4j bolt://b:2"];
        assert_eq!(judged([store(a, 9, 5), store(b, 9, 5)]), (true, true));
        assert_eq!(judged([store(a, 9, 5), store(b, 9, 4)]), (true, false));
        assert_eq!(judged([store(a, 9, 5), store(b, 8, 5)]), (false, false));
    }

    #[test]
    fn the_verdict_says_why_counts_were_not_compared() {
        let behind = Report::new(store("PostgreSQL", 9, 5), vec![store("Neo4j", 8, 5)]);
        assert_eq!(
            behind.table(),
            "STORE       REVISION  FOLLOWS  MUTES  BLOCKS  REQUESTS\n\
             PostgreSQL  9         5        2      1       0\n\
             Neo4j       8         5        2      1       0"
        );
        assert!(behind.verdict().contains("not at one revision"), "{}", behind.verdict());
        let partial = Store { complete: false, ..store("Neo4j", 9, 5) };
        let partial = Report::new(store("PostgreSQL", 9, 5), vec![partial]);
        assert!(partial.verdict().contains("not complete"), "{}", partial.verdict());
    }
}
