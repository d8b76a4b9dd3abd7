//! Imports and the other commands: mutes and blocks with their dates, effects that only an import has, and I11.

use proto::UserId;
use proto::command::v1::{ImportEdge, ImportEdgesRequest, ImportEdgesResponse};
use proto::error::Reason;
use proto::event::{EdgeKind, EdgeOp, Verb};
use proto::timestamp::to_proto;
use tests::jobs::OnAccount;
use tests::refusal::assert_refused;
use tests::truth::postgres::snapshot_of;
use tests::{Act, Ask, asks, importing, user, users};
use time::OffsetDateTime;

use super::{Shared, changes};

fn edge(source: UserId, target: UserId) -> ImportEdge {
    ImportEdge { source_id: source.to_string(), target_id: target.to_string(), ..Default::default() }
}

async fn import(shared: &Shared, kind: EdgeKind, edges: Vec<ImportEdge>) -> ImportEdgesResponse {
    let request = ImportEdgesRequest { kind: kind.into(), edges, ..Default::default() };
    importing::chunk(&mut shared.commands.clone(), request).await.expect("a chunk")
}

fn refused(answer: &ImportEdgesResponse) -> Vec<(u32, Reason)> {
    answer.refused.iter().map(|refused| (refused.index, refused.reason())).collect()
}

#[tokio::test]
async fn mutes_and_blocks_keep_their_dates_and_run_out() {
    let shared = Shared::new();
    let [a, b, c, d] = users();
    let (past, soon) = (OffsetDateTime::UNIX_EPOCH + time::Duration::days(9_000), asks::in_hours(9));
    let now = OffsetDateTime::now_utc();
    for kind in [EdgeKind::Mute, EdgeKind::Block] {
        let dated = |target, expires_at: Option<OffsetDateTime>| ImportEdge {
            created_at: Some(to_proto(past)),
            expires_at: expires_at.map(to_proto),
            ..edge(a, target)
        };
        let edges = vec![
            dated(b, None),
            dated(c, Some(soon)),
            dated(d, Some(now - time::Duration::days(1))),
            dated(d, Some(now + time::Duration::days(4_000))),
        ];
        let answer = import(&shared, kind, edges).await;
        assert_eq!((answer.accepted, answer.unchanged), (2, 0));
        assert_eq!(refused(&answer), [(2, Reason::InvalidTimestamp), (3, Reason::InvalidTimestamp)]);
        let kept = shared.edge(kind, a, c).await.expect("an edge");
        assert_eq!((kept.created_at, kept.expires_at), (past, Some(soon)));
        assert_eq!(shared.edge(kind, a, b).await.expect("an edge").expires_at, None);

        let again = import(&shared, kind, vec![dated(c, None)]).await;
        assert_eq!((again.accepted, again.unchanged), (0, 1), "what exists stays as it is");
        assert_eq!(shared.edge(kind, a, c).await, Some(kept));
    }
    let follow = ImportEdge { expires_at: Some(to_proto(soon)), ..edge(a, b) };
    let answer = import(&shared, EdgeKind::Follow, vec![follow]).await;
    assert_eq!(refused(&answer), [(0, Reason::InvalidTimestamp)], "follows do not expire");
}

#[tokio::test]
async fn blocks_end_follows_and_requests_in_the_same_event() {
    let shared = Shared::new();
    let [a, b, c] = users();
    shared.changed(Act::Follow, a, b).await;
    shared.changed(Act::Follow, b, a).await;
    OnAccount::SetPrivate(true).finish(&shared.commands, c).await;
    shared.changed(Act::Follow, a, c).await;
    let answer = import(&shared, EdgeKind::Block, vec![edge(a, b), edge(b, a), edge(c, a)]).await;
    assert_eq!(answer.accepted, 3);
    let event = shared.event(&answer.written_at).await;
    assert_eq!((event.verb, event.actor), (Verb::Import, None));
    let mut wanted = [
        (EdgeOp::Removed, EdgeKind::Follow, a, b),
        (EdgeOp::Removed, EdgeKind::Follow, b, a),
        (EdgeOp::Added, EdgeKind::Block, a, b),
        (EdgeOp::Added, EdgeKind::Block, b, a),
        (EdgeOp::Added, EdgeKind::Block, c, a),
        (EdgeOp::Removed, EdgeKind::FollowRequest, a, c),
    ];
    wanted.sort_by_key(|(_, kind, source, target)| (*kind, *source, *target));
    assert_eq!(changes(&event), wanted);
}

