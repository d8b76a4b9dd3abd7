//! The older system's edges in the order of their ids, each with what an import does with it: for the comparison after it.

use proto::graph::v1::EdgeKind;
use proto::timestamp;
use sqlx::AssertSqlSafe;
use time::OffsetDateTime;
use tokio_stream::{Stream, StreamExt as _};
use uuid::Uuid;

use super::{Source, other_schema};

/// What an import does with an edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It takes it.
    Taken,
    /// It leaves it out: an account is marked as deleted.
    LeftOut,
    /// It refuses it: a follow across a block, an edge of an account with itself, a nil id, a date in the future.
    Refused,
}

/// An edge of the older system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OlderEdge {
    /// Both ends.
    pub ends: (Uuid, Uuid),
    /// Its date, if it has one that the contract allows.
    pub created_at: Option<OffsetDateTime>,
    /// What an import does with it.
    pub fate: Fate,
}

/// A table of edges and its columns.
struct Table {
    name: &'static str,
    source: &'static str,
    target: &'static str,
}

const FOLLOWS: Table = Table { name: "follows", source: "follower_id", target: "following_id" };
const MUTES: Table = Table { name: "mutes", source: "muter_id", target: "muted_id" };
const BLOCKS: Table = Table { name: "blocks", source: "blocker_id", target: "blocked_id" };

/// The last date of the contract. Later ones, and infinity, count as none.
const LAST_DATE: &str = "'9999-12-31 23:59:59+00'";

/// True for an edge whose date lies in the future, which an import refuses. `$1` is the tolerance in seconds.
fn ahead(edge: &str) -> String {
    format!(
        "coalesce({edge}.created_at > now() + make_interval(secs => $1) AND {edge}.created_at <= {LAST_DATE}, false)"
    )
}

/// Edges of a table by their ids.
fn ordered(table: &Table) -> String {
    let Table { name, source, target } = table;
    let (mut refused, mut joins) = (ahead("e"), String::new());
    if *name == FOLLOWS.name {
        // A block that an import refuses does not stand in the way of a follow.
        for (block, from, to) in [("k", source, target), ("l", target, source)] {
            refused.push_str(&format!(" OR {block}.blocker_id IS NOT NULL"));
            joins.push_str(&format!(
                "LEFT JOIN blocks {block} ON {block}.blocker_id = e.{from} AND {block}.blocked_id = e.{to} AND NOT {}\n",
                ahead(block)
            ));
        }
    }
    format!(
        "-- legacy_ordered_{name}
SELECT e.{source}, e.{target},
       CASE WHEN e.created_at BETWEEN '0001-01-01 00:00:00+00' AND {LAST_DATE} THEN e.created_at END,
       (a.deleted_at IS NOT NULL OR b.deleted_at IS NOT NULL), ({refused})
FROM {name} e
LEFT JOIN users a ON a.id = e.{source}
LEFT JOIN users b ON b.id = e.{target}
{joins}ORDER BY e.{source}, e.{target}"
    )
}

type Row = (Uuid, Uuid, Option<OffsetDateTime>, bool, bool);

impl Source {
    /// All edges of a kind in the snapshot, by the ids of their ends.
    pub fn ordered(&mut self, kind: EdgeKind) -> impl Stream<Item = anyhow::Result<OlderEdge>> + Unpin {
        let table = match kind {
            EdgeKind::Block => BLOCKS,
            EdgeKind::Mute => MUTES,
            _ => FOLLOWS,
        };
        let rows = sqlx::query_as::<_, Row>(AssertSqlSafe(ordered(&table)))
            .bind(timestamp::CLOCK_TOLERANCE.as_seconds_f64())
            .fetch(&mut self.connection);
        rows.map(|row| row.map(edge).map_err(other_schema))
    }
}

fn edge((source, target, created_at, deleted, refused): Row) -> OlderEdge {
    let fate = if deleted {
        Fate::LeftOut
    } else if refused || source == target || source.is_nil() || target.is_nil() {
        Fate::Refused
    } else {
        Fate::Taken
    };
    OlderEdge { ends: (source, target), created_at, fate }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_follows_are_refused_for_blocks_and_all_for_their_date() {
        for (table, blocks) in [(FOLLOWS, 2), (MUTES, 0), (BLOCKS, 0)] {
            let statement = ordered(&table);
            assert_eq!(statement.matches("LEFT JOIN blocks ").count(), blocks, "{statement}");
            assert_eq!(statement.matches(" AND NOT coalesce(").count(), blocks, "{statement}");
            assert!(statement.contains("(coalesce(e.created_at > now() + "), "{statement}");
        }
    }

    #[test]
    fn deleted_accounts_come_before_refusals() {
        let [a, b] = [1, 2].map(Uuid::from_u128);
        let fate = |source, target, deleted, refused| edge((source, target, None, deleted, refused)).fate;
        assert_eq!(fate(a, b, false, false), Fate::Taken);
        assert_eq!(fate(a, b, true, true), Fate::LeftOut);
        assert_eq!(fate(a, b, false, true), Fate::Refused);
        assert_eq!(fate(a, a, false, false), Fate::Refused);
        assert_eq!(fate(Uuid::nil(), b, false, false), Fate::Refused);
    }
}
