//! The faults that make alerts fire. Each is repaired before the next.

use std::pin::pin;
use std::time::{Duration, Instant};

use async_nats::jetstream;
use devstack::process::Signal;
use devstack::{Principal, Server as _};
use proto::error::{Reason, reason_of};
use proto::query::v1::{Source, WatchEventsRequest};
use proto::subjects;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tests::clients::{check, counts, follow, unfollow};
use tests::faketime::FakeTime;
use tests::metrics::scrape;
use tests::own::{Victim, binaries};
use tests::proxy::CommitLoser;
use tests::{LIMIT, Own, new_user, truth, until};
use tokio::task::block_in_place;

use super::alerts::Watch;

/// How long a commit waits for the head: longer than the alert allows.
const SLOW_COMMIT: Duration = Duration::from_millis(1_500);
/// How long Neo4j is stalled: longer than the alert allows, shorter than `NEO4J_READ_TIMEOUT_MILLIS`.
const SLOW_READ: Duration = Duration::from_millis(200);
/// `MAX_CALLS_IN_FLIGHT`: one caller gets three quarters of it, fewer than there are places for watches.
pub(super) const CALLS_IN_FLIGHT: usize = 128;
/// The lock of the relay's leader, see the runbook of FollowgraphNoRelayLeader.
const RELAY_LOCK: i64 = 7_166_105_002;
/// The lock of the worker's leader, see the runbook of FollowgraphNoWorkerLeader.
const WORKER_LOCK: i64 = 7_166_105_003;

/// Waits until reads come from the read model: the first ones of a fresh server may not.
pub(super) async fn warm_up(own: &Own) {
    let (mut commands, queries) = (own.endpoints.commands(), own.endpoints.queries());
    let (a, b) = (new_user(), new_user());
    follow(&mut commands, &a, &b).await.expect("a follow");
    truth::wait_caught_up(&own.endpoints).await;
    until("the read model to answer", || {
        let (mut queries, a, b) = (queries.clone(), a.clone(), b.clone());
        async move {
            let seen = check(&mut queries, &a, &b, None).await.map_err(|status| status.to_string())?;
            if seen.source() == Source::Neo4j { Ok(()) } else { Err("PostgreSQL answered".to_owned()) }
        }
    })
    .await;
}

/// Ordinary use.
pub(super) async fn none(own: &Own, watch: &Watch) {
    let (mut commands, mut queries) = (own.endpoints.commands(), own.endpoints.queries());
    for _ in 0..20 {
        let (a, b) = (new_user(), new_user());
        follow(&mut commands, &a, &b).await.expect("a follow");
        check(&mut queries, &a, &b, None).await.expect("a check");
    }
    truth::wait_caught_up(&own.endpoints).await;
    watch.until_some("projector_counts_compared_total > 0").await;
    watch.until_some("rate(query_reads_total[5m]) > 0").await;
}

pub(super) async fn calls_are_left_open(own: &Own, watch: &Watch) {
    let mut queries = own.endpoints.queries();
    let mut open = Vec::new();
    let refused = loop {
        assert!(open.len() < CALLS_IN_FLIGHT, "no call is refused");
        match queries.watch_events(WatchEventsRequest::default()).await {
            Ok(events) => open.push(events),
            Err(status) => break status,
        }
    };
    assert_eq!(reason_of(&refused), Some(Reason::TooManyCalls), "{refused:?}");
    watch.until_fired(&["FollowgraphCallsRefused"]).await;
}

pub(super) async fn replies_to_commits_are_lost(own: &Own, proxy: &CommitLoser, watch: &Watch) {
    let mut commands = own.endpoints.commands();
    let in_doubt = || {
        let samples = block_in_place(|| scrape(own.pipeline.command.admin_addr()));
        samples
            .iter()
            .filter(|sample| sample.metric == "followgraph_command_commits_in_doubt_total")
            .map(|sample| sample.value)
            .sum::<f64>()
    };
    // The reply to another service's COMMIT may be lost instead.
    let begun = Instant::now();
    while in_doubt() < 5.0 {
        assert!(begun.elapsed() < LIMIT, "no reply is lost");
        proxy.lose(1);
        follow(&mut commands, &new_user(), &new_user()).await.expect("the outcome is resolved");
    }
    proxy.lose(0);
    watch.until_fired(&["FollowgraphCommitsInDoubt"]).await;
}

