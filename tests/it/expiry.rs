//! One event ends each expired mute and block, in time and once. Readers do not use a clock.

use std::collections::BTreeMap;

use futures::future::join_all;
use proto::event::{EdgeKey, EdgeKind, EdgeOp, Event, Verb};
use proto::{Revision, UserId};
use tests::own::second_replica;
use tests::truth::events_from;
use tests::truth::postgres::snapshot_of;
use tests::{Act, Ask, Endpoints, asks, jobs::OnAccount, truth, until, user, users};
use time::OffsetDateTime;

fn in_millis(millis: i64) -> OffsetDateTime {
    let now = OffsetDateTime::now_utc();
    let micros = now.nanosecond() / 1_000 * 1_000;
    now.replace_nanosecond(micros).expect("fewer nanoseconds") + time::Duration::milliseconds(millis)
}

/// Waits until this many edges of an account have ended by EXPIRE events.
async fn expired(
    endpoints: &Endpoints,
    from: Revision,
    source: UserId,
    count: usize,
) -> BTreeMap<EdgeKey, Event> {
    until("mutes and blocks to expire", || async {
        let mut ended = BTreeMap::new();
        for event in events_from(endpoints, from).await.into_iter().filter(|e| e.verb == Verb::Expire) {
            assert_eq!(event.actor, None, "it has no actor");
            for change in event.edges.iter().filter(|change| change.key.source == source) {
                assert_eq!(change.op, EdgeOp::Removed);
                let twice = ended.insert(change.key, event.clone());
                assert!(twice.is_none(), "{:?} runs out twice", change.key);
            }
        }
        if ended.len() >= count { Ok(ended) } else { Err(format!("{} of {count}", ended.len())) }
    })
    .await
}

#[tokio::test]
async fn mutes_and_blocks_expire_unless_renewed() {
    let endpoints = Endpoints::shared();
    let commands = endpoints.commands();
    let [a, b, c, renewed, ended, for_good] = users();
    let from = truth::head(&endpoints).await;
    let at = in_millis(1_500);
    for (act, other) in
        [(Act::Mute, b), (Act::Block, c), (Act::Mute, renewed), (Act::Mute, ended), (Act::Block, for_good)]
    {
        assert!(Ask::new(act, a, other).until(at).done(&commands).await.changed);
    }
    let later = asks::in_hours(1);
    assert!(Ask::new(Act::Mute, a, renewed).until(later).done(&commands).await.changed);
    assert!(Ask::new(Act::Unmute, a, ended).done(&commands).await.changed);
    assert!(Ask::new(Act::Block, a, for_good).done(&commands).await.changed, "without a date");

    let gone = expired(&endpoints, from, a, 2).await;
    let keys: Vec<_> = gone.keys().copied().collect();
    let wanted = [
        EdgeKey { kind: EdgeKind::Mute, source: a, target: b },
        EdgeKey { kind: EdgeKind::Block, source: a, target: c },
    ];
    assert_eq!(keys, wanted);
    assert!(gone.values().all(|event| event.committed_at >= at), "not before its time");

    let left = snapshot_of(&endpoints.postgres().await, &[a]).await;
    left.assert_consistent();
    let left: Vec<_> = left.edges.iter().map(|(key, edge)| (key.target, edge.expires_at)).collect();
    assert_eq!(left, [(renewed, Some(later)), (for_good, None)]);
    assert!(Ask::new(Act::Follow, c, a).done(&commands).await.changed, "the block is over");
    assert!(Ask::new(Act::Mute, a, b).done(&commands).await.changed, "a new mute");
}

/// I12: a restore does not restore an expired edge.
#[tokio::test]
async fn what_runs_out_in_the_archive_does_not_come_back() {
    let endpoints = Endpoints::shared();
    let commands = endpoints.commands();
    let [x, y, z] = users();
    let at = in_millis(1_500);
    assert!(Ask::new(Act::Mute, x, y).until(at).done(&commands).await.changed);
    assert!(Ask::new(Act::Block, z, x).until(at).done(&commands).await.changed);
    assert!(Ask::new(Act::Mute, x, z).done(&commands).await.changed);
    OnAccount::Archive.finish(&commands, x).await;
    until("the date to pass", || async {
        let now: OffsetDateTime = sqlx::query_scalar("SELECT now()")
            .fetch_one(&endpoints.postgres().await)
            .await
            .map_err(|error| error.to_string())?;
        if now > at + time::Duration::seconds(1) { Ok(()) } else { Err(now.to_string()) }
    })
    .await;
    OnAccount::Restore.finish(&commands, x).await;
    let back: Vec<_> = snapshot_of(&endpoints.postgres().await, &[x])
        .await
        .edges
        .into_keys()
        .map(|key| key.target)
        .collect();
    assert_eq!(back, [z], "only the mute without a date");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_expire_each_edge_once_within_a_second() {
    let endpoints = Endpoints::shared();
    let second = second_replica(&endpoints);
    let replicas = [endpoints.commands(), endpoints.through(&second).commands()];
    let from = truth::head(&endpoints).await;
    let dated: Vec<(UserId, OffsetDateTime)> =
        (0..200).map(|n| (user(), in_millis(3_000 + n * 10))).collect();
    let [a] = users();
    join_all(dated.iter().zip(replicas.iter().cycle()).enumerate().map(
        |(n, ((other, at), commands))| async move {
            let act = if n % 2 == 0 { Act::Mute } else { Act::Block };
            assert!(Ask::new(act, a, *other).until(*at).done(commands).await.changed);
        },
    ))
    .await;

    let ended = expired(&endpoints, from, a, dated.len()).await;
    let mut late: Vec<time::Duration> = dated
        .iter()
        .map(|(other, at)| {
            let event = ended.iter().find(|(key, _)| key.target == *other).expect("it ran out").1;
            event.committed_at - *at
        })
        .collect();
    late.sort();
    println!("expiries were late by {} (p50), {} (p99), {} (most)", late[100], late[197], late[199]);
    assert!(late[0] >= time::Duration::ZERO, "one ran out {} before its time", late[0]);
    assert!(late[197] < time::Duration::SECOND, "p99 is {}", late[197]);
    // Every edge ends once and each event is consistent, otherwise the replay would fail.
    truth::assert_log(&endpoints).await;
    drop(second);
}
