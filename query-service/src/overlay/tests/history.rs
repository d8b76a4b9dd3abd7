//! Generated histories, and a reference implementation of every answer after each of their events.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use event_log::LoggedEvent;
use proto::event::{AccountCounts, EdgeChange, EdgeKey, EdgeKind, EdgeOp, Event, Verb};
use proto::{Epoch, Position, Revision, Token, UserId};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::queries::{Counts, LINKS, Link, ListRow, Relation, Side};
use crate::recent::{Limits, Recent};

const KINDS: [EdgeKind; 4] = [EdgeKind::Follow, EdgeKind::Mute, EdgeKind::Block, EdgeKind::FollowRequest];
pub const USERS: u128 = 6;

pub type State = BTreeMap<EdgeKey, Link>;

pub fn user(number: u128) -> UserId {
    UserId::new(Uuid::from_u128(number + 1)).expect("not nil")
}

pub fn everybody() -> Vec<UserId> {
    (0..USERS).map(user).collect()
}

pub fn token(revision: usize) -> Token {
    Token::new(Epoch(1), Revision(revision as u64))
}

/// A history, and the state after each of its events; the first is empty.
#[derive(Clone, Debug, Default)]
pub struct History {
    pub events: Vec<LoggedEvent>,
    pub states: Vec<State>,
}

pub fn counts_at(state: &State, user: UserId) -> Counts {
    let mut counts = Counts::default();
    for key in state.keys() {
        let (source, target) = (u64::from(key.source == user), u64::from(key.target == user));
        match key.kind {
            EdgeKind::Follow => {
                (counts.following, counts.followers) = (counts.following + source, counts.followers + target)
            }
            EdgeKind::Mute => counts.muting += source,
            EdgeKind::Block => counts.blocking += source,
            EdgeKind::FollowRequest => {
                (counts.requests_sent, counts.requests_received) =
                    (counts.requests_sent + source, counts.requests_received + target);
            }
            EdgeKind::Unspecified => unreachable!("not made"),
        }
    }
    counts
}

pub fn list_at(state: &State, user: UserId, side: Side) -> Vec<ListRow> {
    let mut rows: Vec<ListRow> = state
        .iter()
        .filter(|(key, _)| key.kind == side.kind)
        .filter_map(|(key, held)| {
            let (at, other) = if side.outgoing { (key.source, key.target) } else { (key.target, key.source) };
            (at == user).then_some(ListRow::of(other, *held))
        })
        .collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.position));
    rows
}

pub fn relation_at(state: &State, viewer: UserId, other: UserId) -> Relation {
    let mut relation = Relation::default();
    for side in LINKS {
        let (source, target) = if side.outgoing { (viewer, other) } else { (other, viewer) };
        let held = state.get(&EdgeKey { kind: side.kind, source, target }).copied();
        *relation.slot(side).expect("a visible side") = held;
    }
    relation
}

impl History {
    /// Events that add absent edges, and update or remove present ones.
    pub fn of(steps: &[Vec<(usize, u128, u128, bool)>]) -> Self {
        let mut history = Self { events: Vec::new(), states: vec![State::new()] };
        for (revision, step) in (1..).zip(steps) {
            let mut state = history.states.last().expect("the first").clone();
            let mut edges = Vec::new();
            let mut names = BTreeSet::new();
            for (index, (kind, source, target, update)) in step.iter().enumerate() {
                let key = EdgeKey { kind: KINDS[*kind], source: user(*source), target: user(*target) };
                if source == target || !names.insert(key) {
                    continue;
                }
                let seconds = |n: u64| OffsetDateTime::UNIX_EPOCH + Duration::from_secs(n);
                let (op, position) = match state.get(&key) {
                    None => (EdgeOp::Added, Position::new(Revision(revision), index)),
                    Some(held) if *update => (EdgeOp::Updated, held.position),
                    Some(held) => (EdgeOp::Removed, held.position),
                };
                let expires_at = (op == EdgeOp::Updated).then(|| seconds(revision));
                edges.push(EdgeChange { key, op, position, created_at: seconds(position.0), expires_at });
                let held = Link {
                    position,
                    created_at_millis: i64::try_from(position.0 * 1_000).expect("small"),
                    expires_at_millis: expires_at.map(|_| i64::try_from(revision * 1_000).expect("small")),
                    revision: Revision(revision),
                };
                match op {
                    EdgeOp::Removed => state.remove(&key),
                    _ => state.insert(key, held),
                };
            }
            let touched: BTreeSet<UserId> = edges.iter().flat_map(|e| [e.key.source, e.key.target]).collect();
            let counts = touched.into_iter().map(|user| {
                let Counts { followers, following, muting, blocking, requests_sent, requests_received } =
                    counts_at(&state, user);
                AccountCounts {
                    user,
                    followers,
                    following,
                    muting,
                    blocking,
                    requests_sent,
                    requests_received,
                }
            });
            let event = Event {
                epoch: Epoch(1),
                revision: Revision(revision),
                event_id: Uuid::from_u128(u128::from(revision)),
                prev_id: None,
                committed_at: OffsetDateTime::UNIX_EPOCH,
                verb: Verb::Batch,
                actor: None,
                counts: counts.collect(),
                accounts: Vec::new(),
                edges,
            };
            history.events.push(LoggedEvent { payload: event.encode().into(), event, traceparent: None });
            history.states.push(state);
        }
        history
    }

    /// A ring that has read everything up to there, and holds the events after `floor`.
    pub fn read(&self, floor: usize, position: usize) -> Arc<Recent> {
        let recent = Recent::without_hot_set(Limits { events: usize::MAX, bytes: usize::MAX });
        recent.begin(token(floor));
        for arrival in &self.events[floor..position] {
            assert!(recent.push(arrival));
        }
        Arc::new(recent)
    }
}
