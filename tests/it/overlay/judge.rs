//! Compares answers with the events, replayed to exactly the revision of each.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};

use proto::etag::PairEdge;
use proto::event::{EdgeKey, EdgeKind, EdgeOp, Event};
use proto::graph::v1::Relationship;
use proto::query::v1 as wire;
use proto::{Epoch, Etag, Revision, Token, UserId, timestamp};
use tests::truth::{Edge, Replay};

use super::ask::{Answer, List, Observation, Page};
use super::hops::SetWalks;
use super::older::{Pending, Seen};

/// The edges of one kind that start, or end, at an account: by position, newest first.
type Rows = BTreeMap<Reverse<i64>, (UserId, Edge)>;

/// The state at a revision.
#[derive(Default)]
pub struct State {
    pub replay: Replay,
    /// Revision of each edge's last change.
    changed: BTreeMap<EdgeKey, Revision>,
    lists: HashMap<(UserId, EdgeKind, bool), Rows>,
}

/// Positions of walks: the next page, and the position below which it starts.
pub type Walks = HashMap<(u64, u64), (usize, Option<i64>)>;

/// Checks all of them; returns the number of walks with more than one page.
pub fn all(events: &[Event], mut seen: Vec<Observation>, older: Vec<Seen>) -> usize {
    assert_eq!(events.first().map(|event| event.revision), Some(Revision(1)), "the stream is whole");
    // Stable: pages of one walk at the same revision stay in order.
    seen.sort_by_key(|seen| seen.as_of);
    let mut state = State::default();
    let mut events = events.iter();
    let mut walks = Walks::new();
    let mut set_walks = SetWalks::new();
    let mut older = Pending::new(older);
    // Some were given before the first event.
    older.judge(&state);
    for observation in &seen {
        assert_eq!(observation.as_of.epoch, Epoch(1));
        while state.replay.revision < observation.as_of.revision {
            state.apply(events.next().unwrap_or_else(|| panic!("{observation:?} is of the future")));
            older.judge(&state);
        }
        if let Some(at_least) = observation.at_least {
            assert!(observation.as_of >= at_least, "older than {at_least}: {observation:?}");
        }
        judge(&state, observation, &mut walks, &mut set_walks);
    }
    for event in events {
        state.apply(event);
        older.judge(&state);
    }
    older.finish();
    walks.values().filter(|(pages, _)| *pages > 1).count()
}

impl State {
    fn apply(&mut self, event: &Event) {
        self.replay.apply(event);
        for change in &event.edges {
            let EdgeKey { kind, source, target } = change.key;
            for (user, other, outgoing) in [(source, target, true), (target, source, false)] {
                let rows = self.lists.entry((user, kind, outgoing)).or_default();
                let place = Reverse(change.position.as_i64());
                match self.replay.edges.get(&change.key) {
                    Some(edge) => rows.insert(place, (other, edge.to_the_millisecond())),
                    None => rows.remove(&place),
                };
            }
            match change.op {
                EdgeOp::Removed => self.changed.remove(&change.key),
                _ => self.changed.insert(change.key, event.revision),
            };
        }
    }

    pub fn edge(&self, kind: EdgeKind, source: UserId, target: UserId) -> Option<(Edge, Revision)> {
        let key = EdgeKey { kind, source, target };
        let edge = self.replay.edges.get(&key)?.to_the_millisecond();
        Some((edge, self.changed[&key]))
    }

    pub fn relationship(&self, viewer: UserId, other: UserId) -> Relationship {
        use EdgeKind::{Block, Follow, FollowRequest, Mute};
        let following = self.edge(Follow, viewer, other);
        let followed_by = self.edge(Follow, other, viewer);
        let requested = self.edge(FollowRequest, viewer, other);
        let request_received = self.edge(FollowRequest, other, viewer);
        let muting = self.edge(Mute, viewer, other);
        let blocking = self.edge(Block, viewer, other);
        let blocked_by = self.edge(Block, other, viewer);
        let known = [
            (Follow, true, following),
            (Follow, false, followed_by),
            (FollowRequest, true, requested),
            (FollowRequest, false, request_received),
            (Mute, true, muting),
            (Block, true, blocking),
            (Block, false, blocked_by),
        ];
        let known = known.into_iter().filter_map(|(kind, outgoing, edge)| {
            let (edge, revision) = edge?;
            let created_at_millis = timestamp::to_millis(edge.created_at);
            let expires_at_millis = edge.expires_at.map(timestamp::to_millis);
            Some(PairEdge { kind, outgoing, revision, created_at_millis, expires_at_millis })
        });
        let since =
            |edge: Option<(Edge, Revision)>| edge.map(|(edge, _)| timestamp::to_proto(edge.created_at));
        let until = |edge: Option<(Edge, Revision)>| {
            edge.and_then(|(edge, _)| edge.expires_at).map(timestamp::to_proto)
        };
        Relationship {
            user_id: other.to_string(),
            following: following.is_some(),
            followed_by: followed_by.is_some(),
            requested: requested.is_some(),
            request_received: request_received.is_some(),
            muting: muting.is_some(),
            muting_until: until(muting),
            blocking: blocking.is_some(),
            blocking_until: until(blocking),
            blocked_by: blocked_by.is_some(),
            following_since: since(following),
            followed_by_since: since(followed_by),
            mutual: following.is_some() && followed_by.is_some(),
            etag: Etag::of(viewer, other, known).to_string(),
        }
    }

