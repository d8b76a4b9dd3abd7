//! Exchanges with Neo4j: transactions that are committed or rolled back, however long the caller waits.

use std::future::Future;
use std::time::Duration;

use neo4rs::{Graph, Query, Row, Txn};
use service_kit::neo4j::run_detached;
use uuid::Uuid;

use super::error::Error;

/// Timeout of one exchange. The driver's own limit is for each message; a batch has many.
pub(super) const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(60);

/// The read model, written by this projector.
#[derive(Clone)]
pub struct Replica {
    pub(super) graph: Graph,
    pub(super) owner: Uuid,
    pub(super) name: String,
}

impl Replica {
    /// The read model behind `graph`. `owner` is random and names this process: a counter would repeat after a restore.
    pub fn new(graph: Graph, owner: Uuid, name: &str) -> Self {
        Self { graph, owner, name: name.to_owned() }
    }

    /// Runs statements in one transaction, in a task of its own. It commits if `body` succeeds and rolls back if not: a
    /// dropped transaction would keep its locks.
    pub(super) async fn transaction<T, F>(&self, body: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: AsyncBody<T>,
    {
        let graph = self.graph.clone();
        let outcome = run_detached(EXCHANGE_TIMEOUT, async move {
            let mut tx = graph.start_txn().await?;
            match body.run(&mut tx).await {
                Ok(value) => {
                    tx.commit().await?;
                    Ok(value)
                }
                Err(error) => {
                    // The first error matters more; a failed rollback closes the connection, which rolls back as well.
                    let _ = tx.rollback().await;
                    Err(error)
                }
            }
        });
        Ok(outcome.await?)
    }

    /// Runs one statement and returns its only row, if there is one.
    pub(super) async fn read(&self, query: Query) -> Result<Option<Row>, Error> {
        self.transaction(Read(query)).await
    }
}

/// The statements of a transaction. A trait, because the future borrows the transaction and must be `Send`.
pub(super) trait AsyncBody<T>: Send + 'static {
    fn run(self, tx: &mut Txn) -> impl Future<Output = Result<T, Error>> + Send;
}

struct Read(Query);

impl AsyncBody<Option<Row>> for Read {
    async fn run(self, tx: &mut Txn) -> Result<Option<Row>, Error> {
        one_row(tx, self.0).await
    }
}

/// Runs a statement and returns its only row, if there is one.
pub(super) async fn one_row(tx: &mut Txn, query: Query) -> Result<Option<Row>, Error> {
    let mut rows = tx.execute(query).await?;
    let first = rows.next(&mut *tx).await?;
    while rows.next(&mut *tx).await?.is_some() {}
    Ok(first)
}
