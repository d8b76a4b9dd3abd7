//! Tests of the rules (I11 and I12 among them): examples, and a comparison with a model.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proto::error::Reason;
use proto::event::{AccountChange, AccountOp, EdgeKey, EdgeKind, EdgeOp};
use proto::{Position, Revision, UserId};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::change::Op;
use super::*;

const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;
const RULES: Rules = Rules { now: NOW, follow_cap: FollowCap { base: 3, per_follower: 1.0 } };

fn user(n: u8) -> UserId {
    UserId::new(Uuid::from_u128(u128::from(n) + 1)).expect("not nil")
}

fn key(kind: EdgeKind, source: u8, target: u8) -> EdgeKey {
    EdgeKey { kind, source: user(source), target: user(target) }
}

fn edge() -> Edge {
    Edge { created_at: NOW, expires_at: None, position: Position(1), revision: Revision(1) }
}

fn with_edges(keys: impl IntoIterator<Item = EdgeKey>) -> Graph {
    Graph::new(keys.into_iter().map(|key| (key, edge())).collect(), BTreeMap::new())
}

fn with_account(n: u8, account: Account) -> Graph {
    Graph::new(BTreeMap::new(), BTreeMap::from([(user(n), account)]))
}

fn with_state(n: u8, state: AccountState) -> Graph {
    with_account(n, Account { state, ..Account::default() })
}

fn pair(actor: u8, other: u8, action: Action) -> Command {
    Command::Pair(PairCommand { actor: user(actor), other: user(other), action, expects: None })
}

fn follow(actor: u8, target: u8) -> Command {
    pair(actor, target, Action::Follow)
}

fn unfollow(actor: u8, target: u8) -> Command {
    pair(actor, target, Action::Unfollow)
}

fn changes(graph: &Graph, command: &Command) -> Vec<(EdgeKey, Op)> {
    let decision = decide(graph, command, &RULES).expect("allowed");
    decision.changes.iter().map(|change| (change.key, change.op)).collect()
}

fn refusal(graph: &Graph, command: &Command) -> Refusal {
    decide(graph, command, &RULES).expect_err("refused").refusal
}

/// Executes a command at a revision.
fn execute(graph: &mut Graph, command: &Command, revision: u64) {
    let decision = decide(graph, command, &RULES).expect("allowed");
    let stamp = Stamp { revision: Revision(revision), time: NOW };
    graph.commit(&decision.changes, &decision.accounts, stamp).expect("all is known");
}

const ADD: Op = Op::Add { created_at: None, expires_at: None };

#[test]
fn following_twice_changes_nothing_the_second_time() {
    let graph = with_edges([key(EdgeKind::Follow, 1, 2)]);
    assert_eq!(changes(&graph, &follow(1, 2)), []);
    assert_eq!(changes(&graph, &follow(2, 1)), [(key(EdgeKind::Follow, 2, 1), ADD)]);
}

#[test]
fn a_block_in_either_direction_stands_against_a_follow() {
    for block in [key(EdgeKind::Block, 1, 2), key(EdgeKind::Block, 2, 1)] {
        assert_eq!(refusal(&with_edges([block]), &follow(1, 2)), Refusal::Blocked);
    }
}

#[test]
fn unfollow_withdraws_a_request_too() {
    let request = key(EdgeKind::FollowRequest, 1, 2);
    assert_eq!(changes(&with_edges([request]), &unfollow(1, 2)), [(request, Op::Remove)]);
}

#[test]
fn a_block_ends_all_that_links_the_two_and_unblock_brings_nothing_back() {
    let links = [key(EdgeKind::Follow, 1, 2), key(EdgeKind::FollowRequest, 2, 1), key(EdgeKind::Mute, 1, 2)];
    let mut graph = with_edges(links);
    let block = pair(1, 2, Action::Block { expires_at: None });
    assert_eq!(
        changes(&graph, &block),
        [(links[0], Op::Remove), (links[1], Op::Remove), (key(EdgeKind::Block, 1, 2), ADD)]
    );
    execute(&mut graph, &block, 2);
    assert_eq!(changes(&graph, &pair(1, 2, Action::Unblock)), [(key(EdgeKind::Block, 1, 2), Op::Remove)]);
}

