//! `legacy verify --from-legacy-postgres`: compares every edge of the older system's database with followgraph's.
//!
//! Both databases return their edges in the order of the ids, each from one snapshot, so one pass with two rows in memory
//! finds all differences. PostgreSQL orders UUIDs by their bytes, as this program does.

use anyhow::Context as _;
use proto::graph::v1::EdgeKind;
use serde::Serialize;
use sqlx::PgPool;
use time::OffsetDateTime;
use tokio_stream::{Stream, StreamExt as _};
use uuid::Uuid;

use crate::older::{ImportResult, OlderEdge, Snapshot};
use crate::output;

/// Number of differences shown per kind.
const EXAMPLES: usize = 5;

const FOLLOWS: &str = "-- legacy_verify_follows
SELECT follower_id, following_id, created_at FROM follows ORDER BY follower_id, following_id";
const MUTES: &str = "-- legacy_verify_mutes
SELECT muter_id, muted_id, created_at FROM mutes ORDER BY muter_id, muted_id";
const BLOCKS: &str = "-- legacy_verify_blocks
SELECT blocker_id, blocked_id, created_at FROM blocks ORDER BY blocker_id, blocked_id";

type NewerEdge = (Uuid, Uuid, OffsetDateTime);

#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Kind {
    kind: &'static str,
    older: u64,
    /// Older edges of accounts that are marked as deleted.
    left_out: u64,
    /// Left-out edges that followgraph has, because the account was marked after the edge was copied.
    since_deleted: u64,
    /// Older edges that an import refuses.
    refused: u64,
    found: u64,
    /// Edges that an import takes, and that followgraph does not have.
    missing: u64,
    /// Edges of followgraph that the older database does not have, or that an import refuses.
    extra: u64,
    /// Edges with different dates.
    other_date: u64,
    examples: Vec<Example>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Example {
    difference: &'static str,
    source_id: Uuid,
    target_id: Uuid,
}

/// Compares all kinds of the older database with those in followgraph's.
pub async fn compare(mut older: Snapshot, pool: &PgPool) -> anyhow::Result<Vec<Kind>> {
    let mut newer = pool.begin().await?;
    for statement in
        ["SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY", "SET LOCAL statement_timeout = 0"]
    {
        sqlx::query(statement).execute(&mut *newer).await?;
    }
    let mut kinds = Vec::new();
    for (kind, name, statement) in [
        (EdgeKind::Block, "block", BLOCKS),
        (EdgeKind::Mute, "mute", MUTES),
        (EdgeKind::Follow, "follow", FOLLOWS),
    ] {
        output::note(format!("comparing {name}s"));
        let ours = sqlx::query_as::<_, NewerEdge>(statement).fetch(&mut *newer);
        let ours = ours.map(|row| row.context("cannot read followgraph's database"));
        kinds.push(Kind::compare(name, older.by_id(kind), ours).await?);
    }
    Ok(kinds)
}

/// Whether followgraph has exactly the edges that an import of the older database creates. Edges of accounts that were
/// deleted since do not count.
pub fn equal(kinds: &[Kind]) -> bool {
    kinds.iter().all(|kind| kind.missing + kind.extra + kind.other_date == 0)
}

pub fn text(kinds: &[Kind]) -> String {
    let header =
        ["KIND", "OLDER", "LEFT OUT", "SINCE DELETED", "REFUSED", "FOUND", "MISSING", "EXTRA", "OTHER DATE"];
    let row = |kind: &Kind| {
        let Kind { older, left_out, since_deleted, refused, found, missing, extra, other_date, .. } = *kind;
        let numbers = [older, left_out, since_deleted, refused, found, missing, extra, other_date];
        output::numbers(kind.kind, numbers)
    };
    let mut text = output::table(&header, kinds.iter().map(row));
    for kind in kinds {
        for Example { difference, source_id, target_id } in &kind.examples {
            text.push_str(&format!("\n{difference}: {} {source_id} {target_id}", kind.kind));
        }
    }
    let since_deleted = kinds.iter().any(|kind| kind.since_deleted > 0);
    let verdict = if equal(kinds) && since_deleted {
        "\n\nfollowgraph has every edge of the older database that an import takes, and otherwise only edges of accounts \
         that were marked as deleted since"
    } else if equal(kinds) {
        "\n\nfollowgraph has every edge of the older database that an import takes, and no other"
    } else {
        "\n\nfollowgraph differs from the older database, due to writes after the import, a trial import before it, or an \
         incomplete import"
    };
    text + verdict
}

impl Kind {
    /// Compares two streams in the order of the ids.
    async fn compare(
        kind: &'static str,
        mut older: impl Stream<Item = anyhow::Result<OlderEdge>> + Unpin,
        mut newer: impl Stream<Item = anyhow::Result<NewerEdge>> + Unpin,
    ) -> anyhow::Result<Self> {
        let mut found = Self { kind, ..Self::default() };
        let (mut old, mut new) = (older.next().await.transpose()?, newer.next().await.transpose()?);
        loop {
            // The first of both in the order of ids, or both if they are equal.
            let older_one =
                old.take_if(|old| new.is_none_or(|(source, target, _)| old.ends <= (source, target)));
            let newer_one =
                new.take_if(|new| older_one.is_none_or(|older_one| older_one.ends == (new.0, new.1)));
            if older_one.is_none() && newer_one.is_none() {
                return Ok(found);
            }
            found.add(older_one, newer_one);
            if older_one.is_some() {
                old = older.next().await.transpose()?;
            }
            if newer_one.is_some() {
                new = newer.next().await.transpose()?;
            }
        }
    }

