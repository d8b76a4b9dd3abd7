//! Reads the state of every store, and compares them (I1).
//!
//! Compares PostgreSQL, Neo4j and the replayed stream in one form: edges with position and dates, and six counts.
//! Archived edges are left out. Wait for writes and jobs to end first, or use [`postgres::snapshot`] alone.

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
    /// Position in lists.
    pub position: i64,
    /// Creation time.
    pub created_at: OffsetDateTime,
    /// Expiry; `None` for a permanent edge.
    pub expires_at: Option<OffsetDateTime>,
}

/// All visible edges.
pub type Edges = BTreeMap<EdgeKey, Edge>;

impl Edge {
    /// The values of the read model: to the millisecond.
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

/// The counts of many accounts. An absent account has none.
pub type CountsOf = BTreeMap<UserId, Counts>;

/// Adds an edge to the counts, or with -1 subtracts it.
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

/// Checks the rules between two accounts, which hold at every revision: no follow or request crosses a block, and no
/// account requests what it has.
///
/// # Panics
/// If a rule is broken.
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