#[test]
fn another_expiry_is_set_and_the_same_one_changes_nothing() {
    let until = Some(NOW + Duration::hours(1));
    let mute = |expires_at| pair(1, 2, Action::Mute { expires_at });
    let mut graph = Graph::default();
    execute(&mut graph, &mute(until), 1);
    assert_eq!(changes(&graph, &mute(until)), []);
    assert_eq!(changes(&graph, &mute(None)), [(key(EdgeKind::Mute, 1, 2), Op::SetExpiry(None))]);
    assert_eq!(refusal(&graph, &mute(Some(NOW))), Refusal::ExpiryPast);
    assert_eq!(refusal(&graph, &mute(Some(NOW + Duration::days(3_654)))), Refusal::ExpiryTooFar);
}

#[test]
fn a_private_account_gets_a_request_and_accepts_or_rejects_it() {
    let private = Account { private: true, ..Account::default() };
    let mut graph = with_account(2, private);
    let (request, follows) = (key(EdgeKind::FollowRequest, 1, 2), key(EdgeKind::Follow, 1, 2));
    assert_eq!(changes(&graph, &follow(1, 2)), [(request, ADD)]);
    assert_eq!(refusal(&graph, &pair(2, 1, Action::AcceptRequest)), Refusal::NoRequest);
    execute(&mut graph, &follow(1, 2), 1);
    assert_eq!(changes(&graph, &follow(1, 2)), []);
    let accept = pair(2, 1, Action::AcceptRequest);
    assert_eq!(changes(&graph, &accept), [(request, Op::Remove), (follows, ADD)]);
    assert_eq!(changes(&graph, &pair(2, 1, Action::RejectRequest)), [(request, Op::Remove)]);
    assert_eq!(changes(&graph, &pair(1, 2, Action::CancelRequest)), [(request, Op::Remove)]);
    execute(&mut graph, &accept, 2);
    assert_eq!(changes(&graph, &accept), []);
    assert_eq!(changes(&graph, &pair(2, 1, Action::RemoveFollower)), [(follows, Op::Remove)]);
}

#[test]
fn a_cap_counts_requests_and_grows_with_followers() {
    let asked = Account { following: 2, requests_sent: 1, ..Account::default() };
    assert_eq!(refusal(&with_account(1, asked), &follow(1, 2)), Refusal::FollowCap { user: user(1), cap: 3 });
    let popular = Account { followers: 4, ..asked };
    assert_eq!(changes(&with_account(1, popular), &follow(1, 2)).len(), 1);
}

#[test]
fn archived_accounts_can_be_unfollowed_and_blocked() {
    for state in [AccountState::Archived, AccountState::Restoring] {
        let mut graph = with_state(2, state);
        graph.archived = Layer::new(BTreeMap::from([(key(EdgeKind::Follow, 1, 2), edge())]));
        assert_eq!(refusal(&graph, &follow(1, 2)), Refusal::Archived(user(2)));
        assert_eq!(refusal(&graph, &unfollow(2, 1)), Refusal::Archived(user(2)));
        let hidden = (key(EdgeKind::Follow, 1, 2), Op::RemoveArchived);
        assert_eq!(changes(&graph, &unfollow(1, 2)), [hidden]);
        let block = pair(1, 2, Action::Block { expires_at: None });
        let kept_away = (key(EdgeKind::Block, 1, 2), Op::AddArchived { expires_at: None });
        assert_eq!(changes(&graph, &block), [hidden, kept_away]);
        // No event shows it.
        let decision = decide(&graph, &block, &RULES).expect("allowed");
        let (edges, counts) = graph
            .commit(&decision.changes, &[], Stamp { revision: Revision(2), time: NOW })
            .expect("all is known");
        assert!(edges.is_empty() && counts.is_empty());
        assert_eq!(graph.archived.to_insert().count(), 1);
        assert_eq!(graph.archived.to_delete().count(), 1);
    }
    assert_eq!(refusal(&with_state(1, AccountState::Erasing), &unfollow(2, 1)), Refusal::Erasing(user(1)));
}

