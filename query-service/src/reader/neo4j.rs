//! Reads from the read model.
//!
//! Owns: running the statements of [`super::cypher`] and turning their rows into answers. It must not know when it is
//! asked and when not.
//! What can go wrong: the server is away, slow, empty, or not complete. Each exchange runs in a task of its own, so
//! that a caller that goes away never leaves half an exchange on a pooled connection; and the server ends a statement
//! whose caller has stopped waiting.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use neo4rs::{BoltType, DeError, Graph, Query, Row};
use proto::{Epoch, Position, Revision, Token, UserId};
use service_kit::neo4j::{DetachedError, run_detached};

use super::{Counts, Error, ListKind, ListRow, Reader, Versioned, cypher};
use crate::pipeline::Checkpoint;

/// Reads from one Neo4j.
#[derive(Clone)]
pub struct Neo4jReader {
    graph: Graph,
}

impl std::fmt::Debug for Neo4jReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Neo4jReader")
    }
}

impl Neo4jReader {
    /// Reads over this pool.
    pub fn new(graph: Graph) -> Self {
        Self { graph }
    }

    /// The checkpoint; `None` if there is none.
    pub async fn checkpoint(&self, within: Duration) -> Result<Option<Checkpoint>, Error> {
        let row = self.one_row(cypher::CHECKPOINT, vec![], within).await?;
        row.map(|row| checkpoint_of(&row)).transpose()
    }

    /// Runs every statement once, so that the server has its plans and its caches before callers come.
    pub async fn warm_up(&self, within: Duration) -> Result<(), Error> {
        // No account has this id, and every index is searched for it.
        let nobody = BoltType::from(uuid::Uuid::nil().to_string());
        let list = || {
            vec![
                ("user", nobody.clone()),
                ("before", BoltType::from(i64::MAX)),
                ("limit", BoltType::from(1_i64)),
            ]
        };
        let ids = || BoltType::from(vec![nobody.clone()]);
        for (statement, params) in [
            (cypher::CHECK, vec![("viewer", nobody.clone()), ("targets", ids())]),
            (cypher::FOLLOWERS, list()),
            (cypher::FOLLOWING, list()),
            (cypher::COUNTS, vec![("users", ids())]),
        ] {
            self.one_row(statement, params, within).await?;
        }
        Ok(())
    }