pub(super) async fn data_is_changed_by_hand(own: &Own, watch: &Watch) {
    let graph = own.endpoints.neo4j();
    graph
        .run(neo4rs::query("MATCH ()-[r:FOLLOWS]->() WITH r LIMIT 1 DELETE r"))
        .await
        .expect("an edge is removed");
    let mut connection = connect(own).await;
    let wrong = "UPDATE accounts SET followers = followers + 2
                 WHERE user_id = (SELECT following_id FROM follows LIMIT 1) RETURNING user_id";
    let user: uuid::Uuid = sqlx::query_scalar(wrong).fetch_one(&mut connection).await.expect("an account");
    watch.until_fired(&["FollowgraphSweepDifferences", "FollowgraphCountsDiffer"]).await;
    let right = "UPDATE accounts SET followers = followers - 2 WHERE user_id = $1";
    sqlx::query(right).bind(user).execute(&mut connection).await.expect("as before");
}

/// Memory is loaded from a damaged read model, and then an event removes a follow that it lacks. The projector stands
/// still meanwhile, so that the sweep does not come first.
pub(super) async fn memory_is_loaded_from_a_damaged_read_model(own: &mut Own, watch: &Watch) {
    let (mut commands, queries) = (own.endpoints.commands(), own.endpoints.queries());
    let (a, b) = (new_user(), new_user());
    follow(&mut commands, &a, &b).await.expect("a follow");
    truth::wait_caught_up(&own.endpoints).await;
    block_in_place(|| own.pipeline.projector.signal(Signal::SIGSTOP)).expect("stopped");
    let damage = neo4rs::query("MATCH ()-[r:FOLLOWS]->() WHERE r.src = $id DELETE r").param("id", a.as_str());
    own.endpoints.neo4j().run(damage).await.expect("the edge is gone");
    until("memory to answer", || async {
        let seen = check(&mut queries.clone(), &a, &b, None).await.map_err(|status| status.to_string())?;
        if seen.source() == Source::Memory { Ok(()) } else { Err(format!("{seen:?}")) }
    })
    .await;
    unfollow(&mut commands, &a, &b).await.expect("an unfollow");
    watch.until_fired(&["FollowgraphHotSetDiffers"]).await;
    block_in_place(|| own.pipeline.projector.signal(Signal::SIGCONT)).expect("it resumes");
}

pub(super) async fn the_head_is_locked(own: &Own, watch: &Watch) {
    for _ in 0..2 {
        let mut connection = connect(own).await;
        let mut lock = connection.begin().await.expect("a transaction");
        sqlx::query("SELECT 1 FROM log_head FOR UPDATE").execute(&mut *lock).await.expect("locked");
        let (mut commands, a, b) = (own.endpoints.commands(), new_user(), new_user());
        let mut write = pin!(follow(&mut commands, &a, &b));
        let early = tokio::time::timeout(SLOW_COMMIT, write.as_mut()).await;
        assert!(early.is_err(), "the head is locked: {early:?}");
        lock.rollback().await.expect("released");
        write.await.expect("a follow");
    }
    watch.until_fired(&["FollowgraphCommitSlow"]).await;
}

pub(super) async fn neo4j_falters(own: &mut Own, watch: &Watch) {
    let mut queries = own.endpoints.queries();
    counts(&mut queries, &[new_user()], None).await.expect("counts");
    watch
        .until_some("query_store_seconds_count{question=\"counts\", source=\"neo4j\", outcome=\"ok\"}")
        .await;
    for _ in 0..5 {
        own.servers.neo4j.freeze().expect("Neo4j is frozen");
        let users = [new_user()];
        let mut call = pin!(counts(&mut queries, &users, None));
        let early = tokio::time::timeout(SLOW_READ, call.as_mut()).await;
        own.servers.neo4j.thaw().expect("Neo4j resumes");
        let answer = match early {
            Ok(answer) => answer,
            Err(_) => call.await,
        };
        answer.expect("counts");
    }
    watch.until_fired(&["FollowgraphNeo4jSlow"]).await;
}

pub(super) async fn the_worker_is_stopped(own: &Own, watch: &Watch) {
    let thief = take_over(own, WORKER_LOCK).await;
    watch.until_fired(&["FollowgraphNoWorkerLeader"]).await;
    drop(thief);
    watch.until_some("sum(followgraph_worker_leader) == 1").await;
}

