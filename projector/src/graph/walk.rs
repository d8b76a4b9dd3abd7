//! The walk from account to account: finds edges whose `src` and `dst` do not name their ends, which no index can find,
//! and accounts without edges.
//!
//! For most accounts it compares degrees with counts from the indexes, in both directions. The edges of a very large
//! account cannot be counted in one transaction, and the counts would differ whenever others are written; the walk
//! reads these edges in pages.
//!
//! The walk runs while edges are written, so its findings are read again before a repair. An account that cannot be
//! searched at any size is skipped until the next walk, so that it does not stop the sweep. Edges between nodes that
//! are no accounts are found through the accounts that they name.

use std::time::Duration;

use neo4rs::{BoltType, Query, query};
use tokio::time::Instant;

use super::cypher;
use super::error::Error;
use super::exchange::Replica;
use crate::edge::Kind;

/// Limit of the misplaced edges of one account in one walk; the next walk reports the others.
const MISPLACED: usize = 5_000;
/// Accounts with more edges of one kind are read in pages.
const LARGE: i64 = 10_000;
/// Edges of a page.
const PAGE: i64 = 5_000;
/// Smallest page; a failure at this size has another cause.
const SMALLEST_PAGE: i64 = 50;
/// Longest pause after a page.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Findings about a stretch of accounts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Walked {
    /// The last account of the stretch; `None` at the end of all accounts.
    pub last: Option<String>,
    /// Element ids of edges that seem misplaced, by account.
    pub misplaced: Vec<(Kind, Vec<String>)>,
    /// Accounts without edges.
    pub unused: Vec<String>,
    /// Number of accounts that could not be searched.
    pub skipped: u64,
}

/// An edge whose values do not name its ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misplaced {
    /// Neo4j's element id.
    pub element_id: String,
    /// Ids of the connected nodes; empty if a node has none.
    pub ends: (String, String),
    /// Values of `src` and `dst`; empty if absent.
    pub named: (String, String),
}

/// Consecutive accounts, by id.
#[derive(Debug, Default)]
struct Stretch {
    last: Option<String>,
    looked: i64,
    large: [Vec<String>; 4],
    unused: Vec<String>,
}

/// Direction and start of a page of an account's edges.
#[derive(Debug)]
enum Place {
    /// Edges whose `src` is the account, by target.
    Outgoing(String),
    /// Edges whose `dst` is the account, by position.
    Incoming(i64),
}

#[derive(Default)]
struct Page {
    looked: i64,
    ids: Vec<String>,
    next: Option<Place>,
}

impl Replica {
    /// Searches the next `limit` accounts after `after`. It may run while edges are written: its findings are not exact
    /// and must be read again. With a limit of 1 it fails only if the server does.
    pub async fn walk(&self, after: &str, limit: u32) -> Result<Walked, Error> {
        match self.search(after, i64::from(limit)).await {
            Err(error) if limit == 1 => {
                let last = self.next_account(after).await?;
                tracing::warn!(%error, "skipped by the walk: an account cannot be searched");
                Ok(Walked { last, skipped: 1, ..Walked::default() })
            }
            outcome => outcome,
        }
    }

    /// The edges of `ids` that are misplaced now.
    pub async fn misplaced(&self, kind: Kind, ids: Vec<String>) -> Result<Vec<Misplaced>, Error> {
        let query = query(&cypher::of(kind, cypher::MISPLACED_OF)).param("ids", ids);
        let Some(row) = self.read(query).await? else { return Ok(Vec::new()) };
        let ids: Vec<String> = row.get("ids")?;
        let starts: Vec<String> = row.get("starts")?;
        let ends: Vec<String> = row.get("ends")?;
        let sources: Vec<String> = row.get("sources")?;
        let targets: Vec<String> = row.get("targets")?;
        let ends = starts.into_iter().zip(ends);
        let named = sources.into_iter().zip(targets);
        let edge = |((element_id, ends), named)| Misplaced { element_id, ends, named };
        Ok(ids.into_iter().zip(ends).zip(named).map(edge).collect())
    }

    async fn stretch(&self, after: &str, limit: i64) -> Result<Stretch, Error> {
        let query = query(cypher::STRETCH).param("after", after).param("limit", limit).param("large", LARGE);
        let Some(row) = self.read(query).await? else { return Ok(Stretch::default()) };
        let mut stretch = Stretch {
            last: row.get("last")?,
            looked: row.get("looked")?,
            unused: row.get("unused")?,
            ..Stretch::default()
        };
        for (kind, large) in Kind::ALL.into_iter().zip(&mut stretch.large) {
            *large = row.get(kind.name())?;
        }
        Ok(stretch)
    }

