//! What was loaded for the hot set, and how it becomes an entry at the position of the recent events.
//!
//! A load lies between two revisions, like every answer of a read model. The last change of an edge decides: whatever the
//! load says about accounts that changed since is dropped, and the outcome of the changes is put in its place.

use std::collections::HashMap;

use proto::event::EdgeKind;
use proto::{Position, Token, UserId};

use super::{Entry, Ids, Key, Newest, Origin};
use crate::queries::{Counts, Link, ListRow, PublicList, Side};

/// Rows of one replica, which lie between two revisions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Load {
    pub content: Content,
    /// The rows include all changes up to this revision.
    pub as_of: Token,
    /// They include no change after this one.
    pub target: Token,
    pub origin: Origin,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// All accounts that an account follows.
    Ids(UserId, Vec<UserId>),
    /// The newest rows of a list, newest first.
    Newest {
        user: UserId,
        list: PublicList,
        rows: Vec<ListRow>,
        /// These are all rows of the list.
        is_whole: bool,
    },
    /// The counts of some accounts.
    Counts(Vec<(UserId, Counts)>),
}

/// The last change of each account at the other end since the load.
pub type Changes = HashMap<UserId, Option<Link>>;

/// The list behind a key whose changes must be laid over its rows.
pub fn side(key: Key) -> Option<(UserId, Side)> {
    match key {
        Key::Ids(user) => Some((user, Side::outgoing(EdgeKind::Follow))),
        Key::Newest(user, list) => Some((user, list.kind().side())),
        Key::Counts(_) => None,
    }
}

/// The ids after the changes; `None` if they are too many.
pub fn ids(mut loaded: Vec<UserId>, changes: &Changes) -> Option<Entry> {
    if !changes.is_empty() {
        loaded.retain(|user| !changes.contains_key(user));
        loaded.extend(changes.iter().filter(|(_, link)| link.is_some()).map(|(user, _)| *user));
    }
    Ids::new(loaded).map(Entry::Ids)
}

/// The rows after the changes; `None` if they cannot be kept.
pub fn newest(mut loaded: Vec<ListRow>, is_whole: bool, changes: &Changes) -> Option<Entry> {
    // Nothing is known of the rows below the last one.
    let floor: Option<Position> = if is_whole { None } else { Some(loaded.last()?.position) };
    if !changes.is_empty() {
        loaded.retain(|row| !changes.contains_key(&row.user));
        let added = changes.iter().filter_map(|(user, link)| Some(ListRow::of(*user, (*link)?)));
        loaded.extend(added.filter(|row| floor.is_none_or(|floor| row.position >= floor)));
    }
    Newest::new(&loaded, floor).map(Entry::Newest)
}

#[cfg(test)]
mod tests {
    use proto::Revision;
    use uuid::Uuid;

    use super::*;

    fn user(number: u64) -> UserId {
        UserId::new(Uuid::from_u128(u128::from(number) + 1)).expect("not nil")
    }

    fn link(position: u64) -> Option<Link> {
        let revision = Revision(9);
        Some(Link { position: Position(position), created_at_millis: 0, expires_at_millis: None, revision })
    }

    #[test]
    fn a_restored_edge_below_the_floor_is_not_kept() {
        let rows = [8, 7].map(|number| ListRow::of(user(number), link(number).expect("a link")));
        let restored = Changes::from([(user(3), link(3)), (user(9), link(9))]);
        for (is_whole, kept) in [(false, vec![9, 8, 7]), (true, vec![9, 8, 7, 3])] {
            let Some(Entry::Newest(newest)) = newest(rows.to_vec(), is_whole, &restored) else {
                panic!("it fits")
            };
            let page = newest.page(None, kept.len()).expect("all rows");
            assert_eq!(page.iter().map(|row| row.position.0).collect::<Vec<_>>(), kept);
            assert_eq!(newest.page(None, kept.len() + 1).is_some(), is_whole);
        }
    }
}