    /// Runs a statement that answers at most one row.
    async fn one_row(
        &self,
        statement: &'static str,
        params: Vec<(&'static str, BoltType)>,
        within: Duration,
    ) -> Result<Option<Row>, Error> {
        let millis = i64::try_from(within.as_millis()).unwrap_or(i64::MAX).max(1);
        let query = Query::new(statement.to_owned()).params(params).extra("tx_timeout", millis);
        let graph = self.graph.clone();
        let exchange = async move {
            let mut rows = graph.execute_read(query).await?;
            let row = rows.next().await?;
            // Read to the end: an unread answer would have to be drained by whoever uses the connection next.
            while rows.next().await?.is_some() {}
            Ok::<_, neo4rs::Error>(row)
        };
        run_detached(within, exchange).await.map_err(|error| match error {
            DetachedError::TimedOut => Error::TimedOut,
            DetachedError::Failed(error) if timed_out(&error) => Error::TimedOut,
            other => Error::failed(other),
        })
    }

    /// Runs a statement that reads the checkpoint first, and refuses what it must not answer from.
    async fn read(
        &self,
        statement: &'static str,
        params: Vec<(&'static str, BoltType)>,
        within: Duration,
    ) -> Result<Versioned<Row>, Error> {
        let row = self.one_row(statement, params, within).await?.ok_or(Error::NotBuilt)?;
        let checkpoint = checkpoint_of(&row)?;
        if !checkpoint.complete {
            return Err(Error::NotComplete);
        }
        Ok(Versioned { value: row, as_of: checkpoint.visible })
    }

    /// Runs a statement for each part of a list of ids that fits a message. The answers are put together by `place`,
    /// which gets the number of ids before the part.
    async fn read_in_parts(
        &self,
        statement: &'static str,
        ids: &[UserId],
        params: impl Fn(BoltType) -> Vec<(&'static str, BoltType)>,
        within: Duration,
        mut place: impl FnMut(usize, &Row) -> Result<(), Error>,
    ) -> Result<Token, Error> {
        if ids.is_empty() {
            let checkpoint = self.checkpoint(within).await?.ok_or(Error::NotBuilt)?;
            return if checkpoint.complete { Ok(checkpoint.visible) } else { Err(Error::NotComplete) };
        }
        let started = Instant::now();
        let mut as_of: Option<Token> = None;
        for (number, part) in ids.chunks(cypher::IDS_PER_STATEMENT).enumerate() {
            let left = within.checked_sub(started.elapsed()).ok_or(Error::TimedOut)?;
            let texts: Vec<BoltType> = part.iter().map(|id| id.to_string().into()).collect();
            let row = self.read(statement, params(texts.into()), left).await?;
            // The whole is as fresh as its oldest part.
            as_of = match as_of {
                Some(before) if before.epoch != row.as_of.epoch => {
                    return Err(Error::failed("the epoch changed between two parts of an answer"));
                }
                Some(before) => Some(before.min(row.as_of)),
                None => Some(row.as_of),
            };
            place(number * cypher::IDS_PER_STATEMENT, &row.value)?;
        }
        as_of.ok_or(Error::NotBuilt) // There was a part: the list is not empty.
    }
}

#[async_trait]
impl Reader for Neo4jReader {
    async fn check(
        &self,
        viewer: UserId,
        targets: &[UserId],
        within: Duration,
    ) -> Result<Versioned<Vec<bool>>, Error> {
        let mut value = vec![false; targets.len()];
        let params = |ids| vec![("viewer", viewer.to_string().into()), ("targets", ids)];
        let as_of = self
            .read_in_parts(cypher::CHECK, targets, params, within, |offset, row| {
                for i in numbers(row, "places")? {
                    *at(&mut value, offset, i)? = true;
                }
                Ok(())
            })
            .await?;
        Ok(Versioned { value, as_of })
    }

    async fn list(
        &self,
        kind: ListKind,
        user: UserId,
        before: Option<Position>,
        limit: usize,
        within: Duration,
    ) -> Result<Versioned<Vec<ListRow>>, Error> {
        let statement = match kind {
            ListKind::Followers => cypher::FOLLOWERS,
            ListKind::Following => cypher::FOLLOWING,
        };
        let before = before.map_or(i64::MAX, Position::as_i64);
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let params =
            vec![("user", user.to_string().into()), ("before", before.into()), ("limit", limit.into())];
        let row = self.read(statement, params, within).await?;
        let users: Vec<&str> = row.value.get("users").map_err(unreadable)?;
        let positions = numbers(&row.value, "positions")?;
        let dates = numbers(&row.value, "dates")?;
        if users.len() != positions.len() || users.len() != dates.len() {
            // A list leaves out what is null: an edge lacks a property.
            return Err(Error::failed("an edge of the read model lacks a property"));
        }
        let value = users
            .into_iter()
            .zip(positions)
            .zip(dates)
            .map(|((user, position), created_at_millis)| {
                let user = UserId::parse(user).map_err(Error::failed)?;
                Ok(ListRow { user, position: Position::from_i64(position), created_at_millis })
            })
            .collect::<Result<_, Error>>()?;
        Ok(Versioned { value, as_of: row.as_of })
    }

    async fn counts(&self, users: &[UserId], within: Duration) -> Result<Versioned<Vec<Counts>>, Error> {
        let mut value = vec![Counts::default(); users.len()];
        let params = |ids| vec![("users", ids)];
        let as_of = self
            .read_in_parts(cypher::COUNTS, users, params, within, |offset, row| {
                let followers = numbers(row, "followers")?;
                let following = numbers(row, "following")?;
                for ((i, followers), following) in
                    numbers(row, "places")?.into_iter().zip(followers).zip(following)
                {
                    let count = |n| u64::try_from(n).unwrap_or(0);
                    *at(&mut value, offset, i)? =
                        Counts { followers: count(followers), following: count(following) };
                }
                Ok(())
            })
            .await?;
        Ok(Versioned { value, as_of })
    }
}

/// The element at a place that the server told.
fn at<T>(list: &mut [T], offset: usize, place: i64) -> Result<&mut T, Error> {
    usize::try_from(place)
        .ok()
        .and_then(|place| list.get_mut(offset + place))
        .ok_or_else(|| Error::failed("the read model answered for an id that was not asked"))
}

fn numbers(row: &Row, name: &str) -> Result<Vec<i64>, Error> {
    row.get(name).map_err(unreadable)
}

fn checkpoint_of(row: &Row) -> Result<Checkpoint, Error> {
    let epoch: i64 = row.get("epoch").map_err(unreadable)?;
    let visible: i64 = row.get("visible").map_err(unreadable)?;
    let complete: Option<bool> = row.get("complete").map_err(unreadable)?;
    let epoch = Epoch(u64::try_from(epoch).unwrap_or(0));
    Ok(Checkpoint {
        visible: Token::new(epoch, Revision::from_i64(visible)),
        complete: complete.unwrap_or(false),
    })
}

fn unreadable(error: DeError) -> Error {
    Error::failed(error)
}

/// The server ended the statement because its time was up.
fn timed_out(error: &neo4rs::Error) -> bool {
    match error {
        neo4rs::Error::Neo4j(error) => error.code().contains("TransactionTimedOut"),
        neo4rs::Error::ConnectionTimedOut => true,
        _ => false,
    }
}