    /// The ids that a statement returns.
    async fn ids(&self, query: Query) -> Result<Vec<String>, Error> {
        Ok(self.read(query).await?.map(|row| row.get("ids")).transpose()?.unwrap_or_default())
    }

    async fn search(&self, after: &str, limit: i64) -> Result<Walked, Error> {
        let stretch = self.stretch(after, limit).await?;
        let Some(upto) = stretch.last else { return Ok(Walked::default()) };
        let mut walked = Walked { unused: stretch.unused, ..Walked::default() };
        for (kind, large) in Kind::ALL.into_iter().zip(&stretch.large) {
            let suspects = query(&cypher::of(kind, cypher::SUSPECTS))
                .param("after", after)
                .param("upto", upto.as_str())
                .param("large", large.clone());
            for account in self.ids(suspects).await? {
                // Degrees also differ briefly while an edge is written; then nothing is misplaced.
                let around = query(&cypher::of(kind, cypher::MISPLACED_AROUND))
                    .param("id", account)
                    .param("limit", MISPLACED as i64);
                let ids = self.ids(around).await?;
                if !ids.is_empty() {
                    walked.misplaced.push((kind, ids));
                }
            }
        }
        for (kind, large) in Kind::ALL.into_iter().zip(&stretch.large) {
            for account in large {
                match self.look_through(kind, account).await {
                    Ok(ids) if ids.is_empty() => {}
                    Ok(ids) => walked.misplaced.push((kind, ids)),
                    Err(error) => {
                        // Fails if the server is down; then the account is not the cause.
                        self.next_account(after).await?;
                        tracing::warn!(%error, kind = kind.name(), "skipped by the walk: a large account");
                        walked.skipped += 1;
                    }
                }
            }
        }
        walked.last = (stretch.looked == limit).then_some(upto);
        Ok(walked)
    }

    async fn next_account(&self, after: &str) -> Result<Option<String>, Error> {
        let row = self.read(query(cypher::NEXT_ACCOUNT).param("after", after)).await?;
        Ok(row.map(|row| row.get("id")).transpose()?)
    }

    async fn page(&self, kind: Kind, account: &str, place: &Place, limit: i64) -> Result<Page, Error> {
        let (text, after): (_, BoltType) = match place {
            Place::Outgoing(after) => (cypher::MISPLACED_OUTGOING, after.as_str().into()),
            Place::Incoming(after) => (cypher::MISPLACED_INCOMING, (*after).into()),
        };
        let query = query(&cypher::of(kind, text));
        let query = query.param("id", account).param("limit", limit).param("after", after);
        let Some(row) = self.read(query).await? else { return Ok(Page::default()) };
        let next = match place {
            Place::Outgoing(_) => row.get::<Option<String>>("last")?.map(Place::Outgoing),
            Place::Incoming(_) => row.get::<Option<i64>>("last")?.map(Place::Incoming),
        };
        Ok(Page { looked: row.get("looked")?, ids: row.get("ids")?, next })
    }

    /// The element ids of misplaced edges among those that name an account, page by page.
    async fn look_through(&self, kind: Kind, account: &str) -> Result<Vec<String>, Error> {
        let mut found = Vec::new();
        let mut limit = PAGE;
        for first in [Place::Outgoing(String::new()), Place::Incoming(i64::MIN)] {
            let mut place = first;
            while found.len() < MISPLACED {
                let began = Instant::now();
                match self.page(kind, account, &place, limit).await {
                    Ok(page) => {
                        found.extend(page.ids);
                        match page.next {
                            Some(next) if page.looked == limit => place = next,
                            _ => break,
                        }
                        limit = (limit * 2).min(PAGE);
                    }
                    Err(error) if limit <= SMALLEST_PAGE => return Err(error),
                    Err(_) => limit = (limit / 4).max(SMALLEST_PAGE),
                }
                // Leaves half of the server's time to other work.
                tokio::time::sleep(began.elapsed().min(LONGEST_PAUSE)).await;
            }
        }
        found.truncate(MISPLACED);
        Ok(found)
    }
}
