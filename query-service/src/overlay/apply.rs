//! Applies recent events to the answers of a read model, for each kind of answer.
//!
//! The last event of an edge determines its state; an edge without events is unchanged. So the result is of exactly the
//! ring's position, no matter which of these changes the read model already contains.
//!
//! Fails if a list lost more rows than were read beyond the page ([`Short`]: read more), or if an account has more than
//! [`MOST_CHANGES`] changes.

use std::collections::HashMap;

use proto::event::EdgeKind;
use proto::{Position, Revision, UserId};

use crate::queries::{Counts, LINKS, Link, ListRow, Relation, Side};
use crate::recent::Ring;

/// Maximum number of changes of an account, per side, that are applied to an answer. Each costs about 50 ns while the
/// ring is locked, on all seven sides in the worst case; so new events, and with them all reads, wait a millisecond or
/// two at most. An account has more only if a replica lags far behind a large job; another store answers then.
pub const MOST_CHANGES: usize = 4_000;

/// The part of a list that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Rows below this position; from the newest if absent.
    pub before: Option<Position>,
    /// Number of rows that the caller wants; more may have been read.
    pub limit: usize,
    /// True if the list may continue below the rows that were read.
    pub more_below: bool,
}

/// Too few rows are left, and the list may continue below them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Short {
    /// Number of missing rows, if no others are removed meanwhile.
    pub missing: usize,
}

/// Whether the viewer follows each target. Returns the number of edges with events.
pub fn check(
    ring: &Ring,
    since: Revision,
    viewer: UserId,
    targets: &[UserId],
    value: &mut [bool],
) -> Option<usize> {
    let following = Side::outgoing(EdgeKind::Follow);
    let last = last_changes(ring, since, viewer, following)?;
    if last.is_empty() {
        return Some(0);
    }
    let mut touched = 0;
    for (target, follows) in targets.iter().zip(value) {
        if let Some(left) = last.get(target) {
            *follows = left.is_some();
            touched += 1;
        }
    }
    Some(touched)
}

/// The links between the viewer and each target. Returns the number of links with events.
pub fn relations(
    ring: &Ring,
    since: Revision,
    viewer: UserId,
    targets: &[UserId],
    value: &mut [Relation],
) -> Option<usize> {
    let mut touched = 0;
    for side in LINKS {
        let last = last_changes(ring, since, viewer, side)?;
        if last.is_empty() {
            continue;
        }
        for (target, relation) in targets.iter().zip(value.iter_mut()) {
            if let Some(left) = last.get(target)
                && let Some(slot) = relation.slot(side)
            {
                *slot = *left;
                touched += 1;
            }
        }
    }
    Some(touched)
}

/// The counts of each account. Returns the number of accounts with events.
pub fn counts(ring: &Ring, since: Revision, users: &[UserId], value: &mut [Counts]) -> usize {
    let mut touched = 0;
    for (user, counts) in users.iter().zip(value) {
        if let Some(told) = ring.counts(*user, since) {
            *counts = Counts::from(told);
            touched += 1;
        }
    }
    touched
}

/// A part of a list. Returns the rows and the number of edges with events.
pub fn list(
    ring: &Ring,
    since: Revision,
    user: UserId,
    side: Side,
    part: Part,
    rows: &[ListRow],
) -> Option<Result<(Vec<ListRow>, usize), Short>> {
    // Nothing is known below the last row that was read.
    let floor = rows.last().filter(|_| part.more_below).map(|row| row.position);
    let last = last_changes(ring, since, user, side)?;
    let mut patched: Vec<ListRow> =
        rows.iter().filter(|row| !last.contains_key(&row.user)).copied().collect();
    if !last.is_empty() {
        let within = |position: Position| {
            part.before.is_none_or(|before| position < before) && floor.is_none_or(|floor| position >= floor)
        };
        let left = last.iter().filter_map(|(other, left)| left.map(|link| ListRow::of(*other, link)));
        patched.extend(left.filter(|row| within(row.position)));
        patched.sort_unstable_by_key(|row| std::cmp::Reverse(row.position));
    }
    if patched.len() < part.limit && part.more_below {
        return Some(Err(Short { missing: part.limit - patched.len() }));
    }
    patched.truncate(part.limit);
    Some(Ok((patched, last.len())))
}

/// The last change of each edge of an account after a revision; `None` if there are too many.
fn last_changes(
    ring: &Ring,
    since: Revision,
    user: UserId,
    side: Side,
) -> Option<HashMap<UserId, Option<Link>>> {
    let mut last = HashMap::new();
    for (number, touched) in ring.touched(user, side, since).enumerate() {
        if number == MOST_CHANGES {
            return None;
        }
        // Newest first, so the first change of an edge is its last.
        last.entry(touched.other).or_insert(touched.left);
    }
    Some(last)
}
