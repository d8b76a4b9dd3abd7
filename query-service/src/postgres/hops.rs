//! Answers of PostgreSQL to multi-hop questions, and answers that need several statements.
//!
//! It makes no suggestions: those read too many rows for the writer's database.

use proto::{Position, UserId, timestamp};
use sqlx::{Connection as _, FromRow, PgConnection};
use time::OffsetDateTime;
use uuid::Uuid;

use super::rows::token;
use super::{PostgresReader, below, failed, list, no_head, number, relations, traced};
use crate::queries::{
    Context, Error, FOLLOWS_LOOKED_THROUGH, Known, KnownRows, ListAt, ListKind, ListRow, MetRow, Part,
    PublicList, Read, ReadResult, Sift, Sifted, Suggest, Suggested, Union, United, Versioned,
};

/// Walks the set of `$1` below position `$2`, at most `$3` rows; keeps accounts that are (`$6`) or are not in the set
/// of `$4` by an edge that was created before position `$5` and has been visible since: an edge that was hidden
/// meanwhile came back at its old position. At most `$7` rows.
fn sift(walked: PublicList, other: PublicList) -> &'static str {
    macro_rules! statement {
        ($name:literal, $own:literal, $other:literal, $found:literal) => {
            concat!(
                "-- ",
                $name,
                "\nWITH looked AS MATERIALIZED (\n    SELECT ",
                $other,
                " AS id, position, created_at FROM follows\n    WHERE ",
                $own,
                " = $1 AND position < $2\n    ORDER BY position DESC LIMIT $3\n\
                 ), found AS MATERIALIZED (\n    \
                     SELECT l.id, l.position, l.created_at, b.created_at AS met_at FROM looked l\n    \
                     LEFT JOIN LATERAL (\n        SELECT created_at FROM follows WHERE ",
                $found,
                " AND position < $5 AND revision < $5 / 1024 LIMIT 1\n    ) b ON true\n    \
                     WHERE (b.created_at IS NOT NULL) = $6\n    \
                     ORDER BY l.position DESC LIMIT $7\n\
                 )\n\
                 SELECT h.epoch, h.revision, w.number, w.last, f.id, f.position, f.created_at, f.met_at\n\
                 FROM log_head h\n\
                 CROSS JOIN (SELECT count(*) AS number, min(position) AS last FROM looked) w\n\
                 LEFT JOIN found f ON true\n\
                 ORDER BY f.position DESC"
            )
        };
    }
    match (walked, other) {
        (PublicList::Following, PublicList::Followers) => statement!(
            "sift_following_by_followers",
            "follower_id",
            "following_id",
            "follower_id = l.id AND following_id = $4"
        ),
        (PublicList::Following, PublicList::Following) => statement!(
            "sift_following_by_following",
            "follower_id",
            "following_id",
            "follower_id = $4 AND following_id = l.id"
        ),
        (PublicList::Followers, PublicList::Followers) => statement!(
            "sift_followers_by_followers",
            "following_id",
            "follower_id",
            "follower_id = l.id AND following_id = $4"
        ),
        (PublicList::Followers, PublicList::Following) => statement!(
            "sift_followers_by_following",
            "following_id",
            "follower_id",
            "follower_id = $4 AND following_id = l.id"
        ),
    }
}

/// Accounts that `$1` follows and that follow `$2`, among the newest `$6` follows: their number, and those below
/// position `$3`, from offset `$4`, at most `$5`.
const KNOWN: &str = "\
-- known
WITH looked AS MATERIALIZED (
    SELECT following_id AS id, position, created_at FROM follows
    WHERE follower_id = $1
    ORDER BY position DESC LIMIT $6
), found AS MATERIALIZED (
    SELECT l.id, l.position, l.created_at, b.created_at AS met_at FROM looked l
    CROSS JOIN LATERAL (
        SELECT created_at FROM follows WHERE follower_id = l.id AND following_id = $2 LIMIT 1
    ) b
), page AS MATERIALIZED (
    SELECT * FROM found WHERE position < $3 ORDER BY position DESC OFFSET $4 LIMIT $5
)
SELECT h.epoch, h.revision, w.number, w.last, p.id, p.position, p.created_at, p.met_at
FROM log_head h
CROSS JOIN (SELECT count(*) AS number, min(position) AS last FROM found) w
LEFT JOIN page p ON true
ORDER BY p.position DESC";