#[test]
fn hidden_edges_come_back_where_both_ends_take_part_and_their_time_is_not_over() {
    let mut graph = Graph::new(
        BTreeMap::new(),
        BTreeMap::from([
            (user(1), Account { state: AccountState::Restoring, ..Account::default() }),
            (user(3), Account { state: AccountState::Archived, ..Account::default() }),
        ]),
    );
    let (back, stays, over) =
        (key(EdgeKind::Follow, 2, 1), key(EdgeKind::Follow, 1, 3), key(EdgeKind::Mute, 1, 4));
    let old = Edge { position: Position(77), ..edge() };
    let run_out = Edge { expires_at: Some(NOW), ..edge() };
    graph.archived = Layer::new(BTreeMap::from([(back, old), (stays, edge()), (over, run_out)]));
    let steps = restore_step(&graph, &[back, stays, over], NOW);
    let ops: Vec<_> = steps.iter().map(|change| (change.key, change.op)).collect();
    assert_eq!(ops, [(back, Op::Restore), (over, Op::RemoveArchived)]);
    let (edges, _) =
        graph.commit(&steps, &[], Stamp { revision: Revision(9), time: NOW }).expect("all is known");
    assert_eq!(edges.len(), 1);
    assert_eq!((edges[0].op, edges[0].position), (EdgeOp::Added, Position(77)));
    assert_eq!(graph.account(user(1)).followers, 1);
}

fn follow_expecting(expects: Expects) -> Command {
    Command::Pair(PairCommand {
        actor: user(1),
        other: user(2),
        action: Action::Follow,
        expects: Some(expects),
    })
}

fn not_as_expected() -> Refusal {
    Refusal::NotAsExpected { actor: user(1), other: user(2) }
}

#[test]
fn preconditions_compare_with_the_pair_as_its_viewer_sees_it() {
    let mut newer = edge();
    newer.revision = Revision(5);
    // A mute by the other account is hidden from the viewer.
    let without_mute = with_edges([key(EdgeKind::Follow, 2, 1)]);
    let graph = Graph::new(
        BTreeMap::from([(key(EdgeKind::Follow, 2, 1), edge()), (key(EdgeKind::Mute, 2, 1), newer)]),
        BTreeMap::new(),
    );
    let seen = without_mute.pair_etag(user(1), user(2));
    assert_eq!(graph.pair_etag(user(1), user(2)), seen);
    assert_ne!(graph.pair_etag(user(2), user(1)), without_mute.pair_etag(user(2), user(1)), "its own mute");
    for expects in [Expects::Etag(Some(seen)), Expects::Following(false)] {
        assert_eq!(changes(&graph, &follow_expecting(expects)).len(), 1);
    }
    let of_the_other = graph.pair_etag(user(2), user(1));
    for expects in [Expects::Etag(Some(of_the_other)), Expects::Etag(None), Expects::Following(true)] {
        assert_eq!(refusal(&graph, &follow_expecting(expects)), not_as_expected());
    }
}

#[test]
fn the_removal_of_any_visible_edge_changes_the_etag() {
    let mut all = BTreeMap::new();
    for (revision, kind) in
        (1..).zip([EdgeKind::Follow, EdgeKind::FollowRequest, EdgeKind::Mute, EdgeKind::Block])
    {
        for (source, target) in [(1, 2), (2, 1)] {
            all.insert(key(kind, source, target), Edge { revision: Revision(revision), ..edge() });
        }
    }
    let read = Graph::new(all.clone(), BTreeMap::new()).pair_etag(user(1), user(2));
    for ended in all.keys() {
        let mut left = all.clone();
        left.remove(ended);
        let now = Graph::new(left, BTreeMap::new()).pair_etag(user(1), user(2));
        let hidden = *ended == key(EdgeKind::Mute, 2, 1);
        assert_eq!(now == read, hidden, "{ended:?}");
    }
}

#[test]
fn a_precondition_in_a_batch_sees_its_earlier_commands() {
    let graph = with_edges([key(EdgeKind::Follow, 1, 2)]);
    let read = graph.pair_etag(user(1), user(2));
    let Command::Pair(expecting) = follow_expecting(Expects::Etag(Some(read))) else { panic!("a pair") };
    let batch = |first: Command| {
        let Command::Pair(first) = first else { panic!("a pair") };
        decide(&graph, &Command::Batch(vec![first, expecting]), &RULES)
    };
    assert!(batch(follow(1, 3)).is_ok(), "another pair");
    let refused = batch(unfollow(1, 2)).expect_err("the pair has changed");
    assert_eq!(refused, Refused { refusal: not_as_expected(), index: Some(1) });
}

