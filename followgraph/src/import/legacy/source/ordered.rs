//! The older system's edges in the order of their ids, each with what an import does with it: for the comparison after it.

use proto::graph::v1::EdgeKind;
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
    /// It refuses it: a follow across a block, an edge of an account with itself, a nil id.
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

/// Edges of a table by their ids.
macro_rules! ordered {
    ($table:literal, $source:literal, $target:literal, $blocked:literal, $joins:literal) => {
        concat!(
            "-- legacy_ordered_",
            $table,
            "
SELECT e.",
            $source,
            ", e.",
            $target,
            ",
       CASE WHEN e.created_at BETWEEN '0001-01-01 00:00:00+00' AND '9999-12-31 23:59:59+00'
            THEN e.created_at END,
       (a.deleted_at IS NOT NULL OR b.deleted_at IS NOT NULL), ",
            $blocked,
            "
FROM ",
            $table,
            " e
LEFT JOIN users a ON a.id = e.",
            $source,
            "
LEFT JOIN users b ON b.id = e.",
            $target,
            $joins,
            "
ORDER BY e.",
            $source,
            ", e.",
            $target
        )
    };
}

const FOLLOWS: &str = ordered!(
    "follows",
    "follower_id",
    "following_id",
    "(k.blocker_id IS NOT NULL OR l.blocker_id IS NOT NULL)",
    "
LEFT JOIN blocks k ON k.blocker_id = e.follower_id AND k.blocked_id = e.following_id
LEFT JOIN blocks l ON l.blocker_id = e.following_id AND l.blocked_id = e.follower_id"
);
const MUTES: &str = ordered!("mutes", "muter_id", "muted_id", "false", "");
const BLOCKS: &str = ordered!("blocks", "blocker_id", "blocked_id", "false", "");

type Row = (Uuid, Uuid, Option<OffsetDateTime>, bool, bool);

impl Source {
    /// All edges of a kind in the snapshot, by the ids of their ends.
    pub fn ordered(&mut self, kind: EdgeKind) -> impl Stream<Item = anyhow::Result<OlderEdge>> + Unpin {
        let statement = match kind {
            EdgeKind::Block => BLOCKS,
            EdgeKind::Mute => MUTES,
            _ => FOLLOWS,
        };
        let rows = sqlx::query_as::<_, Row>(statement).fetch(&mut self.connection);
        rows.map(|row| row.map(edge).map_err(other_schema))
    }
}

fn edge((source, target, created_at, deleted, blocked): Row) -> OlderEdge {
    let fate = if deleted {
        Fate::LeftOut
    } else if blocked || source == target || source.is_nil() || target.is_nil() {
        Fate::Refused
    } else {
        Fate::Taken
    };
    OlderEdge { ends: (source, target), created_at, fate }
}