/// The list of `$1` from offset `$2`, at most `$3` rows, and its length.
fn list_at(kind: ListKind) -> &'static str {
    macro_rules! statement {
        ($name:literal, $table:literal, $own:literal, $other:literal, $count:literal) => {
            concat!(
                "-- ",
                $name,
                "\nSELECT h.epoch, h.revision, coalesce(a.",
                $count,
                ", 0) AS total, ARRAY(\n    SELECT ",
                $other,
                " FROM ",
                $table,
                " WHERE ",
                $own,
                " = $1 ORDER BY position DESC OFFSET $2 LIMIT $3\n\
                 ) AS users\n\
                 FROM log_head h LEFT JOIN accounts a ON a.user_id = $1"
            )
        };
    }
    match kind {
        ListKind::Followers => {
            statement!("followers_at", "follows", "following_id", "follower_id", "followers")
        }
        ListKind::Following => {
            statement!("following_at", "follows", "follower_id", "following_id", "following")
        }
        ListKind::Mutes => statement!("mutes_at", "mutes", "muter_id", "muted_id", "muting"),
        ListKind::Blocks => statement!("blocks_at", "blocks", "blocker_id", "blocked_id", "blocking"),
        ListKind::RequestsReceived => statement!(
            "requests_received_at",
            "follow_requests",
            "target_id",
            "requester_id",
            "requests_received"
        ),
        ListKind::RequestsSent => {
            statement!("requests_sent_at", "follow_requests", "requester_id", "target_id", "requests_sent")
        }
    }
}

/// The head and a row; the row's columns are null if there is none.
#[derive(FromRow)]
struct FoundRow {
    epoch: i64,
    revision: i64,
    /// Number of rows that were read, or found.
    number: i64,
    /// The lowest position of those.
    last: Option<i64>,
    id: Option<Uuid>,
    position: Option<i64>,
    created_at: Option<OffsetDateTime>,
    met_at: Option<OffsetDateTime>,
}

impl FoundRow {
    fn into_row(self) -> Option<MetRow> {
        let row = ListRow {
            user: UserId::new(self.id?)?,
            position: Position::from_i64(self.position?),
            created_at_millis: timestamp::to_millis(self.created_at?),
            expires_at_millis: None,
        };
        Some(MetRow { row, met_at_millis: self.met_at.map(timestamp::to_millis) })
    }
}

impl Read<Sift> for PostgresReader {
    async fn read(&self, sift: &Sift, cx: Context<'_>) -> ReadResult<Sifted> {
        let read = async { sifted(&mut *self.connection(cx.within).await?, sift).await };
        traced("sets.read", cx, read).await
    }
}

impl Read<Known> for PostgresReader {
    async fn read(&self, known: &Known, cx: Context<'_>) -> ReadResult<KnownRows> {
        let Known { viewer, target, before, skip, limit } = *known;
        let read = async {
            let mut connection = self.connection(cx.within).await?;
            let query = sqlx::query_as(KNOWN).bind(viewer.uuid()).bind(target.uuid()).bind(below(before));
            let query = query.bind(number(skip)).bind(number(limit)).bind(number(FOLLOWS_LOOKED_THROUGH));
            let rows: Vec<FoundRow> = query.fetch_all(&mut *connection).await.map_err(failed)?;
            let first = rows.first().ok_or_else(no_head)?;
            let as_of = token(first.epoch, first.revision);
            let total = u64::try_from(first.number).unwrap_or(0);
            let rows = rows.into_iter().filter_map(FoundRow::into_row).collect();
            Ok(Versioned::exact(KnownRows { rows, total }, as_of))
        };
        traced("sets.read", cx, read).await
    }
}

