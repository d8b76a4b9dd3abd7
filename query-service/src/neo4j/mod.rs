//! Runs the read model's statements ([`cypher`]), and finds the revisions between which their answers lie.
//!
//! Each exchange runs in its own task, so that a caller that goes away never leaves half an exchange on a pooled
//! connection. The server ends a statement whose caller has stopped waiting.

mod admission;
pub mod cypher;
mod hops;
#[cfg(test)]
mod plan_tests;
#[cfg(test)]
mod raw_bolt;
mod rows;
mod single;

use std::time::Duration;

use neo4rs::{BoltType, Graph, Query, Row};
use proto::Position;
use service_kit::neo4j::{DetachedError, misconfigured, run_detached};
use service_kit::trace::{Database, Parent, Span, db};

pub use self::admission::Admission;
use crate::queries::{Begins, Error, FoundCheckpoint, ReadResult, Versioned};

/// Connections that are opened before the first read.
const WARM_CONNECTIONS: usize = 4;

/// Reads from one Neo4j.
#[derive(Clone)]
pub struct Neo4jReader {
    graph: Graph,
    /// `None` if nothing competes for the pool.
    admission: Option<Admission>,
    /// Called when an exchange begins.
    begins: Option<Begins>,
}

/// Names and values of a statement.
type Params = Vec<(&'static str, BoltType)>;

impl Neo4jReader {
    pub fn new(graph: Graph) -> Self {
        Self { graph, admission: None, begins: None }
    }

    /// Waits for a place among these before each exchange.
    #[must_use]
    pub fn admitted(self, admission: Admission) -> Self {
        Self { admission: Some(admission), ..self }
    }

    /// A reader for shared statements, for which some places are reserved.
    #[must_use]
    pub fn shared(&self) -> Self {
        Self { admission: self.admission.as_ref().map(Admission::shared), ..self.clone() }
    }

    /// A reader for one read of several exchanges, which holds the places of `rows` rows for all of them.
    async fn holding(&self, rows: usize, within: Duration) -> Result<Self, Error> {
        match &self.admission {
            Some(admission) => Ok(self.clone().admitted(admission.hold(rows, within).await?)),
            None => Ok(self.clone()),
        }
    }

    /// A reader that calls `begins` when an exchange begins, after the wait for a place.
    #[must_use]
    pub fn announcing(&self, begins: Begins) -> Self {
        Self { begins: Some(begins), ..self.clone() }
    }

    /// The checkpoint; `None` if there is none.
    pub async fn checkpoint(&self, within: Duration) -> Result<Option<FoundCheckpoint>, Error> {
        let row = self.one_row(cypher::CHECKPOINT, vec![], 1, within).await?;
        row.map(|row| rows::found_checkpoint(&row)).transpose()
    }

    /// Runs every statement once, so that the server has its plans, caches and some connections before the first read.
    pub async fn warm_up(&self, within: Duration) -> Result<(), Error> {
        // No account has this id, and every index is searched for it.
        let nobody = BoltType::from(uuid::Uuid::nil().to_string());
        let ids = || BoltType::from(vec![nobody.clone()]);
        let params = || {
            vec![
                ("user", nobody.clone()),
                ("users", ids()),
                ("viewer", nobody.clone()),
                ("targets", ids()),
                ("ids", ids()),
                ("from", BoltType::from(vec![0_i64])),
                ("to", BoltType::from(vec![0_i64])),
                ("before", below(None)),
                ("after", nobody.clone()),
                ("limit", number(1)),
            ]
        };
        for statement in cypher::all() {
            self.one_row(statement, params(), 1, within).await?;
        }
        for statement in cypher::hops::all() {
            let numbers = ["before", "since", "newest", "look", "limit", "skip", "follows", "each", "named"];
            let mut params =
                vec![("user", nobody.clone()), ("second", nobody.clone()), ("members", true.into())];
            params.extend(numbers.map(|name| (name, number(1))));
            self.one_row(statement, params, 1, within).await?;
        }
        futures::future::try_join_all((0..WARM_CONNECTIONS).map(|_| self.checkpoint(within))).await?;
        Ok(())
    }

    /// Runs a statement that answers at most one row, which holds `rows` rows of a list.
    async fn one_row(
        &self,
        statement: &'static str,
        params: Params,
        rows: usize,
        within: Duration,
    ) -> Result<Option<Row>, Error> {
        let place = match &self.admission {
            Some(admission) => Some(admission.enter(rows, within).await?),
            None => None,
        };
        if let Some(begins) = &self.begins {
            begins();
        }
        let millis = i64::try_from(within.as_millis()).unwrap_or(i64::MAX).max(1);
        let query = Query::new(statement.to_owned()).params(params).extra("tx_timeout", millis);
        let graph = self.graph.clone();
        // The driver's future is larger than those of all layers above it together.
        let exchange = Box::pin(async move {
            // An exchange whose caller has stopped waiting keeps its place, because it keeps its connection.
            let _place = place;
            let mut rows = graph.execute_read(query).await?;
            let row = rows.next().await?;
            // Read to the end: otherwise the next user of the connection would have to drain the answer.
            while rows.next().await?.is_some() {}
            Ok::<_, neo4rs::Error>(row)
        });
        run_detached(within, exchange).await.map_err(|error| match error {
            DetachedError::TimedOut => Error::TimedOut,
            DetachedError::Failed(error) if timed_out(&error) => Error::TimedOut,
            DetachedError::Failed(error) => match misconfigured(&error) {
                Some(problem) => Error::Misconfigured(problem),
                None => Error::failed(error),
            },
            other => Error::failed(other),
        })
    }

    /// Runs a statement that returns `rows` rows of a list and reads the checkpoint before and after the data. Rejects
    /// answers of an incomplete or foreign read model. Ends the statement's span.
    async fn run(
        &self,
        statement: &'static str,
        params: Params,
        rows: usize,
        within: Duration,
        span: Span,
    ) -> ReadResult<Row> {
        let row = span.finish(self.one_row(statement, params, rows, within).await)?;
        let row = row.ok_or(Error::NotBuilt)?;
        let (as_of, target) = rows::bounds(&row)?;
        let generation = rows::generation_of_answer(&row)?;
        let mut answer = Versioned::between(row, as_of, target);
        answer.origin.generation = generation;
        Ok(answer)
    }

    /// The reason why the server refuses the login, if it reports one. A statement does not return it, because the
    /// driver reconnects repeatedly on any error. Beginning a transaction is tried once.
    pub async fn login_problem(&self, within: Duration) -> Option<Error> {
        let graph = self.graph.clone();
        let exchange = async move { graph.start_txn().await?.rollback().await };
        match run_detached(within, exchange).await {
            Err(DetachedError::Failed(error)) => misconfigured(&error).map(Error::Misconfigured),
            _ => None,
        }
    }
}

/// Starts the span of an exchange.
fn db_span(operation: &'static str, parent: &Parent) -> Span {
    db(Database::Neo4j, operation, parent)
}

/// The server ended the statement after its timeout.
fn timed_out(error: &neo4rs::Error) -> bool {
    match error {
        neo4rs::Error::Neo4j(error) => error.code().contains("TransactionTimedOut"),
        neo4rs::Error::ConnectionTimedOut => true,
        _ => false,
    }
}

/// The parameter of a position; `None` stands above all positions.
fn below(position: Option<Position>) -> BoltType {
    position.map_or(i64::MAX, Position::as_i64).into()
}

fn number(number: usize) -> BoltType {
    i64::try_from(number).unwrap_or(i64::MAX).into()
}