pub(super) async fn the_relay_and_the_projector_are_stopped(own: &mut Own, watch: &Watch) {
    let thief = take_over(own, RELAY_LOCK).await;
    // The leader notices within a second; until then it publishes.
    watch.until_fired(&["FollowgraphNoRelayLeader"]).await;
    own.kill(Victim::Projector);
    let mut commands = own.endpoints.commands();
    for _ in 0..3 {
        follow(&mut commands, &new_user(), &new_user()).await.expect("writes continue");
    }
    watch
        .until_fired(&[
            "FollowgraphOutboxOld",
            "FollowgraphStreamBehindOutbox",
            "FollowgraphPipelineLag",
            "FollowgraphProjectorSilent",
            "FollowgraphTargetDown",
        ])
        .await;

    own.revive(Victim::Projector);
    let context = jetstream::new(own.endpoints.nats().await);
    let stream = context.get_stream(subjects::STREAM).await.expect("the stream");
    let config = stream.cached_info().config.clone();
    context.delete_stream(subjects::STREAM).await.expect("deleted");
    context.create_stream(config).await.expect("empty");
    watch.until_fired(&["FollowgraphStreamLostItsTail"]).await;
    drop(thief);
    own.wait_ready();
    truth::wait_answering(&own.endpoints).await;
    truth::assert_agreement(&own.endpoints, 5).await;
}

pub(super) async fn services_are_killed(own: &mut Own, watch: &Watch) {
    own.kill(Victim::Command);
    own.kill(Victim::Query);
    watch.until_fired(&["FollowgraphCommandServiceSilent", "FollowgraphQueryServiceSilent"]).await;
    own.revive(Victim::Command);
    own.revive(Victim::Query);
    own.wait_ready();
    truth::wait_answering(&own.endpoints).await;
    truth::assert_agreement(&own.endpoints, 5).await;
}

pub(super) async fn partitions_cannot_be_made(own: &mut Own, watch: &Watch) {
    let mut connection = connect(own).await;
    let name: String = sqlx::query_scalar("SELECT to_char(current_date_utc() + 2, '\"replies_\"YYYYMMDD')")
        .fetch_one(&mut connection)
        .await
        .expect("a name");
    let in_its_place = format!("DROP TABLE {name}; CREATE VIEW {name} AS SELECT 1 AS x");
    sqlx::raw_sql(AssertSqlSafe(in_its_place)).execute(&mut connection).await.expect("a view");
    // It checks at its start, and then once a minute.
    own.kill(Victim::Command);
    own.revive(Victim::Command);
    watch.until_fired(&["FollowgraphPartitionsRunOut"]).await;
    let away = format!("DROP VIEW {name}");
    sqlx::raw_sql(AssertSqlSafe(away)).execute(&mut connection).await.expect("as before");
    own.wait_ready();
}

pub(super) async fn the_clock_jumps(own: &mut Own, watch: &Watch) {
    let clock = FakeTime::of_postgres(own);
    clock.set("+2d");
    watch.until_fired(&["FollowgraphClockDistrusted"]).await;
    clock.set("+0");
    watch.until_some("min(followgraph_clock_trusted) == 1").await;
    truth::wait_answering(&own.endpoints).await;
}

