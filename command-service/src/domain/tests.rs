//! The rules, example by example, and against a model of a few lines.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proto::error::Reason;
use proto::event::{EdgeKey, EdgeKind, EdgeOp};
use proto::{Position, Revision, UserId};
use time::OffsetDateTime;
use uuid::Uuid;

use super::*;

fn user(n: u8) -> UserId {
    UserId::new(Uuid::from_u128(u128::from(n) + 1)).expect("not nil")
}

fn key(kind: EdgeKind, source: u8, target: u8) -> EdgeKey {
    EdgeKey { kind, source: user(source), target: user(target) }
}

fn edge() -> Edge {
    Edge {
        created_at: OffsetDateTime::UNIX_EPOCH,
        expires_at: None,
        position: Position(1),
        revision: Revision(1),
    }
}

fn with_edges(keys: impl IntoIterator<Item = EdgeKey>) -> Graph {
    Graph::new(keys.into_iter().map(|key| (key, edge())).collect(), BTreeMap::new())
}

fn with_account(n: u8, state: AccountState) -> Graph {
    Graph::new(BTreeMap::new(), BTreeMap::from([(user(n), Account { state, ..Account::default() })]))
}

fn follow(actor: u8, target: u8) -> Command {
    Command::Follow { actor: user(actor), target: user(target) }
}

fn unfollow(actor: u8, target: u8) -> Command {
    Command::Unfollow { actor: user(actor), target: user(target) }
}

fn import(pairs: &[(u8, u8)], on_conflict: OnConflict) -> Command {
    let edges = pairs
        .iter()
        .zip(0..)
        .map(|((s, t), index)| ImportEdge { index, key: key(EdgeKind::Follow, *s, *t), created_at: None })
        .collect();
    Command::Import { edges, on_conflict }
}

#[test]
fn following_twice_changes_nothing_the_second_time() {
    let graph = with_edges([key(EdgeKind::Follow, 1, 2)]);
    assert_eq!(decide(&graph, &follow(1, 2)), Ok(Decision::default()));
    assert_eq!(decide(&graph, &follow(2, 1)).map(|d| d.changes.len()), Ok(1));
}

#[test]
fn a_block_in_either_direction_stands_against_a_follow() {
    for block in [key(EdgeKind::Block, 1, 2), key(EdgeKind::Block, 2, 1)] {
        assert_eq!(decide(&with_edges([block]), &follow(1, 2)), Err(Refusal::Blocked));
    }
}

#[test]
fn unfollow_withdraws_a_request_too() {
    let graph = with_edges([key(EdgeKind::FollowRequest, 1, 2)]);
    let decision = decide(&graph, &unfollow(1, 2)).expect("allowed");
    assert_eq!(decision.changes.len(), 1);
    assert_eq!(decision.changes[0].op, EdgeOp::Removed);
    assert_eq!(decision.changes[0].key.kind, EdgeKind::FollowRequest);
}

#[test]
fn archived_accounts_can_be_let_go_of_and_nothing_else() {
    let graph = with_account(2, AccountState::Archived);
    assert_eq!(decide(&graph, &follow(1, 2)), Err(Refusal::Archived(user(2))));
    assert!(decide(&graph, &unfollow(1, 2)).is_ok());
    assert_eq!(decide(&graph, &unfollow(2, 1)), Err(Refusal::Archived(user(2))));
    let graph = with_account(1, AccountState::Erasing);
    assert_eq!(decide(&graph, &follow(1, 2)), Err(Refusal::Erasing(user(1))));
}

#[test]
fn a_bad_edge_does_not_hold_up_an_import() {
    let graph = with_edges([key(EdgeKind::Follow, 1, 2), key(EdgeKind::Block, 4, 3)]);
    let pairs = [(1, 2), (3, 4), (5, 6), (5, 6)];
    let decision = decide(&graph, &import(&pairs, OnConflict::Skip)).expect("imports are answered by edge");
    assert_eq!((decision.import.accepted, decision.import.unchanged), (1, 2));
    assert_eq!(decision.import.refused, [RefusedEdge { index: 1, reason: Reason::Blocked }]);

    let decision = decide(&graph, &import(&pairs, OnConflict::Fail)).expect("imports are answered by edge");
    let refused: Vec<_> = decision.import.refused.iter().map(|r| (r.index, r.reason)).collect();
    assert_eq!(refused, [(0, Reason::EdgeExists), (1, Reason::Blocked), (3, Reason::EdgeExists)]);
}

#[test]
fn an_edge_that_came_and_went_within_a_batch_is_not_written() {
    let mut graph = with_edges([key(EdgeKind::Follow, 1, 2)]);
    for (revision, command) in (2..).map(Revision).zip([follow(3, 4), unfollow(3, 4), unfollow(1, 2)]) {
        let decision = decide(&graph, &command).expect("allowed");
        graph.commit(&decision.changes, Stamp { revision, time: OffsetDateTime::UNIX_EPOCH });
    }
    assert_eq!(graph.edges_to_put().count(), 0);
    assert_eq!(graph.edges_to_delete().collect::<Vec<_>>(), [&key(EdgeKind::Follow, 1, 2)]);
    // Their rows are written all the same: counts are absolute.
    assert_eq!(graph.accounts_to_put().count(), 4);
}

proptest! {
    /// The graph after any sequence is the set that a model holds; counts are the
    /// set's, in every event.
    #[test]
    fn graph_and_counts_follow_a_set(commands in proptest::collection::vec((any::<bool>(), 0u8..5, 0u8..5), 0..60)) {
        let mut graph = Graph::default();
        let mut model = BTreeSet::new();
        let mut revision = Revision::ZERO;
        for (follows, actor, target) in commands.into_iter().filter(|(_, a, b)| a != b) {
            let command = if follows { follow(actor, target) } else { unfollow(actor, target) };
            let decision = decide(&graph, &command).expect("nothing stands against it");
            let changed = if follows { model.insert((actor, target)) } else { model.remove(&(actor, target)) };
            prop_assert_eq!(!decision.changes.is_empty(), changed);
            if changed {
                revision = revision.next();
                let (told, counts) = graph.commit(&decision.changes, Stamp { revision, time: OffsetDateTime::UNIX_EPOCH });
                prop_assert_eq!(told.len(), 1);
                for count in counts {
                    let followers = model.iter().filter(|(_, t)| user(*t) == count.user).count() as u64;
                    let following = model.iter().filter(|(s, _)| user(*s) == count.user).count() as u64;
                    prop_assert_eq!((count.followers, count.following), (followers, following));
                }
            }
        }
        let left: BTreeSet<_> = graph.edges_to_put().map(|(key, _)| *key).collect();
        let wanted: BTreeSet<_> = model.iter().map(|(s, t)| key(EdgeKind::Follow, *s, *t)).collect();
        prop_assert_eq!(left, wanted);
    }
}
