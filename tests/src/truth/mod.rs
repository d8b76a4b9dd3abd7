//! What every store says, and that they agree (I1).
//!
//! Owns the one form in which PostgreSQL, Neo4j and the replayed stream are
//! compared: edges by name, with place and dates, and the six counts that follow
//! from them. Edges in the archive are nobody's: they are in none of these.
//!
//! What can go wrong: a comparison while writes or jobs go on. Each store is then
//! of another revision; wait first, or take [`postgres::snapshot`] alone, which is
//! of one revision always.

pub mod agreement;
mod etags;
pub mod neo4j;
pub mod postgres;
mod stream;

use std::collections::BTreeMap;

use proto::UserId;
use proto::event::{AccountCounts, EdgeKey, EdgeKind};
use proto::timestamp::to_millis;
use time::OffsetDateTime;

pub use agreement::{
    Follows, assert_agreement, assert_log, assert_read_model, assert_same, follows, wait_answering,
    wait_caught_up, wait_following,
};
pub use etags::etags;
pub use postgres::{head, head_token};
pub use stream::{Replay, event, events_from, stream};

/// The four kinds of edges.
pub const KINDS: [EdgeKind; 4] = [EdgeKind::Follow, EdgeKind::Mute, EdgeKind::Block, EdgeKind::FollowRequest];

/// An edge's values, to the microsecond, as PostgreSQL and the events have them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edge {
    /// Its place in lists.
    pub position: i64,
    /// When it came to be.
    pub created_at: OffsetDateTime,
    /// When it runs out.
    pub expires_at: Option<OffsetDateTime>,
}

/// All edges that can be seen.
pub type Edges = BTreeMap<EdgeKey, Edge>;

impl Edge {
    /// As the read model keeps it: to the millisecond.
    #[must_use]
    pub fn to_the_millisecond(self) -> Self {
        Self {
            created_at: of_millis(to_millis(self.created_at)),
            expires_at: self.expires_at.map(|at| of_millis(to_millis(at))),
            ..self
        }
    }
}

/// A date of the read model.
fn of_millis(millis: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(millis) * 1_000_000).expect("a date of an edge")
}

/// The six counts of an account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Follows that end here.
    pub followers: i64,
    /// Follows that start here.
    pub following: i64,
    /// Mutes that start here.
    pub muting: i64,
    /// Blocks that start here.
    pub blocking: i64,
    /// Requests that start here.
    pub requests_sent: i64,
    /// Requests that end here.
    pub requests_received: i64,
}

impl From<&AccountCounts> for Counts {
    fn from(told: &AccountCounts) -> Self {
        let signed = |count: u64| i64::try_from(count).expect("a count of edges");
        Self {
            followers: signed(told.followers),
            following: signed(told.following),
            muting: signed(told.muting),
            blocking: signed(told.blocking),
            requests_sent: signed(told.requests_sent),
            requests_received: signed(told.requests_received),
        }
    }
}

/// The counts of many accounts. An account that is not in it has none.
pub type CountsOf = BTreeMap<UserId, Counts>;

/// Adds an edge to the counts, or with -1 takes it away.
pub fn count(counts: &mut CountsOf, key: EdgeKey, step: i64) {
    let source = counts.entry(key.source).or_default();
    match key.kind {
        EdgeKind::Follow => source.following += step,
        EdgeKind::Mute => source.muting += step,
        EdgeKind::Block => source.blocking += step,
        EdgeKind::FollowRequest => source.requests_sent += step,
        EdgeKind::Unspecified => unreachable!("decoding refuses it"),
    }
    let target = counts.entry(key.target).or_default();
    match key.kind {
        EdgeKind::Follow => target.followers += step,
        EdgeKind::FollowRequest => target.requests_received += step,
        _ => {}
    }
}

/// The counts that follow from lists.
pub fn counts_of<'a>(edges: impl IntoIterator<Item = &'a EdgeKey>) -> CountsOf {
    let mut counts = CountsOf::new();
    for key in edges {
        count(&mut counts, *key, 1);
    }
    counts
}

/// The rules that hold between two accounts at every revision: nothing goes across a
/// block, and nobody asks for what it has.
///
/// # Panics
/// Where one is broken.
#[track_caller]
pub fn assert_rules(edges: &Edges, source: UserId, target: UserId) {
    let has = |kind, source, target| edges.contains_key(&EdgeKey { kind, source, target });
    let follows = has(EdgeKind::Follow, source, target);
    let asks = has(EdgeKind::FollowRequest, source, target);
    let blocked = has(EdgeKind::Block, source, target) || has(EdgeKind::Block, target, source);
    assert!(!(follows && asks), "{source} follows {target} and asks to");
    assert!(!(blocked && follows), "{source} follows {target} across a block");
    assert!(!(blocked && asks), "{source} asks to follow {target} across a block");
}
