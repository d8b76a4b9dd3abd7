//! Tests of the ring: examples, and a comparison with a replay of all events.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proto::Epoch;
use proto::event::{EdgeKey, Event};
use time::OffsetDateTime;
use uuid::Uuid;

use super::*;

const KINDS: [EdgeKind; 4] = [EdgeKind::Follow, EdgeKind::Mute, EdgeKind::Block, EdgeKind::FollowRequest];

fn user(number: u128) -> UserId {
    UserId::new(Uuid::from_u128(number + 1)).expect("not nil")
}

fn token(revision: u64) -> Token {
    Token::new(Epoch(1), Revision(revision))
}

fn change(revision: u64, kind: EdgeKind, source: u128, target: u128, op: EdgeOp) -> EdgeChange {
    EdgeChange {
        key: EdgeKey { kind, source: user(source), target: user(target) },
        op,
        position: Position::new(Revision(revision), 0),
        created_at: OffsetDateTime::UNIX_EPOCH,
        expires_at: None,
    }
}

fn arrival(revision: u64, edges: Vec<EdgeChange>) -> LoggedEvent {
    let ends: BTreeSet<UserId> =
        edges.iter().flat_map(|change| [change.key.source, change.key.target]).collect();
    let counts = ends.into_iter().map(|user| AccountCounts {
        user,
        followers: revision,
        following: 0,
        muting: 0,
        blocking: 0,
        requests_sent: 0,
        requests_received: 0,
    });
    let event = Event {
        epoch: Epoch(1),
        revision: Revision(revision),
        event_id: Uuid::from_u128(u128::from(revision)),
        prev_id: None,
        committed_at: OffsetDateTime::UNIX_EPOCH + Duration::from_secs(revision),
        verb: if revision.is_multiple_of(2) { Verb::Follow } else { Verb::Block },
        actor: edges.first().map(|change| change.key.source),
        counts: counts.collect(),
        accounts: Vec::new(),
        edges,
    };
    let payload = event.encode().into();
    LoggedEvent { event, payload, traceparent: None }
}

fn ring(events: usize) -> Ring {
    let mut ring = Ring::new(Limits { events, bytes: usize::MAX });
    ring.begin(token(0));
    ring
}

#[test]
fn only_the_next_event_is_taken() {
    let mut ring = ring(10);
    assert_eq!(ring.push(&arrival(2, vec![])), Err(NotNext(Revision(2))));
    assert_eq!(ring.push(&arrival(1, vec![])), Ok(()));
    assert_eq!(ring.push(&arrival(1, vec![])), Err(NotNext(Revision(1))));
    let mut other = arrival(2, vec![]);
    other.event.epoch = Epoch(2);
    assert_eq!(ring.push(&other), Err(NotNext(Revision(2))));
    assert_eq!(ring.position(), Some(token(1)));
    assert_eq!(
        Ring::new(Limits { events: 1, bytes: 1 }).push(&arrival(1, vec![])),
        Err(NotNext(Revision(1)))
    );
}

#[test]
fn it_covers_from_its_floor_to_its_position_within_its_epoch() {
    let mut ring = ring(2);
    for revision in 1..=5 {
        ring.push(&arrival(revision, vec![])).expect("the next");
    }
    assert_eq!(ring.floor(), Some(token(3)));
    assert_eq!(ring.span(), Duration::from_secs(1));
    let covered: Vec<u64> = (0..8).filter(|revision| ring.covers(token(*revision))).collect();
    assert_eq!(covered, [3, 4, 5]);
    assert!(!ring.covers(Token::new(Epoch(2), Revision(4))));
    ring.begin(Token::new(Epoch(2), Revision(9)));
    assert!(ring.covers(Token::new(Epoch(2), Revision(9))) && !ring.covers(token(4)));
    assert_eq!((ring.events(), ring.bytes()), (0, 0));
    ring.forget();
    assert!(!ring.covers(Token::new(Epoch(2), Revision(9))));
}

#[test]
fn bytes_are_bounded_and_nothing_is_left_behind() {
    let event = arrival(1, vec![change(1, EdgeKind::Follow, 1, 2, EdgeOp::Added)]);
    let mut ring = Ring::new(Limits { events: usize::MAX, bytes: usize::MAX });
    ring.begin(token(0));
    ring.push(&event).expect("the next");
    let one = ring.bytes();
    let mut ring = Ring::new(Limits { events: usize::MAX, bytes: 10 * one });
    ring.begin(token(0));
    for revision in 1..=1_000 {
        let pair = (u128::from(revision), u128::from(revision) + 1);
        let edge = change(revision, EdgeKind::Follow, pair.0, pair.1, EdgeOp::Added);
        ring.push(&arrival(revision, vec![edge])).expect("the next");
        assert!(ring.bytes() <= 10 * one);
    }
    assert!((8..=10).contains(&ring.events()), "{}", ring.events());
    assert_eq!(ring.newest.len(), 2 * ring.events());
    assert_eq!(ring.counts.len(), ring.events() + 1);
    assert_eq!(ring.changes.len(), ring.events());
}