impl Read<ListAt> for PostgresReader {
    async fn read(&self, at: &ListAt, cx: Context<'_>) -> ReadResult<Part> {
        let read = async {
            let mut connection = self.connection(cx.within).await?;
            let Some(viewer) = at.viewer else { return part(&mut connection, at).await };
            let mut snapshot = connection.begin_with(SNAPSHOT).await.map_err(failed)?;
            let mut answer = part(&mut snapshot, at).await?;
            answer.value.relations = relations(&mut snapshot, viewer, &answer.value.users).await?.value;
            snapshot.commit().await.map_err(failed)?;
            Ok(answer)
        };
        traced("lists.read", cx, read).await
    }
}

impl Read<Union> for PostgresReader {
    async fn read(&self, union: &Union, cx: Context<'_>) -> ReadResult<United> {
        let read = async {
            let mut connection = self.connection(cx.within).await?;
            let mut snapshot = connection.begin_with(SNAPSHOT).await.map_err(failed)?;
            let first = list(&mut snapshot, &union.first_page()).await?;
            let second = match union.rest(&first.value) {
                Some(sift) => Some(sifted(&mut snapshot, &sift).await?.value),
                None => None,
            };
            snapshot.commit().await.map_err(failed)?;
            Ok(first.map(|first| United { first, second }))
        };
        traced("sets.read", cx, read).await
    }
}

impl Read<Suggest> for PostgresReader {
    async fn read(&self, _: &Suggest, _: Context<'_>) -> ReadResult<Suggested> {
        Err(Error::failed("the source of truth makes no suggestions"))
    }
}

/// All statements of an answer read the same snapshot.
const SNAPSHOT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

async fn sifted(connection: &mut PgConnection, asked: &Sift) -> ReadResult<Sifted> {
    let Sift { walked, before, other, other_before, members, look, limit } = *asked;
    let query = sqlx::query_as(sift(walked.list, other.list)).bind(walked.user.uuid()).bind(below(before));
    let query = query.bind(number(look)).bind(other.user.uuid()).bind(below(other_before));
    let query = query.bind(members).bind(number(limit));
    let rows: Vec<FoundRow> = query.fetch_all(connection).await.map_err(failed)?;
    let first = rows.first().ok_or_else(no_head)?;
    let as_of = token(first.epoch, first.revision);
    let looked_to = first.last.filter(|_| first.number >= number(look)).map(Position::from_i64);
    let rows = rows.into_iter().filter_map(FoundRow::into_row).collect();
    Ok(Versioned::exact(Sifted { rows, looked_to }, as_of))
}

async fn part(connection: &mut PgConnection, at: &ListAt) -> ReadResult<Part> {
    let query = sqlx::query_as(list_at(at.kind)).bind(at.user.uuid());
    let query = query.bind(number(at.offset)).bind(number(at.limit));
    let row: Option<(i64, i64, i64, Vec<Uuid>)> = query.fetch_optional(connection).await.map_err(failed)?;
    let (epoch, revision, total, users) = row.ok_or_else(no_head)?;
    let users = users.into_iter().filter_map(UserId::new).collect();
    let part = Part { users, total: u64::try_from(total).unwrap_or(0), relations: Vec::new() };
    Ok(Versioned::exact(part, token(epoch, revision)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_looked_up_is_bounded_first() {
        let pairs =
            PublicList::ALL.into_iter().flat_map(|walked| PublicList::ALL.map(|other| (walked, other)));
        let sifts = pairs.map(|(walked, other)| (sift(walked, other), "LIMIT $3"));
        for (statement, bound) in sifts.chain([(KNOWN, "LIMIT $6")]) {
            let bound = statement.find(bound).expect("a bound");
            assert!(bound < statement.find("LATERAL").expect("a look-up"), "{statement}");
        }
    }
}