#[test]
fn a_batch_is_the_net_of_its_commands_or_nothing() {
    let graph = with_edges([key(EdgeKind::Follow, 1, 2)]);
    let of = |commands: &[Command]| {
        let pairs = commands.iter().map(|command| match command {
            Command::Pair(pair) => *pair,
            _ => panic!("a pair"),
        });
        Command::Batch(pairs.collect())
    };
    // An edge that is removed and added again does not change; one that is added and removed never existed.
    let commands = [unfollow(1, 2), follow(1, 2), follow(3, 4), unfollow(3, 4), follow(5, 6)];
    let decision = decide(&graph, &of(&commands), &RULES).expect("allowed");
    assert_eq!(decision.report, Report::Batch(vec![true; 5]));
    assert_eq!(changes(&graph, &of(&commands)), [(key(EdgeKind::Follow, 5, 6), ADD)]);
    // The rules see the earlier commands of the batch.
    let commands = [pair(2, 1, Action::Block { expires_at: None }), follow(1, 2)];
    let refused = decide(&graph, &of(&commands), &RULES).expect_err("refused");
    assert_eq!(refused, Refused { refusal: Refusal::Blocked, index: Some(1) });
}

fn target(n: u8) -> Target {
    Target { user: user(n), state: AccountState::Active, private: false, blocked: false }
}

fn listed(follows: &[u8], requests: &[u8]) -> Listed {
    let users = |numbers: &[u8]| numbers.iter().map(|n| user(*n)).collect();
    Listed { follows: users(follows), requests: users(requests) }
}

#[test]
fn a_replaced_list_keeps_what_stays_and_lists_the_first_as_the_newest() {
    let private = Target { private: true, ..target(6) };
    let planned = plan(user(1), &listed(&[2, 3], &[7]), &[target(4), target(3), private]).expect("allowed");
    let changed: Vec<_> = planned.changes.iter().map(|change| (change.key, change.op)).collect();
    assert_eq!(
        changed,
        [
            (key(EdgeKind::Follow, 1, 2), Op::Remove),
            (key(EdgeKind::FollowRequest, 1, 7), Op::Remove),
            (key(EdgeKind::FollowRequest, 1, 6), ADD),
            (key(EdgeKind::Follow, 1, 4), ADD),
        ]
    );
    let counts = ReplaceCounts { added: 1, removed: 2, requested: 1 };
    let (added, removed, requested) = (vec![user(4)], vec![user(2), user(7)], vec![user(6)]);
    assert_eq!(planned.report, ReplaceReport { added, removed, requested, counts });
    let blocked = Target { blocked: true, ..target(5) };
    let refused = plan(user(1), &Listed::default(), &[target(2), blocked]).expect_err("refused");
    assert_eq!(refused, Refused { refusal: Refusal::Blocked, index: Some(1) });
    let erasing = Target { state: AccountState::Erasing, ..target(5) };
    let refused = plan(user(1), &listed(&[5], &[]), &[erasing]).expect_err("refused, though it is followed");
    assert_eq!(refused, Refused { refusal: Refusal::Erasing(user(5)), index: Some(0) });
}

#[test]
fn a_list_above_the_cap_may_only_remove() {
    let (account, cap) = (Account { following: 5, ..Account::default() }, RULES.follow_cap);
    let users = |numbers: &[u8]| numbers.iter().map(|n| user(*n)).collect::<Vec<_>>();
    let listed = listed(&[2, 3, 4, 5, 6], &[]);
    let check = |targets: &[u8]| {
        check_actor(user(1), &account, targets.len(), &cap)
            .and_then(|()| check_cap(user(1), &account, &listed, &users(targets), &cap))
    };
    assert_eq!(check(&[2, 3, 4, 5]), Ok(()), "four of five, with a cap of three");
    let refusal: Refused = Refusal::FollowCap { user: user(1), cap: 3 }.into();
    assert_eq!(check(&[2, 3, 4, 7]), Err(refusal), "one of them is new");
    assert_eq!(check(&[2, 3, 7]), Ok(()), "not above the cap");
    assert_eq!(check_actor(user(1), &account, 6, &cap), Err(refusal), "one must be new");
}

