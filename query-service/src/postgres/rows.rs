//! Converts PostgreSQL's rows to values.
//!
//! Every row contains the head, so that an empty answer has a revision too; the other columns are null then.

use std::collections::HashMap;

use proto::{Epoch, Position, Revision, Token, UserId, timestamp};
use sqlx::FromRow;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::queries::{Counts, LINKS, Link, ListRow, Relation, SeenRow};

#[derive(FromRow)]
pub struct EdgeRow {
    pub epoch: i64,
    pub revision: i64,
    user_id: Option<Uuid>,
    position: Option<i64>,
    created_at: Option<OffsetDateTime>,
    expires_at: Option<OffsetDateTime>,
}

impl EdgeRow {
    /// The row; `None` in an empty answer.
    pub fn into_list_row(self) -> Option<ListRow> {
        Some(ListRow {
            user: UserId::new(self.user_id?)?,
            position: Position::from_i64(self.position?),
            created_at_millis: timestamp::to_millis(self.created_at?),
            expires_at_millis: self.expires_at.map(timestamp::to_millis),
        })
    }
}

/// A link, or a row of a list with a viewer.
#[derive(FromRow)]
pub struct LinkRow {
    pub epoch: i64,
    /// Revision of the head; the link has its own.
    pub head: i64,
    link: Option<i32>,
    other: Option<Uuid>,
    position: Option<i64>,
    revision: Option<i64>,
    created_at: Option<OffsetDateTime>,
    expires_at: Option<OffsetDateTime>,
}

impl LinkRow {
    /// The other account, the number of the link, and the link.
    fn into_link(self) -> Option<(Uuid, i32, Link)> {
        let link = Link {
            position: Position::from_i64(self.position?),
            created_at_millis: timestamp::to_millis(self.created_at?),
            expires_at_millis: self.expires_at.map(timestamp::to_millis),
            revision: Revision::from_i64(self.revision?),
        };
        Some((self.other?, self.link?, link))
    }
}

/// The rows of a list, newest first, and the links by account. The input has any order.
pub fn sort_links(rows: Vec<LinkRow>) -> (Vec<ListRow>, HashMap<Uuid, Relation>) {
    let mut listed = Vec::new();
    let mut relations: HashMap<Uuid, Relation> = HashMap::new();
    for (other, number, link) in rows.into_iter().filter_map(LinkRow::into_link) {
        match usize::try_from(number).ok().and_then(|number| LINKS.get(number)) {
            Some(side) => {
                if let Some(slot) = relations.entry(other).or_default().slot(*side) {
                    *slot = Some(link);
                }
            }
            None => listed.extend(UserId::new(other).map(|user| ListRow::of(user, link))),
        }
    }
    listed.sort_unstable_by_key(|row| std::cmp::Reverse(row.position));
    (listed, relations)
}

pub fn seen(rows: Vec<LinkRow>) -> Vec<SeenRow> {
    let (listed, relations) = sort_links(rows);
    listed
        .into_iter()
        .map(|row| SeenRow { row, relation: relations.get(&row.user.uuid()).copied().unwrap_or_default() })
        .collect()
}

#[derive(FromRow)]
pub struct AccountRow {
    pub epoch: i64,
    pub revision: i64,
    user_id: Option<Uuid>,
    followers: Option<i64>,
    following: Option<i64>,
    muting: Option<i64>,
    blocking: Option<i64>,
    requests_sent: Option<i64>,
    requests_received: Option<i64>,
}

impl AccountRow {
    /// The account; `None` in an empty answer.
    pub fn into_counts(self) -> Option<(Uuid, Counts)> {
        let count = |n: Option<i64>| n.and_then(|n| u64::try_from(n).ok()).unwrap_or(0);
        let counts = Counts {
            followers: count(self.followers),
            following: count(self.following),
            muting: count(self.muting),
            blocking: count(self.blocking),
            requests_sent: count(self.requests_sent),
            requests_received: count(self.requests_received),
        };
        Some((self.user_id?, counts))
    }
}

pub fn token(epoch: i64, revision: i64) -> Token {
    Token::new(Epoch::from_i64(epoch), Revision::from_i64(revision))
}
