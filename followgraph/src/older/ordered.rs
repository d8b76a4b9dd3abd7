//! The older system's edges in the order of their ids, each with what an import does with it.

use proto::timestamp;
use sqlx::{AssertSqlSafe, PgConnection};
use time::OffsetDateTime;
use tokio_stream::{Stream, StreamExt as _};
use uuid::Uuid;

use super::table::{FIRST_DATE, FOLLOWS, LAST_DATE, Table};

/// What an import does with an edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImportResult {
    /// Imports it.
    Taken,
    /// Leaves it out: an account is marked as deleted.
    LeftOut,
    /// Refuses it: a follow across a block, an edge of an account to itself, a nil id, a date in the future.
    Refused,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OlderEdge {
    /// Source and target.
    pub ends: (Uuid, Uuid),
    /// `None` without a date that the contract allows.
    pub created_at: Option<OffsetDateTime>,
    pub result: ImportResult,
}

/// Condition for an edge with a date in the future, which an import refuses. `$1` is the tolerance in seconds.
fn in_future(edge: &str) -> String {
    format!(
        "coalesce({edge}.created_at > now() + make_interval(secs => $1) AND {edge}.created_at <= {LAST_DATE}, false)"
    )
}

fn statement(table: Table) -> String {
    let Table { name, source, target } = table;
    let (mut refused, mut joins) = (in_future("e"), String::new());
    if table == FOLLOWS {
        // Ignore a block that the import refuses itself.
        for (block, from, to) in [("k", source, target), ("l", target, source)] {
            refused.push_str(&format!(" OR {block}.blocker_id IS NOT NULL"));
            joins.push_str(&format!(
                "LEFT JOIN blocks {block} ON {block}.blocker_id = e.{from} AND {block}.blocked_id = e.{to} AND NOT {}\n",
                in_future(block)
            ));
        }
    }
    format!(
        "-- legacy_ordered_{name}
SELECT e.{source}, e.{target},
       CASE WHEN e.created_at BETWEEN {FIRST_DATE} AND {LAST_DATE} THEN e.created_at END,
       (a.deleted_at IS NOT NULL OR b.deleted_at IS NOT NULL), ({refused})
FROM {name} e
LEFT JOIN users a ON a.id = e.{source}
LEFT JOIN users b ON b.id = e.{target}
{joins}ORDER BY e.{source}, e.{target}"
    )
}

type Row = (Uuid, Uuid, Option<OffsetDateTime>, bool, bool);

pub fn edges(
    connection: &mut PgConnection,
    table: Table,
) -> impl Stream<Item = sqlx::Result<OlderEdge>> + Unpin {
    let rows = sqlx::query_as::<_, Row>(AssertSqlSafe(statement(table)))
        .bind(timestamp::CLOCK_TOLERANCE.as_seconds_f64())
        .fetch(connection);
    rows.map(|row| row.map(edge))
}

fn edge((source, target, created_at, deleted, refused): Row) -> OlderEdge {
    let result = if deleted {
        ImportResult::LeftOut
    } else if refused || source == target || source.is_nil() || target.is_nil() {
        ImportResult::Refused
    } else {
        ImportResult::Taken
    };
    OlderEdge { ends: (source, target), created_at, result }
}

#[cfg(test)]
mod tests {
    use super::super::table::{BLOCKS, MUTES};
    use super::*;

    #[test]
    fn blocks_refuse_only_follows() {
        for (table, blocks) in [(FOLLOWS, 2), (MUTES, 0), (BLOCKS, 0)] {
            let statement = statement(table);
            assert_eq!(statement.matches("LEFT JOIN blocks ").count(), blocks, "{statement}");
            assert_eq!(statement.matches(" AND NOT coalesce(").count(), blocks, "{statement}");
            assert!(statement.contains("(coalesce(e.created_at > now() + "), "{statement}");
        }
    }

    #[test]
    fn deleted_accounts_come_before_refusals() {
        let [a, b] = [1, 2].map(Uuid::from_u128);
        let result = |source, target, deleted, refused| edge((source, target, None, deleted, refused)).result;
        assert_eq!(result(a, b, false, false), ImportResult::Taken);
        assert_eq!(result(a, b, true, true), ImportResult::LeftOut);
        assert_eq!(result(a, b, false, true), ImportResult::Refused);
        assert_eq!(result(a, a, false, false), ImportResult::Refused);
        assert_eq!(result(Uuid::nil(), b, false, false), ImportResult::Refused);
    }
}