/// A plan that replaces account 2 by account 3 in the list of account 1.
fn planned_swap() -> (Graph, Replacement) {
    let mut graph = Graph::new(
        [(key(EdgeKind::Follow, 1, 2), edge())].into(),
        BTreeMap::from([(user(1), Account { following: 1, ..Account::default() })]),
    );
    graph.unchanged_lists.insert(user(1));
    let plan = plan(user(1), &listed(&[2], &[]), &[target(3)]).expect("allowed");
    let planned = Replacement {
        actor: user(1),
        seen: proto::Token::new(proto::Epoch(1), Revision(1)),
        listed: 1,
        size: 1,
        report: plan.report,
        work: Work::Now(plan.changes),
    };
    (graph, planned)
}

#[test]
fn a_plan_is_accepted_while_its_list_is_unchanged() {
    let (mut graph, planned) = planned_swap();
    let replace = Command::ReplaceFollowing(planned);
    let swapped = [(key(EdgeKind::Follow, 1, 2), Op::Remove), (key(EdgeKind::Follow, 1, 3), ADD)];
    assert_eq!(changes(&graph, &replace), swapped);
    execute(&mut graph, &follow(1, 4), 2);
    assert_eq!(refusal(&graph, &replace), Refusal::ListChanged, "one more");
    execute(&mut graph, &unfollow(1, 4), 3);
    assert_eq!(changes(&graph, &replace), swapped, "as it was");
    execute(&mut graph, &unfollow(1, 2), 4);
    execute(&mut graph, &follow(1, 5), 5);
    assert_eq!(refusal(&graph, &replace), Refusal::ListChanged, "another one instead");
}

#[test]
fn a_plan_is_refused_if_a_touched_account_or_block_has_changed() {
    let private = Account { private: true, ..Account::default() };
    let archived = Account { state: AccountState::Archived, ..Account::default() };
    for account in [private, archived] {
        let (graph, planned) = planned_swap();
        let mut accounts = BTreeMap::from([(user(3), account)]);
        accounts.insert(user(1), graph.account(user(1)));
        let mut graph = Graph::new([(key(EdgeKind::Follow, 1, 2), edge())].into(), accounts);
        graph.unchanged_lists.insert(user(1));
        assert_eq!(refusal(&graph, &Command::ReplaceFollowing(planned)), Refusal::ListChanged);
    }
    let (mut graph, planned) = planned_swap();
    execute(&mut graph, &pair(3, 1, Action::Block { expires_at: None }), 2);
    assert_eq!(refusal(&graph, &Command::ReplaceFollowing(planned)), Refusal::ListChanged);
    let (_, planned) = planned_swap();
    let elsewhere = with_account(1, Account { following: 1, ..Account::default() });
    assert_eq!(refusal(&elsewhere, &Command::ReplaceFollowing(planned)), Refusal::ListChanged);
}

#[test]
fn a_job_whose_list_was_discarded_is_not_started() {
    let (mut graph, planned) = planned_swap();
    let [kept, discarded] = [1, 2].map(Uuid::from_u128);
    graph.discarded_lists.insert(discarded);
    let replace =
        |job_id| Command::ReplaceFollowing(Replacement { work: Work::Job(job_id), ..planned.clone() });
    assert_eq!(refusal(&graph, &replace(discarded)), Refusal::ListDiscarded);
    let decision = decide(&graph, &replace(kept), &RULES).expect("allowed");
    assert_eq!(decision.job.and_then(|job| job.prepared), Some(kept));
}

#[test]
fn a_job_that_replaces_a_list_leaves_hidden_follows_alone() {
    let mut graph = with_state(2, AccountState::Archived);
    let hidden = [key(EdgeKind::Follow, 1, 2), key(EdgeKind::Follow, 1, 3)].map(|key| (key, edge()));
    graph.archived = Layer::new(hidden.into());
    assert_eq!(remove_step(&graph, user(1), &[user(2), user(3)]), []);
    let added = add_step(&graph, user(1), &[user(2), user(4)]);
    assert_eq!(added, [Change::add(key(EdgeKind::Follow, 1, 4))]);
}

