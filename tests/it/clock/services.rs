//! A service's clock jumps, while PostgreSQL's clock is right.

use std::time::Duration;

use devstack::http;
use devstack::services::{Program, Service};
use proto::command::v1::{GetStatusRequest, ImportEdge, ImportEdgesRequest};
use proto::graph::v1::ReplicaStatus;
use proto::query::v1::Source;
use proto::{Token, timestamp};
use sqlx::PgPool;
use tests::clients::{List, check, fresh, page};
use tests::faketime::FakeTime;
use tests::metrics::scrape;
use tests::own::Own;
use tests::truth::postgres::snapshot_of;
use tests::{Act, Ask, Commands, importing, new_user, truth, until, user, users};
use time::OffsetDateTime;
use tokio::task::block_in_place;
use uuid::Uuid;

use super::{Written, accept, database_clock, distrusted, expires, is_trusted, partitions, problem, trusted};

const JUMPS: [&str; 4] = ["+2h", "-2h", "+10d", "-10d"];
/// Longer than the worker's interval between checks for expired edges.
const OVERDUE: time::Duration = time::Duration::milliseconds(1_200);

/// Number of times that a command-service started to distrust PostgreSQL's clock.
fn times_distrusted(command: &Service, cause: &str) -> f64 {
    let samples = block_in_place(|| scrape(command.admin_addr()));
    let counted = samples.iter().filter(|sample| sample.metric == "followgraph_clock_distrusted_total");
    counted.filter(|sample| sample.labels["cause"] == cause).map(|sample| sample.value).sum()
}

/// A partition of 2020, without rows.
async fn add_old_partition(pool: &PgPool) {
    for statement in [
        "CREATE TABLE replies_20200101 (LIKE replies INCLUDING ALL)",
        "ALTER TABLE replies ATTACH PARTITION replies_20200101 FOR VALUES FROM ('2020-01-01 00:00:00+00') TO ('2020-01-02 00:00:00+00')",
    ] {
        sqlx::query(statement).execute(pool).await.expect("an old partition");
    }
}

/// Tries to drop old partitions, as command-service does once an hour; returns the number of dropped ones.
async fn drop_old(pool: &PgPool) -> i32 {
    sqlx::query_scalar("SELECT drop_partitions('replies', now() - interval '1 day', NULL)")
        .fetch_one(pool)
        .await
        .expect("an answer")
}

/// The time from which the clock is trusted; `None` while drops are suspended.
async fn trusted_since(pool: &PgPool) -> Option<OffsetDateTime> {
    let since = "SELECT CASE WHEN trusted_since < 'infinity' THEN trusted_since END FROM clock";
    sqlx::query_scalar(since).fetch_one(pool).await.expect("the record")
}

/// A mute that expires in a moment.
async fn due(commands: &Commands, pool: &PgPool) -> (proto::UserId, OffsetDateTime) {
    let [a, b] = users();
    let at = database_clock(pool).await + time::Duration::seconds(2);
    assert!(Ask::new(Act::Mute, a, b).until(at).done(commands).await.changed);
    (a, at)
}

async fn edges_of(pool: &PgPool, user: proto::UserId) -> usize {
    snapshot_of(pool, &[user]).await.edges.len()
}

async fn until_ended(pool: &PgPool, muter: proto::UserId) {
    until("a mute to run out", || async {
        let left = edges_of(pool, muter).await;
        if left == 0 { Ok(()) } else { Err(format!("{left} edges")) }
    })
    .await;
}

