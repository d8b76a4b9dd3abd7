//! Lists of the older API, with limit and offset.
//!
//! The accounts, the length of the list and the viewer's relations are one answer of one revision. The store skips the
//! rows before the offset in its index, so the cost grows with the offset: a skipped row costs about a tenth of a
//! returned one.

use proto::UserId;
use proto::error::ServiceError;
use proto::legacy::v2::FollowUserInfo;

use super::super::validate;
use super::Legacy;
use crate::queries::{Known, ListAt, ListKind, Relation};
use crate::router::Call;

/// Limit and offset of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    pub offset: usize,
    pub limit: usize,
}

impl Bounds {
    /// Parses both; a limit of 0 means the default, and one above the maximum is reduced to it.
    pub fn of(limit: i32, offset: i32, default: usize, largest: usize) -> Result<Self, ServiceError> {
        let limit = validate::limit(limit, "limit", default, largest)?;
        Ok(Self { offset: validate::not_negative(offset, "offset")?, limit })
    }
}

#[derive(Debug)]
pub struct Part {
    pub users: Vec<UserId>,
    /// Length of the whole list.
    pub total: u64,
    /// True if more accounts follow.
    pub more: bool,
    /// The viewer's relations to the accounts; empty without a viewer.
    pub seen: Vec<FollowUserInfo>,
}

impl Part {
    /// Adds the viewer's relations to the accounts.
    fn seen(mut self, relations: &[Relation]) -> Self {
        let seen = self.users.iter().zip(relations).map(|(user, relation)| FollowUserInfo {
            user_id: user.to_string(),
            you_are_following: relation.following.is_some(),
            follows_you: relation.followed_by.is_some(),
        });
        self.seen = seen.collect();
        self
    }

    pub fn ids(&self) -> Vec<String> {
        self.users.iter().map(UserId::to_string).collect()
    }

    /// The total in the type of the older API.
    pub fn total_count(&self) -> i32 {
        i32::try_from(self.total).unwrap_or(i32::MAX)
    }
}

impl Legacy {
    pub(super) fn bounds(&self, limit: i32, offset: i32, largest: usize) -> Result<Bounds, ServiceError> {
        Bounds::of(limit, offset, self.default_limit, largest)
    }

    /// Reads a part of a list with the viewer's relations.
    pub(super) async fn list(
        &self,
        kind: ListKind,
        user: UserId,
        bounds: Bounds,
        viewer: Option<UserId>,
        call: Call,
    ) -> Result<Part, ServiceError> {
        let at = ListAt { kind, user, offset: bounds.offset, limit: bounds.limit, viewer };
        let part = self.ask(&at, call).await?.value;
        Ok(cut_out(part.users, part.total, bounds).seen(&part.relations))
    }

    /// Reads a part of the friends among the newest 10,000 accounts that the account follows; the count covers only
    /// those.
    pub(super) async fn friends(
        &self,
        user: UserId,
        bounds: Bounds,
        call: Call,
    ) -> Result<Part, ServiceError> {
        let known =
            Known { viewer: user, target: user, before: None, skip: bounds.offset, limit: bounds.limit };
        let found = self.ask(&known, call).await?.value;
        let users = found.rows.iter().map(|met| met.row.user).collect();
        Ok(cut_out(users, found.total, bounds))
    }
}

fn cut_out(users: Vec<UserId>, total: u64, bounds: Bounds) -> Part {
    let more = !users.is_empty() && ((bounds.offset + users.len()) as u64) < total;
    Part { users, total, more, seen: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_have_a_default_and_a_largest() {
        let of = |limit, offset| Bounds::of(limit, offset, 50, 1_000).map(|b| (b.limit, b.offset));
        for (given, wanted) in [(0, 50), (1, 1), (1_000, 1_000), (1_001, 1_000), (i32::MAX, 1_000)] {
            assert_eq!(of(given, 7), Ok((wanted, 7)));
        }
        for (limit, offset, field) in [(-1, 0, "limit"), (1, -1, "offset"), (0, i32::MIN, "offset")] {
            let refused = of(limit, offset).expect_err("below zero");
            assert_eq!(refused.field.as_deref(), Some(field));
        }
        // A configured default above the maximum is reduced too.
        assert_eq!(Bounds::of(0, 0, 1_001, 1_000).map(|bounds| bounds.limit), Ok(1_000));
    }

    #[test]
    fn there_is_more_as_long_as_the_end_is_not_reached() {
        let user = UserId::parse("f47ac10b-58cc-4372-a567-0e02b2c3d479").expect("an id");
        for (offset, found, total, more) in
            [(0, 2, 5, true), (3, 2, 5, false), (4, 1, 5, false), (5, 0, 5, false), (9, 0, 5, false)]
        {
            let part = cut_out(vec![user; found], total, Bounds { offset, limit: 2 });
            assert_eq!(part.more, more, "offset {offset}");
        }
    }
}