#[test]
fn account_actions_depend_on_the_state_of_the_account() {
    let act = |action| Command::Account { user: user(1), action };
    let decided = |state, action| decide(&with_state(1, state), &act(action), &RULES);
    let op =
        |state, action| decided(state, action).expect("allowed").accounts.first().map(|change| change.op);
    use AccountAction::{Archive, Erase, Restore, SetPrivacy};
    use AccountState::{Active, Archived, Erasing, Restoring};
    assert_eq!(op(Active, Archive), Some(AccountOp::Archived));
    assert_eq!(op(Archived, Archive), None);
    assert_eq!(op(Restoring, Archive), Some(AccountOp::Archived));
    assert_eq!(op(Archived, Restore), Some(AccountOp::Restored));
    assert_eq!(op(Active, Restore), None);
    assert_eq!(op(Archived, Erase), Some(AccountOp::EraseStarted));
    assert_eq!(op(Erasing, Erase), None);
    let job = |state, action| decided(state, action).expect("allowed").job.map(|job| job.kind);
    assert_eq!(job(Erasing, Erase), Some(JobKind::Erase), "its job has failed");
    assert_eq!(job(Restoring, Restore), Some(JobKind::Restore));
    assert_eq!(job(Archived, Archive), None, "no live edge is left");
    // Its job failed before it archived the mutes and blocks by others.
    let mut muted = with_state(1, Archived);
    muted.shown_by_others.insert(user(1));
    let decision = decide(&muted, &act(Archive), &RULES).expect("allowed");
    assert_eq!((decision.accounts, decision.job.map(|job| job.kind)), (vec![], Some(JobKind::Archive)));
    assert_eq!(op(Active, SetPrivacy { private: true }), Some(AccountOp::MadePrivate));
    for action in [Archive, Restore, SetPrivacy { private: true }] {
        assert_eq!(decided(Erasing, action).expect_err("refused").refusal, Refusal::Erasing(user(1)));
    }
    let asked = Account { private: true, requests_received: 1, ..Account::default() };
    let public = act(SetPrivacy { private: false });
    let decision = decide(&with_account(1, asked), &public, &RULES).expect("allowed");
    assert_eq!(decision.accounts, [AccountChange { user: user(1), op: AccountOp::MadePublic }]);
    assert_eq!(decision.job.expect("a request is pending").kind, JobKind::MakePublic);
    // A make_public job was overtaken and its next step has not run.
    let mut again = with_account(1, asked);
    again.running_jobs.insert((user(1), JobKind::MakePublic), Uuid::from_u128(9));
    let decision = decide(&again, &act(SetPrivacy { private: true }), &RULES).expect("allowed");
    assert_eq!(decision, Decision::default());
}

#[test]
fn a_refused_edge_does_not_stop_an_import() {
    let import = |on_conflict| {
        let pairs = [(1, 2), (3, 4), (5, 6), (5, 6)];
        let edge = |((s, t), index): ((u8, u8), u32)| ImportEdge {
            index,
            key: key(EdgeKind::Follow, s, t),
            created_at: None,
            expires_at: None,
        };
        Command::Import { edges: pairs.into_iter().zip(0..).map(edge).collect(), on_conflict }
    };
    let graph = with_edges([key(EdgeKind::Follow, 1, 2), key(EdgeKind::Block, 4, 3)]);
    let report = |on_conflict| match decide(&graph, &import(on_conflict), &RULES).expect("by edge").report {
        Report::Import(report) => report,
        other => panic!("{other:?}"),
    };
    let skipped = report(OnConflict::Skip);
    assert_eq!((skipped.accepted, skipped.unchanged), (1, 2));
    assert_eq!(skipped.refused, [RefusedEdge { index: 1, reason: Reason::Blocked }]);
    let refused: Vec<_> = report(OnConflict::Fail).refused.iter().map(|r| (r.index, r.reason)).collect();
    assert_eq!(refused, [(0, Reason::EdgeExists), (1, Reason::Blocked), (3, Reason::EdgeExists)]);
}

#[test]
fn imported_blocks_in_both_directions_remove_a_follow_once() {
    let graph = with_edges([key(EdgeKind::Follow, 1, 2)]);
    let edge = |index, key| ImportEdge { index, key, created_at: None, expires_at: None };
    let edges = vec![edge(0, key(EdgeKind::Block, 1, 2)), edge(1, key(EdgeKind::Block, 2, 1))];
    let made = changes(&graph, &Command::Import { edges, on_conflict: OnConflict::Skip });
    assert_eq!(
        made,
        [
            (key(EdgeKind::Follow, 1, 2), Op::Remove),
            (key(EdgeKind::Block, 1, 2), ADD),
            (key(EdgeKind::Block, 2, 1), ADD)
        ]
    );
}

