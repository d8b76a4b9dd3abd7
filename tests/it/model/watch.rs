//! Samples PostgreSQL and Neo4j while commands arrive and processes are killed.
//!
//! Each sample of PostgreSQL is one consistent snapshot. The content of Neo4j at a checkpoint of revision r is compared
//! at the end with the events up to r. Few samples fall between two batches; the one at the end of each sequence does.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use neo4rs::Graph;
use parking_lot::Mutex;
use proto::Revision;
use tests::Endpoints;
use tests::truth::neo4j::{self, AtCheckpoint};
use tests::truth::{self, Edges, Replay, postgres};
use tests::until;
use tokio::task::JoinHandle;

/// Pause between samples, so that sampling leaves the CPU to the servers.
const PAUSE: Duration = Duration::from_millis(10);

/// The two watchers.
pub struct Watch {
    over: Arc<AtomicBool>,
    postgres: JoinHandle<usize>,
    neo4j: JoinHandle<()>,
    graph: Graph,
    seen: Arc<Mutex<BTreeMap<Revision, AtCheckpoint>>>,
}

impl Watch {
    pub async fn start(endpoints: &Endpoints) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let (pool, graph) = (endpoints.postgres().await, endpoints.neo4j());
        let (pg_over, neo_over) = (over.clone(), over.clone());
        let postgres = tokio::spawn(async move {
            let mut looks = 0;
            while !pg_over.load(Ordering::SeqCst) {
                postgres::snapshot(&pool).await.assert_consistent();
                looks += 1;
                tokio::time::sleep(PAUSE).await;
            }
            looks
        });
        let seen = Arc::new(Mutex::new(BTreeMap::new()));
        let (looked_at, kept) = (graph.clone(), seen.clone());
        let neo4j = tokio::spawn(async move {
            while !neo_over.load(Ordering::SeqCst) {
                if let Some(at) = neo4j::at_checkpoint(&looked_at).await {
                    // The sweep must find nothing to do, so two equal results are expected.
                    kept.lock().insert(at.revision, at);
                }
                tokio::time::sleep(PAUSE).await;
            }
        });
        Self { over, postgres, neo4j, graph, seen }
    }

    /// Samples Neo4j once it is idle.
    pub async fn look(&self) {
        let at = until("the read model at rest", || async {
            neo4j::at_checkpoint(&self.graph).await.ok_or_else(|| "a batch is in flight".to_owned())
        })
        .await;
        self.seen.lock().insert(at.revision, at);
    }

    /// Ends both, and compares the samples with the events.
    pub async fn finish(self, endpoints: &Endpoints) {
        self.over.store(true, Ordering::SeqCst);
        let looks = self.postgres.await.expect("PostgreSQL was consistent in every sample");
        self.neo4j.await.expect("Neo4j was readable");
        let seen = std::mem::take(&mut *self.seen.lock());
        println!("{looks} snapshots of PostgreSQL, {} checkpoints of Neo4j", seen.len());
        assert!(looks > 10 && seen.len() > 10, "too few samples");

        let mut replay = Replay::default();
        let mut compared = 0;
        for event in truth::stream(endpoints).await {
            replay.apply(&event);
            let Some(at) = seen.get(&event.revision) else { continue };
            let wanted: Edges =
                replay.edges.iter().map(|(key, edge)| (*key, edge.to_the_millisecond())).collect();
            truth::assert_same(&format!("Neo4j at revision {}", at.revision), &at.edges, &wanted);
            for (user, degrees) in &at.degrees {
                let counted = replay.counts.get(user).copied().unwrap_or_default();
                assert_eq!(*degrees, counted, "degrees of {user} at revision {}", at.revision);
            }
            compared += 1;
        }
        let before_all = usize::from(seen.contains_key(&Revision::ZERO));
        assert_eq!(compared + before_all, seen.len(), "every checkpoint is a revision of the stream");
    }
}
