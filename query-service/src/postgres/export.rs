//! Reads all edges of a kind in key order, range by range.
//!
//! Each range is one short statement: a long snapshot would keep PostgreSQL from vacuuming its hot rows. Every range
//! contains the epoch, so that an export ends if the database is restored meanwhile.

use std::time::Duration;

use proto::{Position, Token};
use sqlx::FromRow;
use time::OffsetDateTime;
use uuid::Uuid;

use super::rows::token;
use super::{PostgresReader, failed, in_time, no_head, number};
use crate::queries::{Error, ReadResult, Versioned};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EdgeTable {
    Follows,
    Mutes,
    Blocks,
    FollowRequests,
}

/// At most `$3` edges of a table after the pair `$1` and `$2`, in the order of their keys.
macro_rules! statement {
    ($name:literal, $edges:literal) => {
        concat!(
            "-- ",
            $name,
            "\nSELECT h.epoch, h.revision, r.source_id, r.target_id, r.created_at, r.expires_at, r.position\n\
             FROM log_head h\n\
             LEFT JOIN LATERAL (",
            $edges,
            "\n) r ON true\nORDER BY r.source_id, r.target_id"
        )
    };
}

impl EdgeTable {
    fn statement(self) -> &'static str {
        match self {
            Self::Follows => statement!(
                "export_follows",
                "
    SELECT follower_id AS source_id, following_id AS target_id, created_at, NULL::timestamptz AS expires_at, position
    FROM follows WHERE (follower_id, following_id) > ($1, $2)
    ORDER BY follower_id, following_id LIMIT $3"
            ),
            Self::Mutes => statement!(
                "export_mutes",
                "
    SELECT muter_id AS source_id, muted_id AS target_id, created_at, expires_at, position
    FROM mutes WHERE (muter_id, muted_id) > ($1, $2)
    ORDER BY muter_id, muted_id LIMIT $3"
            ),
            Self::Blocks => statement!(
                "export_blocks",
                "
    SELECT blocker_id AS source_id, blocked_id AS target_id, created_at, expires_at, position
    FROM blocks WHERE (blocker_id, blocked_id) > ($1, $2)
    ORDER BY blocker_id, blocked_id LIMIT $3"
            ),
            Self::FollowRequests => statement!(
                "export_follow_requests",
                "
    SELECT requester_id AS source_id, target_id, created_at, NULL::timestamptz AS expires_at, position
    FROM follow_requests WHERE (requester_id, target_id) > ($1, $2)
    ORDER BY requester_id, target_id LIMIT $3"
            ),
        }
    }
}

/// One exported edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExportRow {
    pub source: Uuid,
    pub target: Uuid,
    /// Creation time.
    pub created_at: OffsetDateTime,
    /// Expiry; `None` for a permanent edge.
    pub expires_at: Option<OffsetDateTime>,
    /// Position in lists.
    pub position: Position,
}

/// The head, and a row unless the range is empty.
#[derive(FromRow)]
struct Row {
    epoch: i64,
    revision: i64,
    source_id: Option<Uuid>,
    target_id: Option<Uuid>,
    created_at: Option<OffsetDateTime>,
    expires_at: Option<OffsetDateTime>,
    position: Option<i64>,
}

#[derive(Clone, Debug)]
pub struct Exporter(PostgresReader);

impl Exporter {
    pub fn new(reader: PostgresReader) -> Self {
        Self(reader)
    }

    /// The current head.
    pub async fn head(&self, within: Duration) -> Result<Token, Error> {
        self.0.check_and_head(within).await.map(|(head, _)| head)
    }

    /// At most `limit` edges after a pair, in key order, and the head of that snapshot. The nil pair comes before all
    /// others.
    pub async fn range(
        &self,
        table: EdgeTable,
        after: (Uuid, Uuid),
        limit: usize,
        within: Duration,
    ) -> ReadResult<Vec<ExportRow>> {
        let read = async {
            let mut connection = self.0.connection(within).await?;
            let query = sqlx::query_as(table.statement()).bind(after.0).bind(after.1).bind(number(limit));
            let rows: Vec<Row> = query.fetch_all(&mut *connection).await.map_err(failed)?;
            let as_of = rows.first().map(|row| token(row.epoch, row.revision)).ok_or_else(no_head)?;
            let value = rows.into_iter().filter_map(Row::into_export_row).collect();
            Ok(Versioned::exact(value, as_of))
        };
        in_time(within, read).await
    }
}

impl Row {
    fn into_export_row(self) -> Option<ExportRow> {
        Some(ExportRow {
            source: self.source_id?,
            target: self.target_id?,
            created_at: self.created_at?,
            expires_at: self.expires_at,
            position: Position::from_i64(self.position?),
        })
    }
}