#[tokio::test]
async fn imported_follows_accept_requests_and_cross_no_block() {
    let shared = Shared::new();
    let [a, p, blocker, hidden] = users();
    OnAccount::SetPrivate(true).finish(&shared.commands, p).await;
    shared.changed(Act::Follow, a, p).await;
    shared.changed(Act::Block, blocker, a).await;
    OnAccount::Archive.finish(&shared.commands, hidden).await;
    let edges = vec![edge(a, p), edge(a, blocker), edge(blocker, a), edge(a, hidden), edge(hidden, p)];
    let answer = import(&shared, EdgeKind::Follow, edges).await;
    assert_eq!(answer.accepted, 1);
    assert_eq!(
        refused(&answer),
        [
            (1, Reason::Blocked),
            (2, Reason::Blocked),
            (3, Reason::AccountArchived),
            (4, Reason::AccountArchived)
        ]
    );
    let pair = shared.done(Act::Follow, a, p).await;
    assert!(!pair.changed && pair.relationship.following && !pair.relationship.requested);
    Ask::new(Act::Accept, p, a).done(&shared.commands).await;
}

#[tokio::test]
async fn imported_follows_that_accept_many_requests_take_two_events() {
    let shared = Shared::new();
    let p = user();
    OnAccount::SetPrivate(true).finish(&shared.commands, p).await;
    let askers: [_; 600] = users();
    for askers in askers.chunks(300) {
        let asked: Vec<_> = askers.iter().map(|asker| Ask::new(Act::Follow, *asker, p)).collect();
        asks::batch(&shared.commands, &asked, true, None).await.expect("requests");
    }
    let edges = askers.iter().map(|asker| edge(*asker, p)).collect();
    let answer = import(&shared, EdgeKind::Follow, edges).await;
    assert_eq!((answer.accepted, answer.unchanged, refused(&answer)), (600, 0, vec![]));
    // Each fulfils one request: two changes, and an event contains at most a thousand.
    assert_eq!(shared.event(&answer.written_at).await.edges.len(), 200);
    let pool = shared.endpoints.postgres().await;
    let counts = snapshot_of(&pool, &[p]).await.accounts[&p].counts;
    assert_eq!((counts.followers, counts.requests_received), (600, 0));
}

#[tokio::test]
async fn invalid_chunks_are_refused() {
    let shared = Shared::new();
    let [a, b] = users();
    let mut commands = shared.commands.clone();
    let blocks = |count| ImportEdgesRequest {
        kind: EdgeKind::Block.into(),
        edges: vec![edge(a, b); count],
        ..Default::default()
    };
    let status = importing::chunk(&mut commands, blocks(301)).await.expect_err("too many");
    assert_refused(&status, Reason::TooManyItems, Some("edges"));
    let full = importing::chunk(&mut commands, blocks(300)).await.expect("as many as may be");
    assert_eq!((full.accepted, full.unchanged), (1, 299));
    let requests = ImportEdgesRequest {
        kind: EdgeKind::FollowRequest.into(),
        edges: vec![edge(a, b)],
        ..Default::default()
    };
    let status = importing::chunk(&mut commands, requests).await.expect_err("requests cannot be imported");
    assert_refused(&status, Reason::UnknownEnumValue, Some("kind"));
}