    /// A list, newest first: positions and rows.
    pub fn list(&self, list: List, user: UserId) -> Vec<(i64, UserId, Edge)> {
        let (kind, outgoing) = match list {
            List::Followers => (EdgeKind::Follow, false),
            List::Following => (EdgeKind::Follow, true),
            List::Mutes => (EdgeKind::Mute, true),
            List::Blocks => (EdgeKind::Block, true),
            List::RequestsReceived => (EdgeKind::FollowRequest, false),
            List::RequestsSent => (EdgeKind::FollowRequest, true),
        };
        let rows = self.lists.get(&(user, kind, outgoing)).into_iter().flatten();
        rows.map(|(Reverse(position), (other, edge))| (*position, *other, *edge)).collect()
    }
}

fn judge(state: &State, seen: &Observation, walks: &mut Walks, set_walks: &mut SetWalks) {
    let at = Told { seen, as_of: seen.as_of };
    match &seen.answer {
        Answer::Checks { viewer, targets, following } => {
            let follows = |target: &UserId| state.edge(EdgeKind::Follow, *viewer, *target).is_some();
            at.same(following, &targets.iter().map(follows).collect());
        }
        Answer::Relationships { viewer, targets, relationships } => {
            let relationship = |other: &UserId| state.relationship(*viewer, *other);
            at.same(relationships, &targets.iter().map(relationship).collect());
        }
        Answer::Counts { viewer, users, counts } => {
            let wanted = |user: &UserId| {
                let told = state.replay.counts.get(user).copied().unwrap_or_default();
                // A count equals the length of its list.
                at.same(&told.followers, &(state.list(List::Followers, *user).len() as i64));
                at.same(&told.following, &(state.list(List::Following, *user).len() as i64));
                let unsigned = |count: i64| u64::try_from(count).expect("a count");
                let own = |count: i64| (user == viewer).then(|| unsigned(count));
                wire::Counts {
                    user_id: user.to_string(),
                    followers: unsigned(told.followers),
                    following: unsigned(told.following),
                    muting: own(told.muting),
                    blocking: own(told.blocking),
                    requests_sent: own(told.requests_sent),
                    requests_received: own(told.requests_received),
                }
            };
            at.same(counts, &users.iter().map(wanted).collect());
        }
        Answer::Page(page) => judge_page(state, page, &at, walks),
        Answer::Hops(hops) => hops.judge(state, &at, walks, set_walks),
    }
}

fn judge_page(state: &State, page: &Page, at: &Told<'_>, walks: &mut Walks) {
    let walk = walks.entry(page.walk).or_default();
    // If the walk had gone back in time, its pages would be in another order here.
    at.same(&page.number, &walk.0);
    let mut rows = state.list(page.list, page.user);
    rows.retain(|(position, ..)| walk.1.is_none_or(|before| *position < before));
    let relation = |other: UserId| page.viewer.map(|viewer| state.relationship(viewer, other));
    rows.retain(|(_, other, _)| relation(*other).is_none_or(|pair| !pair.blocking && !pair.blocked_by));
    at.same(&page.more, &(rows.len() > page.size));
    rows.truncate(page.size);
    let wanted: Vec<_> = rows
        .iter()
        .map(|(_, other, edge)| wire::ListedEdge {
            user_id: other.to_string(),
            created_at: Some(timestamp::to_proto(edge.created_at)),
            expires_at: edge.expires_at.map(timestamp::to_proto),
            relationship: relation(*other),
        })
        .collect();
    at.same(&page.edges, &wanted);
    *walk = (walk.0 + 1, rows.last().map(|(position, ..)| *position));
}

/// Fails with the difference and the answer.
pub struct Told<'a> {
    seen: &'a Observation,
    pub as_of: Token,
}

impl Told<'_> {
    #[track_caller]
    pub fn same<T: PartialEq + std::fmt::Debug>(&self, given: &T, wanted: &T) {
        assert!(
            given == wanted,
            "at revision {}:\ngiven  {given:?}\nwanted {wanted:?}\nin {:?}",
            self.as_of.revision,
            self.seen
        );
    }
}
