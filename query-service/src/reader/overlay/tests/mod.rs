//! Tests of the overlay: whatever part of the changes under way a read model shows, the answer is the state at the
//! position.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proto::Epoch;
use proto::event::{AccountCounts, EdgeChange, EdgeKey, EdgeKind, EdgeOp, Event, Verb};
use time::OffsetDateTime;
use uuid::Uuid;

use super::*;
use crate::pipeline::{Arrival, Held, Limits};
use crate::reader::Link;

const WITHIN: Duration = Duration::from_secs(1);
const KINDS: [EdgeKind; 4] = [EdgeKind::Follow, EdgeKind::Mute, EdgeKind::Block, EdgeKind::FollowRequest];
const USERS: u128 = 6;

type State = BTreeMap<EdgeKey, Held>;

fn user(number: u128) -> UserId {
    UserId::new(Uuid::from_u128(number + 1)).expect("not nil")
}

fn everybody() -> Vec<UserId> {
    (0..USERS).map(user).collect()
}

fn token(revision: usize) -> Token {
    Token::new(Epoch(1), Revision(revision as u64))
}

/// A history, and the state after each of its events; the first is empty.
#[derive(Clone, Debug, Default)]
struct History {
    events: Vec<Arrival>,
    states: Vec<State>,
}

fn counts_at(state: &State, user: UserId) -> Counts {
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

fn list_at(state: &State, user: UserId, side: Side) -> Vec<ListRow> {
    let mut rows: Vec<ListRow> = state
        .iter()
        .filter(|(key, _)| key.kind == side.kind)
        .filter_map(|(key, held)| {
            let (at, other) = if side.outgoing { (key.source, key.target) } else { (key.target, key.source) };
            (at == user).then_some(ListRow {
                user: other,
                position: held.position,
                created_at_millis: held.created_at_millis,
                expires_at_millis: held.expires_at_millis,
            })
        })
        .collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.position));
    rows
}

fn relation_at(state: &State, viewer: UserId, other: UserId) -> Relation {
    let mut relation = Relation::default();
    for side in lay::SIDES {
        let (source, target) = if side.outgoing { (viewer, other) } else { (other, viewer) };
        let held = state.get(&EdgeKey { kind: side.kind, source, target });
        let link = held.map(|held| Link {
            position: held.position,
            created_at_millis: held.created_at_millis,
            expires_at_millis: held.expires_at_millis,
            revision: held.revision,
        });
        *relation.slot(side.kind, side.outgoing).expect("a side that is told") = link;
    }
    relation
}

impl History {
    /// Events that add what is not there, and update or remove what is.
    fn of(steps: &[Vec<(usize, u128, u128, bool)>]) -> Self {
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
                let held = Held {
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
            history.events.push(Arrival { payload: event.encode().into(), event });
            history.states.push(state);
        }
        history
    }

    /// This process has read everything up to there, and knows what came after `floor`.
    fn read(&self, floor: usize, position: usize) -> Arc<Recent> {
        let recent = Recent::new(Limits { events: usize::MAX, bytes: usize::MAX });
        recent.begin(token(floor));
        for arrival in &self.events[floor..position] {
            assert!(recent.push(arrival));
        }
        Arc::new(recent)
    }
}

/// A read model in the middle of its changes from one revision to another: of each edge it shows the state at any
/// revision in between, in a list even two of them.
struct Torn {
    states: Vec<State>,
    from: usize,
    to: usize,
    dice: u64,
}

impl Torn {
    fn roll(&self, what: impl std::hash::Hash) -> u64 {
        use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
        BuildHasherDefault::<DefaultHasher>::default().hash_one((self.dice, what))
    }

    fn at(&self, what: impl std::hash::Hash) -> &State {
        let revisions = (self.to - self.from + 1) as u64;
        &self.states[self.from + usize::try_from(self.roll(what) % revisions).expect("small")]
    }

    /// Each edge as it was at some revision in between.
    fn state(&self, again: bool) -> State {
        let keys: BTreeSet<EdgeKey> =
            self.states[self.from..=self.to].iter().flat_map(|s| s.keys().copied()).collect();
        let shown = keys.into_iter().filter_map(|key| Some((key, *self.at((key, again)).get(&key)?)));
        shown.collect()
    }

    fn answer<T>(&self, value: T) -> Result<Versioned<T>, Error> {
        Ok(Versioned::between(value, token(self.from), token(self.to)))
    }
}

#[async_trait]
impl Reader for Torn {
    fn multi(&self) -> Option<&dyn MultiReader> {
        None
    }