/// An import accepts a date of a moment ago, and rejects one in the far future.
async fn imports_are_dated_right(commands: &Commands) {
    let edge = |created_at| ImportEdge {
        source_id: new_user(),
        target_id: new_user(),
        created_at: Some(timestamp::to_proto(created_at)),
        ..ImportEdge::default()
    };
    let now = OffsetDateTime::now_utc();
    let edges = vec![edge(now - time::Duration::MINUTE), edge(now + time::Duration::days(30))];
    let request = ImportEdgesRequest { edges, ..Default::default() };
    let answer = importing::chunk(&mut commands.clone(), request).await.expect("an answer");
    let refused: Vec<_> = answer.refused.iter().map(|edge| edge.index).collect();
    assert_eq!((answer.accepted, refused), (1, vec![1]), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_whose_clock_jumps_loses_nothing() {
    let mut own = Own::light().start().await;
    let clock = FakeTime::of_service(&mut own.pipeline.command);
    own.wait_ready();
    trusted(&own).await;
    let written = Written::new(&own.endpoints.commands()).await;
    a_lone_command_service(&mut own, &clock, &written).await;
    one_of_two_command_services(&own, &clock, &written).await;
    readers_and_projector(&mut own).await;
    written.is_whole(&own.endpoints).await;
    truth::assert_agreement(&own.endpoints, 5).await;
}

async fn a_lone_command_service(own: &mut Own, clock: &FakeTime, written: &Written) {
    let endpoints = own.endpoints.clone();
    let (commands, pool) = (endpoints.commands(), endpoints.postgres().await);
    add_old_partition(&pool).await;
    let before = partitions(&pool).await;
    for jump in JUMPS {
        let counted = times_distrusted(&own.pipeline.command, "differs");
        clock.set(jump);
        let problem = distrusted(own).await;
        assert!(
            problem.contains("this process's") && problem.contains("set the wrong one right"),
            "{problem}"
        );
        assert!(!is_trusted(&own.pipeline.command));
        assert_eq!(times_distrusted(&own.pipeline.command, "differs"), counted + 1.0, "{jump}");
        assert_eq!((trusted_since(&pool).await, drop_old(&pool).await), (None, 0), "{jump}");

        // Writes continue with the dates of PostgreSQL, and repeats change nothing.
        let (muter, at) = due(&commands, &pool).await;
        let keyed = Ask::new(Act::Follow, user(), user()).under(Uuid::new_v4());
        let during = keyed.done(&commands).await;
        let created: OffsetDateTime =
            sqlx::query_scalar("SELECT created_at FROM follows WHERE revision = $1")
                .bind(during.token().revision.as_i64())
                .fetch_one(&pool)
                .await
                .expect("the follow");
        assert!((created - database_clock(&pool).await).abs() < time::Duration::MINUTE, "{jump}: {created}");
        assert_eq!(keyed.done(&commands).await.written_at, during.written_at);
        imports_are_dated_right(&commands).await;
        written.is_whole(&endpoints).await;

        until("the mute to be overdue", || async {
            let left = at + OVERDUE - database_clock(&pool).await;
            if left.is_negative() { Ok(()) } else { Err(left.to_string()) }
        })
        .await;
        assert_eq!(edges_of(&pool, muter).await, 1, "{jump}: no edge expires by an untrusted clock");
        clock.set("+0");
        trusted(own).await;
        until_ended(&pool, muter).await;
        assert_eq!(keyed.done(&commands).await.written_at, during.written_at);
    }

    // A process that starts at a wrong time resumes by itself, too.
    clock.set("-10d");
    block_in_place(|| own.pipeline.command.kill9().and_then(|()| own.pipeline.command.start_again()))
        .expect("command-service starts again");
    own.wait_ready();
    distrusted(own).await;
    imports_are_dated_right(&commands).await;
    clock.set("+0");
    trusted(own).await;
    expires(own).await;

    // An operator who knows that PostgreSQL is right need not wait for the host. The acceptance works once.
    clock.set("-2h");
    distrusted(own).await;
    accept(own);
    trusted(own).await;
    expires(own).await;
    let counted = times_distrusted(&own.pipeline.command, "differs");
    clock.set("+0");
    expires(own).await;
    assert_eq!(times_distrusted(&own.pipeline.command, "differs"), counted);

    // Partitions stay until the clock has been trusted for their retention time.
    assert_eq!(drop_old(&pool).await, 0);
    let after = partitions(&pool).await;
    assert!(before.iter().all(|partition| after.contains(partition)), "{before:?} {after:?}");
    sqlx::query("UPDATE clock SET trusted_since = '-infinity'").execute(&pool).await.expect("the owner may");
    assert_eq!(drop_old(&pool).await, 1, "only that of 2020");
}

/// The other process continues, and lifts the suspension.
async fn one_of_two_command_services(own: &Own, clock: &FakeTime, written: &Written) {
    let second = own.another(Program::Command);
    let through_second = own.endpoints.through(&second);
    let pool = own.endpoints.postgres().await;
    for jump in ["+10d", "-2h"] {
        clock.set(jump);
        distrusted(own).await;
        let since = until("the other one to take the suspension back", || async {
            trusted_since(&pool).await.ok_or_else(|| "drops are suspended".to_owned())
        })
        .await;
        for commands in [own.endpoints.commands(), through_second.commands()] {
            let (muter, _) = due(&commands, &pool).await;
            until_ended(&pool, muter).await;
        }
        assert_eq!((is_trusted(&own.pipeline.command), is_trusted(&second)), (false, true), "{jump}");
        assert_eq!(problem(&second), Ok(None), "{jump}");
        written.is_whole(&own.endpoints).await;
        written.is_whole(&through_second).await;
        // The process with the wrong clock reports it once, and does not suspend drops again.
        assert_eq!(trusted_since(&pool).await, Some(since), "{jump}");
        clock.set("+0");
        trusted(own).await;
    }
    assert_eq!(times_distrusted(&second, "differs") + times_distrusted(&second, "jumped"), 0.0);
    drop(second);
}

/// query-service and projector use their clock for ages only.
async fn readers_and_projector(own: &mut Own) {
    let clocks =
        [FakeTime::of_service(&mut own.pipeline.query), FakeTime::of_service(&mut own.pipeline.projector)];
    own.wait_ready();
    let endpoints = own.endpoints.clone();
    let (commands, mut queries) = (endpoints.commands(), endpoints.queries());
    let [popular, a, b] = users();
    for follower in [a, b] {
        assert!(Ask::new(Act::Follow, follower, popular).done(&commands).await.changed);
    }
    truth::wait_caught_up(&endpoints).await;
    let list = popular.to_string();
    let first = page(&mut queries, List::Followers, &list, 1, "", None).await.expect("a page");
    for jump in JUMPS {
        clocks.iter().for_each(|clock| clock.set(jump));
        let [x, y] = users();
        let followed = Ask::new(Act::Follow, x, y).done(&commands).await;
        let seen = check(&mut queries, &x.to_string(), &y.to_string(), fresh(&followed.written_at)).await;
        assert!(seen.expect("a check").following, "{jump}");
        // The first events after the jump may come before the projector has compared its clock.
        until(&format!("a lag without the jump of {jump}"), || async {
            let followed = Ask::new(Act::Follow, user(), user()).done(&commands).await;
            let lag = lag_of(&commands, followed.token()).await;
            if lag < Duration::from_secs(60) { Ok(()) } else { Err(format!("{lag:?}")) }
        })
        .await;
        let second = page(&mut queries, List::Followers, &list, 1, &first.next, None).await.expect("a page");
        assert_eq!(
            (second.edges[0].user_id.clone(), second.source),
            (a.to_string(), Source::Neo4j),
            "{jump}"
        );
        let ready = block_in_place(|| http::is_ok(own.pipeline.query.admin_addr(), "/readyz"));
        assert!(ready, "{jump}");
    }
    clocks.iter().for_each(|clock| clock.set("+0"));
}

/// The delay that the projector reports for an event to become visible.
async fn lag_of(commands: &Commands, event: Token) -> Duration {
    let told = until("the projector to report it", || {
        let mut commands = commands.clone();
        async move {
            let status =
                commands.get_status(GetStatusRequest {}).await.map_err(|status| status.to_string())?;
            let replicas = status.into_inner().replicas;
            let told: Option<ReplicaStatus> =
                replicas.iter().find(|replica| replica.visible >= event.revision.0).cloned();
            told.ok_or_else(|| format!("{replicas:?}"))
        }
    })
    .await;
    told.lag.expect("a lag").try_into().expect("not negative")
}