#[test]
fn an_event_larger_than_the_ring_leaves_it_empty_and_contiguous() {
    let mut ring = Ring::new(Limits { events: 10, bytes: 1 });
    ring.begin(token(0));
    ring.push(&arrival(1, vec![change(1, EdgeKind::Follow, 1, 2, EdgeOp::Added)])).expect("the next");
    assert_eq!((ring.events(), ring.floor(), ring.position()), (0, Some(token(1)), Some(token(1))));
    assert!(ring.newest.is_empty() && ring.counts.is_empty());
}

const UNLIMITED: ExcerptLimits = ExcerptLimits { events: usize::MAX, changes: usize::MAX, bytes: usize::MAX };

#[test]
fn excerpts_are_filtered_and_go_on_where_they_ended() {
    let mut ring = ring(10);
    for revision in 1..=6 {
        let edge = change(revision, EdgeKind::Follow, u128::from(revision % 3), 9, EdgeOp::Added);
        ring.push(&arrival(revision, vec![edge])).expect("the next");
    }
    let revisions = |filter: Filter, after, events| {
        let limits = ExcerptLimits { events, ..UNLIMITED };
        let excerpt = ring.excerpt(token(after), &filter.sorted(), limits).expect("it covers that");
        (excerpt.events.iter().map(|(revision, _)| revision.0).collect::<Vec<_>>(), excerpt.upto.0)
    };
    assert_eq!(revisions(Filter::default(), 0, 4), (vec![1, 2, 3, 4], 4));
    assert_eq!(revisions(Filter::default(), 4, 4), (vec![5, 6], 6));
    assert_eq!(revisions(Filter::default(), 6, 4), (vec![], 6));
    let blocks = Filter { verbs: vec![Verb::Block], ..Filter::default() };
    assert_eq!(revisions(blocks.clone(), 1, 4), (vec![3, 5], 5));
    let actors = Filter { actors: vec![user(2), user(0)], ..Filter::default() };
    assert_eq!(revisions(actors.clone(), 0, 9), (vec![2, 3, 5, 6], 6));
    let both = Filter { verbs: blocks.verbs, ..actors };
    assert_eq!(revisions(both, 0, 9), (vec![3, 5], 6));
    let targets = |target| Filter { targets: vec![user(target)], ..Filter::default() };
    assert_eq!(revisions(targets(9), 3, 9).0, [4, 5, 6]);
    assert_eq!(revisions(targets(1), 3, 9), (vec![], 6));
    assert_eq!(ring.excerpt(token(7), &Filter::default(), UNLIMITED), None);
}

#[test]
fn an_excerpt_is_limited_in_bytes() {
    let mut ring = ring(10);
    let events: Vec<_> = (1..=5).map(|revision| arrival(revision, Vec::new())).collect();
    events.iter().for_each(|event| ring.push(event).expect("the next"));
    let read = |after, bytes| {
        let limits = ExcerptLimits { bytes, ..UNLIMITED };
        let excerpt = ring.excerpt(token(after), &Filter::default(), limits).expect("it covers that");
        (excerpt.events.len(), excerpt.upto.0)
    };
    let two = events[0].payload.len() + events[1].payload.len();
    assert_eq!(read(0, two), (2, 2));
    assert_eq!(read(2, two), (2, 4));
    assert_eq!(read(0, 1), (1, 1), "one event always fits");
    let none = Filter { verbs: vec![Verb::Mute], ..Filter::default() };
    let limits = ExcerptLimits { bytes: 1, ..UNLIMITED };
    assert_eq!(ring.excerpt(token(0), &none, limits).expect("covered").upto, Revision(5));
}

#[test]
fn an_excerpt_is_limited_in_changes_that_a_filter_looks_at() {
    let mut ring = ring(10);
    for revision in 1..=4 {
        let edges = (0..3).map(|source| change(revision, EdgeKind::Follow, source, 9, EdgeOp::Added));
        ring.push(&arrival(revision, edges.collect())).expect("the next");
    }
    let nobody = Filter { targets: vec![user(8)], ..Filter::default() };
    let upto = |after, changes| {
        let limits = ExcerptLimits { changes, ..UNLIMITED };
        ring.excerpt(token(after), &nobody, limits).expect("it covers that").upto.0
    };
    assert_eq!((upto(0, 6), upto(2, 6)), (2, 4));
    assert_eq!(upto(0, 5), 1);
    assert_eq!(upto(1, 1), 2, "one event is always checked");
}