/// Follows and requests, live and archived, across a block of one account.
const ACROSS_BLOCKS: &str = "
    WITH edges AS (
        SELECT follower_id AS a, following_id AS b FROM follows
        UNION ALL SELECT follower_id, following_id FROM archived_follows
        UNION ALL SELECT requester_id, target_id FROM follow_requests
        UNION ALL SELECT requester_id, target_id FROM archived_follow_requests
    ), across AS (
        SELECT blocker_id AS a, blocked_id AS b FROM blocks
        UNION ALL SELECT blocker_id, blocked_id FROM archived_blocks
    )
    SELECT count(*) FROM edges e JOIN across k ON (k.a, k.b) IN ((e.a, e.b), (e.b, e.a))
    WHERE $1 IN (e.a, e.b)";

#[tokio::test]
async fn a_list_imported_as_follows_and_then_as_blocks_leaves_none_across_a_block() {
    let shared = Shared::new();
    let a = user();
    let others: Vec<_> = (0..90).map(|_| user()).collect();
    for other in &others {
        OnAccount::SetPrivate(true).finish(&shared.commands, *other).await;
    }
    // Requests to the first half; follows of the rest, by mistake.
    let asks: Vec<_> = others[..45].iter().map(|other| Ask::new(Act::Follow, a, *other)).collect();
    asks::batch(&shared.commands, &asks, false, None).await.expect("a batch");
    let follows = others[45..].iter().map(|other| edge(a, *other)).collect();
    assert_eq!(import(&shared, EdgeKind::Follow, follows).await.accepted, 45);
    let archived: Vec<_> = others.iter().step_by(10).copied().collect();
    for other in &archived {
        OnAccount::Archive.finish(&shared.commands, *other).await;
    }

    // The list arrives as blocks while some accounts go public, and others accept.
    let blocks = |others: &[UserId]| others.iter().map(|other| edge(a, *other)).collect::<Vec<_>>();
    let importing = async {
        let mut refused = 0;
        for part in others.chunks(7) {
            let answer = import(&shared, EdgeKind::Block, blocks(part)).await;
            assert!(answer.refused.iter().all(|one| one.reason() == Reason::AccountArchived), "{answer:?}");
            refused += answer.refused.len();
        }
        refused
    };
    let opening = async {
        for other in others.iter().skip(1).step_by(5).filter(|other| !archived.contains(other)) {
            let started = OnAccount::SetPrivate(false).send(&shared.commands, *other, None).await;
            started.expect("it goes public");
        }
    };
    let accepting = async {
        for other in others.iter().take(45).skip(2).step_by(5).filter(|other| !archived.contains(other)) {
            // It may be blocked by now.
            let _ = Ask::new(Act::Accept, *other, a).send(&shared.commands).await;
        }
    };
    let (refused, (), ()) = tokio::join!(importing, opening, accepting);
    assert_eq!(refused, archived.len());
    let pool = shared.endpoints.postgres().await;
    let across = async || -> i64 {
        sqlx::query_scalar(ACROSS_BLOCKS).bind(a.uuid()).fetch_one(&pool).await.expect("a count")
    };
    assert_eq!(across().await, 0);
    for other in &archived {
        OnAccount::Restore.finish(&shared.commands, *other).await;
    }
    assert_eq!(across().await, 0);
    let answer = import(&shared, EdgeKind::Block, blocks(&archived)).await;
    assert_eq!((answer.accepted, answer.refused.len()), (u32::try_from(archived.len()).expect("few"), 0));
    assert_eq!(across().await, 0);
    let everyone: Vec<_> = others.iter().copied().chain([a]).collect();
    let after = snapshot_of(&pool, &everyone).await;
    after.assert_consistent();
    let counts = after.accounts[&a].counts;
    assert_eq!((counts.blocking, counts.following, counts.requests_sent), (90, 0, 0), "{counts:?}");
}