    async fn check(
        &self,
        viewer: UserId,
        targets: &[UserId],
        _: Duration,
    ) -> Result<Versioned<Vec<bool>>, Error> {
        let state = self.state(false);
        let key = |target| EdgeKey { kind: EdgeKind::Follow, source: viewer, target };
        self.answer(targets.iter().map(|target| state.contains_key(&key(*target))).collect())
    }

    async fn relations(
        &self,
        viewer: UserId,
        targets: &[UserId],
        _: Duration,
    ) -> Result<Versioned<Vec<Relation>>, Error> {
        let state = self.state(false);
        self.answer(targets.iter().map(|target| relation_at(&state, viewer, *target)).collect())
    }

    async fn list(
        &self,
        kind: ListKind,
        user: UserId,
        before: Option<Position>,
        limit: usize,
        _: Duration,
    ) -> Result<Versioned<Vec<ListRow>>, Error> {
        let side = Side::from(kind.edges());
        let mut rows = list_at(&self.state(false), user, side);
        for row in list_at(&self.state(true), user, side) {
            if rows.iter().all(|other| other.position != row.position) {
                rows.push(row);
            }
        }
        rows.retain(|row| before.is_none_or(|before| row.position < before));
        rows.sort_by_key(|row| std::cmp::Reverse(row.position));
        rows.truncate(limit);
        self.answer(rows)
    }

    async fn list_seen(
        &self,
        list: PublicList,
        user: UserId,
        before: Option<Position>,
        limit: usize,
        viewer: UserId,
        within: Duration,
    ) -> Result<Versioned<Vec<SeenRow>>, Error> {
        let rows = self.list(list.kind(), user, before, limit, within).await?;
        let state = self.state(true);
        Ok(rows.map(|rows| {
            let seen = |row: ListRow| SeenRow { row, relation: relation_at(&state, viewer, row.user) };
            rows.into_iter().map(seen).collect()
        }))
    }