    /// Counts one edge, which one or both databases have.
    fn add(&mut self, old: Option<OlderEdge>, new: Option<NewerEdge>) {
        self.older += u64::from(old.is_some());
        self.found += u64::from(new.is_some());
        let result = old.map(|old| old.result);
        self.left_out += u64::from(result == Some(ImportResult::LeftOut));
        self.refused += u64::from(result == Some(ImportResult::Refused));
        let (difference, ends) = match (old, new) {
            (Some(OlderEdge { result: ImportResult::Taken, ends, created_at }), Some((.., date))) => {
                // An edge without a date gets the date of its import.
                if created_at.is_none_or(|wanted| wanted == date) {
                    return;
                }
                self.other_date += 1;
                ("other date", ends)
            }
            (Some(OlderEdge { result: ImportResult::Taken, ends, .. }), None) => {
                self.missing += 1;
                ("missing", ends)
            }
            (Some(OlderEdge { result: ImportResult::LeftOut, .. }), Some(_)) => {
                self.since_deleted += 1;
                return;
            }
            (_, Some((source, target, _))) => {
                self.extra += 1;
                ("extra", (source, target))
            }
            (_, None) => return,
        };
        if self.examples.len() < EXAMPLES {
            self.examples.push(Example { difference, source_id: ends.0, target_id: ends.1 });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u128) -> Uuid {
        Uuid::from_u128(n)
    }

    fn old(a: u128, b: u128, second: Option<i64>, result: ImportResult) -> anyhow::Result<OlderEdge> {
        let created_at = second.map(date);
        Ok(OlderEdge { ends: (id(a), id(b)), created_at, result })
    }

    fn new(a: u128, b: u128, second: i64) -> anyhow::Result<NewerEdge> {
        Ok((id(a), id(b), date(second)))
    }

    fn date(second: i64) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(second).expect("a date")
    }

    async fn compared(
        older: Vec<anyhow::Result<OlderEdge>>,
        newer: Vec<anyhow::Result<NewerEdge>>,
    ) -> anyhow::Result<Kind> {
        Kind::compare("follow", tokio_stream::iter(older), tokio_stream::iter(newer)).await
    }

    #[tokio::test]
    async fn every_difference_is_counted_once() {
        let older = vec![
            old(1, 2, Some(1), ImportResult::Taken),
            old(1, 3, None, ImportResult::Taken),
            old(1, 4, Some(1), ImportResult::LeftOut),
            old(2, 1, Some(1), ImportResult::Refused),
            old(2, 2, Some(1), ImportResult::Refused),
            old(3, 1, Some(1), ImportResult::Taken),
            old(4, 1, Some(1), ImportResult::Taken),
        ];
        let newer = vec![new(0, 9, 1), new(1, 2, 1), new(1, 3, 7), new(2, 1, 1), new(4, 1, 2), new(9, 9, 1)];
        let kind = compared(older, newer).await.expect("a comparison");
        let counts = (kind.older, kind.left_out, kind.refused, kind.found);
        assert_eq!(counts, (7, 1, 2, 6));
        assert_eq!((kind.missing, kind.extra, kind.other_date), (1, 3, 1));
        let shown: Vec<_> = kind.examples.iter().map(|one| (one.difference, one.source_id)).collect();
        let wanted = [("extra", 0), ("extra", 2), ("missing", 3), ("other date", 4), ("extra", 9)]
            .map(|(d, n)| (d, id(n)));
        assert_eq!(shown, wanted);
        assert!(!equal(&[kind]));
    }

    #[tokio::test]
    async fn edges_that_an_import_refuses_are_not_differences() {
        let older = vec![old(1, 2, Some(1), ImportResult::Taken), old(5, 5, Some(1), ImportResult::Refused)];
        let kind = compared(older, vec![new(1, 2, 1)]).await.expect("a comparison");
        assert!(equal(std::slice::from_ref(&kind)) && kind.examples.is_empty(), "{kind:?}");
        assert!(text(&[kind]).ends_with("and no other"));
        let none = compared(Vec::new(), Vec::new()).await.expect("a comparison");
        assert!(equal(&[none]));
    }

    #[tokio::test]
    async fn accounts_deleted_since_are_not_differences() {
        let older =
            vec![old(1, 2, Some(1), ImportResult::LeftOut), old(1, 3, Some(1), ImportResult::LeftOut)];
        let kind = compared(older, vec![new(1, 2, 2)]).await.expect("a comparison");
        assert_eq!((kind.left_out, kind.since_deleted, kind.extra, kind.other_date), (2, 1, 0, 0));
        assert!(equal(std::slice::from_ref(&kind)) && kind.examples.is_empty(), "{kind:?}");
        assert!(text(&[kind]).ends_with("marked as deleted since"));
    }

    #[tokio::test]
    async fn a_broken_connection_is_an_error() {
        let broken = vec![new(1, 2, 1), Err(anyhow::anyhow!("the connection broke"))];
        let error =
            compared(vec![old(1, 2, Some(1), ImportResult::Taken)], broken).await.expect_err("an error");
        assert_eq!(error.to_string(), "the connection broke");
    }
}