#[test]
fn a_ring_that_was_left_half_way_answers_nothing_until_it_begins_again() {
    let mut ring = ring(10);
    let edge = |revision| change(revision, EdgeKind::Follow, 1, 2, EdgeOp::Added);
    ring.push(&arrival(1, vec![edge(1)])).expect("the next");
    // What a panic in `push` leaves.
    ring.whole = false;
    assert_eq!((ring.position(), ring.floor(), ring.covers(token(0))), (None, None, false));
    assert_eq!(ring.excerpt(token(0), &Filter::default(), UNLIMITED), None);
    assert_eq!(ring.push(&arrival(2, vec![edge(2)])), Err(NotNext(Revision(2))));
    ring.begin(token(2));
    ring.push(&arrival(3, vec![edge(3)])).expect("the next");
    assert!(ring.covers(token(2)));
}

#[test]
fn a_filter_looks_at_each_verb_once_however_often_it_is_named() {
    let named = [Verb::Mute, Verb::Follow, Verb::Mute].repeat(10_000);
    let filter = Filter { verbs: named, ..Filter::default() }.sorted();
    assert_eq!(filter.verbs, [Verb::Follow, Verb::Mute]);
    let wants = |verb| filter.wants(verb, None, std::iter::empty());
    assert!(wants(Verb::Mute) && wants(Verb::Follow) && !wants(Verb::Block));
}

/// The last change of each edge of an account after a revision, from a replay of all events.
fn replayed(
    history: &[LoggedEvent],
    user: UserId,
    side: Side,
    since: Revision,
) -> (BTreeMap<UserId, Option<Link>>, usize) {
    let mut last = BTreeMap::new();
    let mut removals = 0;
    for arrival in history.iter().filter(|arrival| arrival.event.revision > since) {
        for change in &arrival.event.edges {
            let (at, other) = match side.outgoing {
                true => (change.key.source, change.key.target),
                false => (change.key.target, change.key.source),
            };
            if at != user || change.key.kind != side.kind {
                continue;
            }
            let held = Link {
                position: change.position,
                created_at_millis: timestamp::to_millis(change.created_at),
                expires_at_millis: change.expires_at.map(timestamp::to_millis),
                revision: arrival.event.revision,
            };
            let removed = change.op == EdgeOp::Removed;
            removals += usize::from(removed);
            last.insert(other, (!removed).then_some(held));
        }
    }
    (last, removals)
}

/// Events of a few edges between a few accounts.
fn histories() -> impl Strategy<Value = Vec<LoggedEvent>> {
    let edge = (0usize..4, 0u128..5, 0u128..5, 0usize..3, 0i64..1_000, prop::option::of(0i64..1_000));
    let events = prop::collection::vec(prop::collection::vec(edge, 0..5), 0..40);
    events.prop_map(|events| {
        let numbered = events.into_iter().zip(1u64..);
        numbered
            .map(|(edges, revision)| {
                let mut names = BTreeSet::new();
                let edges = edges.into_iter().filter_map(|(kind, source, target, op, created, expires)| {
                    let kind = KINDS[kind];
                    let op = [EdgeOp::Added, EdgeOp::Updated, EdgeOp::Removed][op];
                    let fresh = source != target && names.insert((kind, source, target));
                    let at = |seconds| OffsetDateTime::from_unix_timestamp(seconds).expect("a date");
                    fresh.then(|| EdgeChange {
                        created_at: at(created),
                        expires_at: expires.map(at),
                        ..change(revision, kind, source, target, op)
                    })
                });
                arrival(revision, edges.collect())
            })
            .collect()
    })
}

proptest! {
    #[test]
    fn it_says_what_a_replay_of_everything_says(history in histories(), events in 1usize..50) {
        let mut ring = ring(events);
        for arrival in &history {
            ring.push(arrival).expect("the next");
        }
        let floor = ring.floor().expect("it has a position").revision;
        prop_assert_eq!(floor.0, (history.len() as u64).saturating_sub(events as u64));
        for since in (floor.0..=history.len() as u64).map(Revision) {
            for user in (0..5).map(user) {
                for side in KINDS.into_iter().flat_map(|kind| [Side::outgoing(kind), Side::incoming(kind)]) {
                    let mut told = BTreeMap::new();
                    for touched in ring.touched(user, side, since) {
                        told.entry(touched.other).or_insert(touched.left);
                    }
                    let (wanted, removals) = replayed(&history, user, side, since);
                    prop_assert_eq!(told, wanted);
                    prop_assert_eq!(ring.removals(user, side, since, usize::MAX), removals);
                }
                let counts = history.iter().rev().filter(|arrival| arrival.event.revision > since);
                let last = counts.flat_map(|arrival| &arrival.event.counts).find(|told| told.user == user);
                prop_assert_eq!(ring.counts(user, since), last);
            }
        }
    }

    #[test]
    fn whatever_it_forgets_it_forgets_wholly(history in histories()) {
        let mut ring = ring(usize::MAX);
        for arrival in &history {
            ring.push(arrival).expect("the next");
        }
        while ring.events() > 0 {
            ring.drop_oldest();
        }
        prop_assert!(ring.newest.is_empty() && ring.counts.is_empty() && ring.changes.is_empty());
        prop_assert_eq!(ring.bytes(), 0);
        prop_assert_eq!(ring.floor(), ring.position());
    }
}