    async fn counts(&self, users: &[UserId], _: Duration) -> Result<Versioned<Vec<Counts>>, Error> {
        self.answer(users.iter().map(|user| counts_at(self.at(user), *user)).collect())
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime").block_on(future)
}

fn exact<T>(outcome: Result<Versioned<T>, Error>, at: usize) -> T {
    let answer = outcome.expect("an answer");
    assert_eq!((answer.as_of, answer.target), (token(at), token(at)));
    answer.value
}

/// A history, what the read model is in the middle of, and where this process stands: from <= to <= position.
fn cases() -> impl Strategy<Value = (History, usize, usize, usize, u64)> {
    let step = prop::collection::vec((0usize..4, 0..USERS, 0..USERS, any::<bool>()), 0..4);
    (prop::collection::vec(step, 1..30), any::<[prop::sample::Index; 3]>(), any::<u64>()).prop_map(
        |(steps, places, dice)| {
            let mut at = places.map(|place| place.index(steps.len() + 1));
            at.sort_unstable();
            (History::of(&steps), at[0], at[1], at[2], dice)
        },
    )
}

proptest! {
    #[test]
    fn every_answer_is_the_state_at_the_position((history, from, to, position, dice) in cases()) {
        let torn = Torn { states: history.states.clone(), from, to, dice };
        let overlaid = Overlaid::new(torn, history.read(from, position), Duration::ZERO);
        let state = &history.states[position];
        let users = everybody();
        block_on(async {
            let counts = exact(overlaid.counts(&users, WITHIN).await, position);
            prop_assert_eq!(counts, users.iter().map(|user| counts_at(state, *user)).collect::<Vec<_>>());
            for viewer in &users {
                let follows = |target: &UserId| state.contains_key(&EdgeKey { kind: EdgeKind::Follow, source: *viewer, target: *target });
                let checks = exact(overlaid.check(*viewer, &users, WITHIN).await, position);
                prop_assert_eq!(checks, users.iter().map(follows).collect::<Vec<_>>());
                let relations = exact(overlaid.relations(*viewer, &users, WITHIN).await, position);
                let wanted: Vec<_> = users.iter().map(|other| relation_at(state, *viewer, *other)).collect();
                prop_assert_eq!(relations, wanted);
            }
            Ok(())
        })?;
    }

    #[test]
    fn every_page_is_a_page_of_the_list_at_the_position(
        (history, from, to, position, dice) in cases(),
        limit in 1usize..5,
    ) {
        let torn = Torn { states: history.states.clone(), from, to, dice };
        let overlaid = Overlaid::new(torn, history.read(from, position), Duration::ZERO);
        let state = &history.states[position];
        block_on(async {
            for user in everybody() {
                for kind in ListKind::ALL {
                    let wanted = list_at(state, user, kind.edges().into());
                    for before in std::iter::once(None).chain(wanted.iter().map(|row| Some(row.position))) {
                        let page: Vec<_> = wanted.iter().filter(|row| before.is_none_or(|b| row.position < b)).take(limit).copied().collect();
                        let given = exact(overlaid.list(kind, user, before, limit, WITHIN).await, position);
                        prop_assert_eq!(&given, &page, "{:?} of {} before {:?}", kind, user, before);
                        for (list, viewer) in [(PublicList::Followers, self::user(0)), (PublicList::Following, self::user(1))] {
                            if list.kind() != kind {
                                continue;
                            }
                            let seen = exact(overlaid.list_seen(list, user, before, limit, viewer, WITHIN).await, position);
                            let relation = |row: &ListRow| relation_at(state, viewer, row.user);
                            let page: Vec<_> = page.iter().map(|row| SeenRow { row: *row, relation: relation(row) }).collect();
                            prop_assert_eq!(seen, page, "{:?} of {} before {:?}", kind, user, before);
                        }
                    }
                }
            }
            Ok(())
        })?;
    }
}

/// User 0 follows 1 to 5, one after the other, then no longer 3.
fn follows_then_one_less() -> History {
    let follow = |target| vec![(0, 0, target, false)];
    History::of(&[follow(1), follow(2), follow(3), follow(4), follow(5), follow(3)])
}

fn overlaid(from: usize, to: usize, recent: Arc<Recent>, wait: Duration) -> Overlaid<Torn> {
    Overlaid::new(Torn { states: follows_then_one_less().states, from, to, dice: 0 }, recent, wait)
}

#[tokio::test(start_paused = true)]
async fn an_answer_of_one_revision_stands_for_itself_without_recent_events() {
    let nothing = || Arc::new(Recent::new(Limits { events: 1, bytes: 1 }));
    let of_one =
        overlaid(5, 5, nothing(), WITHIN).check(user(0), &[user(3)], WITHIN).await.expect("an answer");
    assert_eq!((of_one.value, of_one.as_of, of_one.origin.store_as_of), (vec![true], token(5), None));
    let torn = overlaid(5, 6, nothing(), WITHIN);
    assert!(matches!(torn.check(user(0), &[user(3)], WITHIN).await, Err(Error::NotExact)));
    assert!(matches!(torn.list(ListKind::Following, user(0), None, 9, WITHIN).await, Err(Error::NotExact)));
    assert!(matches!(torn.counts(&[user(0)], WITHIN).await, Err(Error::NotExact)));
}

#[tokio::test(start_paused = true)]
async fn an_answer_older_than_the_recent_events_is_not_exact() {
    let history = follows_then_one_less();
    let old = overlaid(2, 4, history.read(3, 6), WITHIN);
    assert!(matches!(old.check(user(0), &[user(3)], WITHIN).await, Err(Error::NotExact)));
    let young = overlaid(3, 4, history.read(3, 6), WITHIN).check(user(0), &[user(3)], WITHIN).await;
    assert_eq!(exact(young, 6), [false]);
}

#[tokio::test(start_paused = true)]
async fn it_waits_for_what_may_be_in_the_answer_but_not_for_long() {
    let history = follows_then_one_less();
    let recent = history.read(0, 4);
    let began = Instant::now();
    let wait = Duration::from_millis(200);
    let late = overlaid(4, 6, Arc::clone(&recent), wait);
    assert!(matches!(late.check(user(0), &[user(3)], WITHIN).await, Err(Error::NotExact)));
    assert_eq!(began.elapsed(), wait);
    let waiting = tokio::spawn(async move { late.check(user(0), &[user(3)], WITHIN).await });
    tokio::task::yield_now().await;
    assert!(recent.push(&history.events[4]) && recent.push(&history.events[5]));
    assert_eq!(exact(waiting.await.expect("no panic"), 6), [false]);
    assert_eq!(began.elapsed(), wait);
}

#[tokio::test(start_paused = true)]
async fn what_was_changed_is_told_to_those_who_ask() {
    let history = follows_then_one_less();
    let answer = overlaid(5, 5, history.read(0, 6), WITHIN).check(user(0), &[user(3)], WITHIN).await;
    let origin = answer.expect("an answer").origin;
    assert_eq!((origin.store_as_of, origin.overlaid_events), (Some(token(5)), 1));
}
