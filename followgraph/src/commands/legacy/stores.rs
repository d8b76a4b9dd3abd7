//! `legacy stats` and `legacy verify`: how many edges each store has.
//!
//! The stores never share a snapshot. Two counts of different revisions say nothing, equal or not, so counts are compared
//! only if all stores were counted at one revision.

use std::time::Duration;

use anyhow::Context as _;
use neo4rs::{Graph, query};
use serde::Serialize;
use sqlx::PgPool;
use tokio::time::Instant;

use super::older;
use crate::args::{ConnectionArgs, Format, ReplicaArgs, VerifyArgs};
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
RETURN c.epoch AS epoch, c.visible AS visible, c.target AS target, coalesce(c.complete, false) AS complete";

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
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Store {
    store: String,
    epoch: i64,
    /// What is counted includes all up to here.
    revision: i64,
    /// It has all edges of that revision: a read model may be under construction.
    complete: bool,
    /// Nothing was being written while it was counted.
    #[serde(skip)]
    still: bool,
    #[serde(flatten)]
    counts: Counts,
}

impl Store {
    /// True if its counts can be compared with those of the source of truth.
    fn is_at(&self, truth: &Self) -> bool {
        self.complete && self.still && (self.epoch, self.revision) == (truth.epoch, truth.revision)
    }
}

/// All stores.
#[derive(Debug, Serialize)]
struct Report {
    /// PostgreSQL, and every Neo4j.
    stores: Vec<Store>,
    /// All are complete, and were counted at one revision.
    at_one_revision: bool,
    /// They are at one revision, and have the same counts.
    equal: bool,
}

/// Checks the settings of both stores, which these verbs cannot do without.
pub fn check(args: &ReplicaArgs, mistakes: &mut Mistakes) -> Vec<Neo4j> {
    let servers = stores::check(&args.stores, args.neo4j_uris.as_deref(), mistakes);
    if servers.is_empty() {
        mistakes.push(Advised {
            message: "the address of Neo4j is not known".to_owned(),
            hint: "set NEO4J_URI or NEO4J_URIS, NEO4J_USER and NEO4J_PASSWORD".to_owned(),
            source: None,
        });
    }
    servers
}

/// Counts once.
pub async fn stats(
    connection: &ConnectionArgs,
    format: Format,
    args: &ReplicaArgs,
) -> anyhow::Result<Outcome> {
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
    stores: Vec<Store>,
    at_one_revision: bool,
    /// The older system's database against PostgreSQL.
    #[serde(skip_serializing_if = "Option::is_none")]
    older: Option<Vec<older::Kind>>,
    equal: bool,
}

/// Counts until all stores are at one revision, or patience ends. Before that, compares with the older system's database.
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
        if report.at_one_revision || Instant::now() >= end {
            break report;
        }
        tokio::time::sleep(LOOK).await;
    };
    let equal = report.equal && older.as_deref().is_none_or(older::equal);
    match format {
        Format::Json => {
            let Report { stores, at_one_revision, .. } = report;
            output::json(&Verified { stores, at_one_revision, older, equal })?;
        }
        Format::Text => {
            if let Some(older) = &older {
                output::line(format!("{}\n", older::text(older)));
            }
            output::line(format!("{}\n\n{}", report.table(), report.verdict()));
        }
    }
    Ok(Outcome::from(equal))
}

/// Connections to all stores.
struct Stores {
    pool: PgPool,
    replicas: Vec<Replica>,
}

impl Stores {
    async fn open(
        connection: &ConnectionArgs,
        args: &ReplicaArgs,
        servers: &[Neo4j],
    ) -> anyhow::Result<Self> {
        let pool = connect_postgres(&args.stores.database_url, connection.timeout).await?;
        let mut replicas = Vec::new();
        for server in servers {
            let graph = server.connect(connection.timeout).await?;
            replicas.push(Replica { name: server.name.clone(), graph });
        }
        Ok(Self { pool, replicas })
    }

    /// PostgreSQL first: Neo4j then has at least a chance to have caught up.
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
        Ok(Store { store: "PostgreSQL".to_owned(), epoch, revision, complete: true, still: true, counts })
    }
}

/// A connection to one Neo4j.
struct Replica {
    name: String,
    graph: Graph,
}

impl Replica {
    async fn count(&self) -> anyhow::Result<Store> {
        let before = self.checkpoint().await?;
        let mut edges = [0; 4];
        for (count, statement) in edges.iter_mut().zip(IN_NEO4J) {
            *count = self.number(statement).await?;
        }
        let after = self.checkpoint().await?;
        let [follows, mutes, blocks, requests] = edges;
        let counts = Counts { follows, mutes, blocks, requests };
        let Checkpoint { epoch, visible, target, complete } = before;
        let still = before == after && visible == target;
        Ok(Store { store: self.name.clone(), epoch, revision: visible, complete, still, counts })
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
                complete: row.get("complete")?,
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
        let mut table = output::table(&["STORE", "REVISION", "FOLLOWS", "MUTES", "BLOCKS", "REQUESTS"]);
        for Store { store, revision, counts, .. } in &self.stores {
            let numbers = [*revision, counts.follows, counts.mutes, counts.blocks, counts.requests];
            let mut row = vec![store.clone()];
            row.extend(numbers.map(|number| number.to_string()));
            table.add_row(row);
        }
        output::table_text(table)
    }

    fn verdict(&self) -> &'static str {
        if self.equal {
            "equal"
        } else if self.at_one_revision {
            "different at the same revision: `followgraph status` tells what the sweep has found"
        } else if self.stores.iter().all(|store| store.complete) {
            "not compared, since the stores are not at one revision: a projector is behind or does not run, or writes go \
             on"
        } else {
            "not compared, since a read model is not complete: `followgraph legacy backfill` waits for it"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(store: &str, revision: i64, follows: i64) -> Store {
        let counts = Counts { follows, mutes: 2, blocks: 1, requests: 0 };
        Store { store: store.to_owned(), epoch: 1, revision, complete: true, still: true, counts }
    }

    fn judged(replicas: impl IntoIterator<Item = Store>) -> (bool, bool) {
        let report = Report::new(store("PostgreSQL", 9, 5), replicas.into_iter().collect());
        (report.at_one_revision, report.equal)
    }

    #[test]
    fn counts_are_compared_only_at_one_revision() {
        assert_eq!(judged([store("Neo4j", 9, 5)]), (true, true));
        assert_eq!(judged([store("Neo4j", 9, 4)]), (true, false));
        // One follow and one unfollow later the counts are the same again.
        for behind in [
            store("Neo4j", 8, 5),
            Store { epoch: 2, ..store("Neo4j", 9, 5) },
            Store { still: false, ..store("Neo4j", 9, 5) },
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
    fn the_verdict_says_why_nothing_was_compared() {
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