pub(super) async fn servers_are_killed(own: &mut Own, watch: &Watch) {
    own.kill(Victim::Neo4j);
    own.kill(Victim::Nats);
    let mut queries = own.endpoints.queries();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(2) {
        // Answered by PostgreSQL, or rejected: the budget is small.
        let _ = check(&mut queries, &new_user(), &new_user(), None).await;
    }
    watch
        .until_fired(&[
            "FollowgraphStoreAway",
            "FollowgraphReadsFallBack",
            "FollowgraphBudgetRefusals",
            "FollowgraphProjectionFails",
            "FollowgraphNatsAway",
            "FollowgraphRelayStartsOver",
            "FollowgraphNotReady",
        ])
        .await;

    own.kill(Victim::Postgres);
    let mut commands = own.endpoints.commands();
    follow(&mut commands, &new_user(), &new_user()).await.expect_err("no process accepts it");
    until("reads to fail", || {
        let mut queries = queries.clone();
        async move {
            let outcome = check(&mut queries, &new_user(), &new_user(), None).await;
            let failed = outcome.is_err_and(|status| status.code() == tonic::Code::Unavailable);
            if failed { Ok(()) } else { Err("still answered".to_owned()) }
        }
    })
    .await;
    for _ in 0..500 {
        let _ = check(&mut queries, &new_user(), &new_user(), None).await;
    }
    // A rate needs two scrapes after the series appears.
    until("failed writes to be counted", || {
        let mut commands = commands.clone();
        async move {
            follow(&mut commands, &new_user(), &new_user()).await.expect_err("no process accepts it");
            if watch.fired().contains("FollowgraphWritesFail") { Ok(()) } else { Err("not yet".to_owned()) }
        }
    })
    .await;
    watch.until_fired(&["FollowgraphReadsFail", "FollowgraphPoolExhausted"]).await;
    own.revive(Victim::Postgres);
    own.revive(Victim::Nats);
    own.revive(Victim::Neo4j);
    own.wait_ready();
    truth::wait_answering(&own.endpoints).await;
    truth::assert_agreement(&own.endpoints, 5).await;
}

pub(super) async fn commits_are_lost(own: &mut Own, watch: &Watch) {
    let mut connection = connect(own).await;
    let lost = truth::head(&own.endpoints).await.as_i64() - 2;
    for statement in ["DELETE FROM outbox WHERE revision > $1", "DELETE FROM follows WHERE revision > $1"] {
        sqlx::query(statement).bind(lost).execute(&mut connection).await.expect("a statement");
    }
    let again = "UPDATE accounts SET followers = (SELECT count(*) FROM follows WHERE following_id = user_id),
                                     following = (SELECT count(*) FROM follows WHERE follower_id = user_id)";
    sqlx::query(again).execute(&mut connection).await.expect("counts");
    watch.until_fired(&["FollowgraphHistoryForked"]).await;

    // The sweep after the new epoch cannot read one of the tables.
    let mut lock = connection.begin().await.expect("a transaction");
    sqlx::query("LOCK TABLE blocks IN ACCESS EXCLUSIVE MODE").execute(&mut *lock).await.expect("locked");
    let recovered = block_in_place(|| {
        let mut cli = devstack::services::cli(&binaries(), &own.pipeline.client_env);
        cli.args(["recover", "--yes", "--replace-stream"]).output().expect("the CLI runs")
    });
    assert!(recovered.status.success(), "{}", String::from_utf8_lossy(&recovered.stderr));
    watch.until_fired(&["FollowgraphProjectionReset", "FollowgraphReplicaIncomplete"]).await;
    lock.rollback().await.expect("released");
    own.wait_ready();
    truth::wait_answering(&own.endpoints).await;
    truth::assert_agreement(&own.endpoints, 5).await;
}

/// Takes a lock of command-service away from its holder; the test holds it until the session is dropped.
async fn take_over(own: &Own, lock: i64) -> PgConnection {
    // A waiting session gets the lock as soon as its holder ends.
    let mut thief = connect(own).await;
    let theft = tokio::spawn(async move {
        let taken = sqlx::query("SELECT pg_advisory_lock($1)").bind(lock).execute(&mut thief).await;
        taken.map(|_| thief)
    });
    let operator = own.endpoints.postgres().await;
    let end = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted
               AND (classid::bigint << 32) | objid::bigint = $1";
    until("a session to wait for the lock", || {
        let operator = operator.clone();
        async move {
            let waits = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted";
            let waiting: i64 = sqlx::query_scalar(waits).fetch_one(&operator).await.expect("an answer");
            if waiting > 0 { Ok(()) } else { Err("no session waits".to_owned()) }
        }
    })
    .await;
    // A session can be terminated by another one of the same role.
    let address = own.servers.postgres.url_of(Principal::Command);
    let mut same = PgConnection::connect(&address).await.expect("PostgreSQL answers");
    sqlx::query(end).bind(lock).execute(&mut same).await.expect("the holder is ended");
    theft.await.expect("no panic").expect("the lock is ours")
}

/// A session of an operator, not through the proxy.
async fn connect(own: &Own) -> PgConnection {
    PgConnection::connect(&own.endpoints.database_url).await.expect("PostgreSQL answers")
}
