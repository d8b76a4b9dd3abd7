//! The tables of edges in the older system's database, and the statements that differ only in their names.

use proto::graph::v1::EdgeKind;

/// Last date of the contract. Later dates and infinity count as no date.
pub const LAST_DATE: &str = "'9999-12-31 23:59:59+00'";
/// First date of the contract; edges without a date are sorted here.
pub const FIRST_DATE: &str = "'0001-01-01 00:00:00+00'";

/// A table of edges and its columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table {
    pub name: &'static str,
    pub source: &'static str,
    pub target: &'static str,
}

pub const FOLLOWS: Table = Table { name: "follows", source: "follower_id", target: "following_id" };
pub const MUTES: Table = Table { name: "mutes", source: "muter_id", target: "muted_id" };
pub const BLOCKS: Table = Table { name: "blocks", source: "blocker_id", target: "blocked_id" };

impl Table {
    pub fn of(kind: EdgeKind) -> Self {
        match kind {
            EdgeKind::Block => BLOCKS,
            EdgeKind::Mute => MUTES,
            _ => FOLLOWS,
        }
    }

    pub fn count(self) -> String {
        format!("-- legacy_count_{0}\nSELECT count(*) FROM {0}", self.name)
    }

    /// Edges after the date and ids of `$1` to `$3`, in the order of dates.
    pub fn by_date(self) -> String {
        let Self { name, source, target } = self;
        format!(
            "-- legacy_{name}
SELECT source_id, target_id, created_at, deleted, unknown
FROM (
    SELECT e.{source} AS source_id, e.{target} AS target_id,
           CASE WHEN e.created_at BETWEEN {FIRST_DATE} AND {LAST_DATE} THEN e.created_at END AS created_at,
           (a.deleted_at IS NOT NULL OR b.deleted_at IS NOT NULL) AS deleted,
           (a.id IS NULL OR b.id IS NULL) AS unknown
    FROM {name} e
    LEFT JOIN users a ON a.id = e.{source}
    LEFT JOIN users b ON b.id = e.{target}
) edges
WHERE $1::timestamptz IS NULL
   OR (coalesce(created_at, {FIRST_DATE}), source_id, target_id) > ($1, $2::uuid, $3::uuid)
ORDER BY coalesce(created_at, {FIRST_DATE}), source_id, target_id"
        )
    }
}