#[test]
fn an_edge_added_and_removed_within_a_batch_is_not_written() {
    let mut graph = with_edges([key(EdgeKind::Follow, 1, 2)]);
    for (revision, command) in (2..).zip([follow(3, 4), unfollow(3, 4), unfollow(1, 2)]) {
        execute(&mut graph, &command, revision);
    }
    assert_eq!(graph.live.to_insert().count(), 0);
    assert_eq!(graph.live.to_update().count(), 0);
    assert_eq!(graph.live.to_delete().collect::<Vec<_>>(), [&key(EdgeKind::Follow, 1, 2)]);
    // All four accounts have no counts left.
    assert_eq!((graph.accounts_to_put().count(), graph.accounts_to_drop().count()), (0, 4));
}

#[test]
fn only_an_account_without_counts_and_flags_loses_its_row() {
    let kept = |account: Account| {
        let mut graph = with_account(1, account);
        execute(&mut graph, &follow(1, 2), 1);
        execute(&mut graph, &unfollow(1, 2), 2);
        let dropped: Vec<_> = graph.accounts_to_drop().collect();
        assert!(dropped.contains(&user(2)));
        assert_eq!(dropped.contains(&user(1)), graph.accounts_to_put().count() == 0);
        !dropped.contains(&user(1))
    };
    assert!(!kept(Account::default()));
    assert!(kept(Account { private: true, ..Account::default() }));
    assert!(kept(Account { followers: 1, ..Account::default() }));
    assert!(kept(Account { requests_received: 1, ..Account::default() }));
}

#[test]
fn a_change_of_an_account_that_was_not_loaded_fails() {
    let mut graph = with_edges([key(EdgeKind::Follow, 1, 2)]);
    graph.loaded = Some(BTreeSet::from([user(1)]));
    let stamp = Stamp { revision: Revision(2), time: NOW };
    assert!(graph.commit(&[Change::remove(key(EdgeKind::Follow, 1, 2))], &[], stamp).is_err());
    assert!(graph.live.get(&key(EdgeKind::Follow, 1, 2)).is_some());
}

#[test]
fn an_extended_edge_does_not_expire() {
    let due = Edge { expires_at: Some(NOW), ..edge() };
    let renewed = Edge { expires_at: Some(NOW + Duration::SECOND), ..edge() };
    let (over, stays) = (key(EdgeKind::Mute, 1, 2), key(EdgeKind::Block, 3, 4));
    let graph = Graph::new(BTreeMap::from([(over, due), (stays, renewed)]), BTreeMap::new());
    assert_eq!(expire_step(&graph, &[over, stays], NOW), [Change::remove(over)]);
}

proptest! {
    /// After any sequence, the graph equals the model's set, and the counts of every event equal the set's.
    #[test]
    fn graph_and_counts_follow_a_set(commands in proptest::collection::vec((any::<bool>(), 0u8..4, 0u8..4), 0..60)) {
        let mut graph = Graph::default();
        let mut model = BTreeSet::new();
        let mut revision = Revision::ZERO;
        for (follows, actor, target) in commands.into_iter().filter(|(_, a, b)| a != b) {
            let command = if follows { follow(actor, target) } else { unfollow(actor, target) };
            let decision = decide(&graph, &command, &RULES).expect("allowed");
            let changed = if follows { model.insert((actor, target)) } else { model.remove(&(actor, target)) };
            prop_assert_eq!(decision.changes_something(), changed);
            if changed {
                revision = revision.next();
                let (edges, counts) = graph.commit(&decision.changes, &[], Stamp { revision, time: NOW }).expect("all is known");
                prop_assert_eq!(edges.len(), 1);
                for count in counts {
                    let followers = model.iter().filter(|(_, t)| user(*t) == count.user).count() as u64;
                    let following = model.iter().filter(|(s, _)| user(*s) == count.user).count() as u64;
                    prop_assert_eq!((count.followers, count.following), (followers, following));
                }
            }
        }
        let left: BTreeSet<_> = graph.live.to_insert().map(|(key, _)| *key).collect();
        let wanted: BTreeSet<_> = model.iter().map(|(s, t)| key(EdgeKind::Follow, *s, *t)).collect();
        prop_assert_eq!(left, wanted);
    }
}
