//! PostgreSQL's clock jumps: nothing is lost, and an operator must accept the new time.

mod services;

use devstack::http;
use devstack::services::Service;
use sqlx::PgPool;
use tests::faketime::FakeTime;
use tests::metrics::scrape;
use tests::own::binaries;
use tests::truth::postgres::snapshot_of;
use tests::{Act, Ask, Commands, Endpoints, Own, asks, truth, until, user, users};
use time::OffsetDateTime;
use tokio::task::block_in_place;
use uuid::Uuid;

/// The reason of the failed check `clock`; `None` while it passes.
fn problem(command: &Service) -> Result<Option<String>, String> {
    let answer = block_in_place(|| http::get(command.admin_addr(), "/readyz"));
    let answer = answer.map_err(|error| error.to_string())?;
    if answer.status != 200 {
        return Err(answer.body);
    }
    let report: serde_json::Value = serde_json::from_str(&answer.body).expect("JSON");
    let checks = report["checks"].as_array().expect("checks");
    let clock = checks.iter().find(|check| check["name"] == "clock").expect("the check");
    Ok(clock["reason"].as_str().map(str::to_owned))
}

async fn trusted(own: &Own) {
    until("the clock to be trusted", || async {
        match problem(&own.pipeline.command)? {
            None => Ok(()),
            Some(problem) => Err(problem),
        }
    })
    .await;
}

async fn distrusted(own: &Own) -> String {
    until("the clock to be distrusted, while writes are served", || async {
        problem(&own.pipeline.command)?.ok_or_else(|| "it is trusted".to_owned())
    })
    .await
}

fn accept(own: &Own) {
    let accepted = block_in_place(|| {
        let mut cli = devstack::services::cli(&binaries(), &own.pipeline.client_env);
        cli.args(["clock", "accept"]).output().expect("the CLI runs")
    });
    assert!(accepted.status.success(), "{}", String::from_utf8_lossy(&accepted.stderr));
}

fn is_trusted(command: &Service) -> bool {
    let samples = block_in_place(|| scrape(command.admin_addr()));
    let sample = samples.iter().find(|sample| sample.metric == "followgraph_clock_trusted");
    sample.expect("the metric").value > 0.5
}

async fn database_clock(pool: &PgPool) -> OffsetDateTime {
    sqlx::query_scalar("SELECT clock_timestamp()").fetch_one(pool).await.expect("a date")
}

async fn partitions(pool: &PgPool) -> Vec<String> {
    sqlx::query_scalar(
        "SELECT inhrelid::regclass::text FROM pg_inherits
         WHERE inhparent IN ('outbox'::regclass, 'replies'::regclass) ORDER BY 1",
    )
    .fetch_all(pool)
    .await
    .expect("partitions")
}

/// A block for two days, a mute for forty minutes, and a follow under a request_id.
struct Written {
    a: proto::UserId,
    blocked: proto::UserId,
    keyed: Ask,
    first: asks::Answer,
}

impl Written {
    async fn new(commands: &Commands) -> Self {
        let [a, blocked, muted, followed] = users();
        assert!(Ask::new(Act::Block, a, blocked).until(asks::in_hours(48)).done(commands).await.changed);
        let soon = OffsetDateTime::now_utc() + time::Duration::minutes(40);
        assert!(Ask::new(Act::Mute, a, muted).until(soon).done(commands).await.changed);
        let keyed = Ask::new(Act::Follow, a, followed).under(Uuid::new_v4());
        let first = keyed.done(commands).await;
        assert!(first.changed);
        Self { a, blocked, keyed, first }
    }

    async fn is_whole(&self, endpoints: &Endpoints) {
        let snapshot = snapshot_of(&endpoints.postgres().await, &[self.a]).await;
        snapshot.assert_consistent();
        assert_eq!(snapshot.edges.len(), 3, "{:?}", snapshot.edges);
        let repeated = self.keyed.done(&endpoints.commands()).await;
        assert_eq!((repeated.changed, &repeated.written_at), (true, &self.first.written_at), "once only");
    }
}

/// Expiry works: a mute expires.
async fn expires(own: &Own) {
    let (commands, pool) = (own.endpoints.commands(), own.endpoints.postgres().await);
    let [a, b] = users();
    let at = database_clock(&pool).await + time::Duration::seconds(2);
    assert!(Ask::new(Act::Mute, a, b).until(at).done(&commands).await.changed);
    until("a mute to run out", || async {
        let left = snapshot_of(&pool, &[a]).await.edges.len();
        if left == 0 { Ok(()) } else { Err(format!("{left} edges")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_jumps_loses_nothing() {
    let mut own = Own::light().start().await;
    let clock = FakeTime::of_postgres(&mut own);
    let endpoints = own.endpoints.clone();
    let (commands, pool) = (endpoints.commands(), endpoints.postgres().await);
    trusted(&own).await;
    let written = Written::new(&commands).await;
    let before = partitions(&pool).await;

    for difference in ["+3d", "-3d", "+20d", "-20d", "+2m", "-2m"] {
        clock.set(difference);
        let problem = distrusted(&own).await;
        assert!(problem.contains("followgraph clock accept"), "{problem}");
        assert!(!is_trusted(&own.pipeline.command));
        // Writes continue, also those with dates, and dates follow the clock.
        let [x, y] = users();
        assert!(Ask::new(Act::Follow, x, y).done(&commands).await.changed, "{difference}");
        assert!(Ask::new(Act::Mute, x, y).until(asks::in_hours(1)).done(&commands).await.changed);
        written.is_whole(&endpoints).await;
        // A jump outlives a restart: the restarted process has not seen the earlier clock. It also checks for old
        // partitions at once, and these jumps make some partitions old.
        if ["+3d", "+20d"].contains(&difference) {
            block_in_place(|| own.pipeline.command.kill9().and_then(|()| own.pipeline.command.start_again()))
                .expect("command-service starts again");
            own.wait_ready();
            distrusted(&own).await;
            written.is_whole(&endpoints).await;
            clock.set("+0");
            let pool = &pool;
            until("the clock to be right", || async move {
                let ahead = database_clock(pool).await - OffsetDateTime::now_utc();
                if ahead < time::Duration::MINUTE { Ok(()) } else { Err(ahead.to_string()) }
            })
            .await;
            distrusted(&own).await;
            accept(&own);
        } else {
            clock.set("+0");
        }
        trusted(&own).await;
        written.is_whole(&endpoints).await;
        expires(&own).await;
        let [x, y] = users();
        let dated = Ask::new(Act::Follow, x, y).done(&commands).await;
        let at: OffsetDateTime = sqlx::query_scalar("SELECT created_at FROM follows WHERE revision = $1")
            .bind(dated.token().revision.as_i64())
            .fetch_one(&pool)
            .await
            .expect("the follow");
        let off = at - database_clock(&pool).await;
        assert!(off.abs() < time::Duration::minutes(2), "dates do not run away: {off} after {difference}");
    }
    let after = partitions(&pool).await;
    assert!(before.iter().all(|partition| after.contains(partition)), "{before:?} {after:?}");
    written.is_whole(&endpoints).await;
    truth::assert_agreement(&endpoints, 5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_accepted_clock_ends_what_has_run_out() {
    let mut own = Own::light().start().await;
    let clock = FakeTime::of_postgres(&mut own);
    let endpoints = own.endpoints.clone();
    let (commands, pool) = (endpoints.commands(), endpoints.postgres().await);
    trusted(&own).await;
    let written = Written::new(&commands).await;
    clock.set("+3d");
    distrusted(&own).await;
    written.is_whole(&endpoints).await;
    accept(&own);
    trusted(&own).await;
    until("the block and the mute to run out", || async {
        let left = snapshot_of(&pool, &[written.a]).await.edges.len();
        if left == 1 { Ok(()) } else { Err(format!("{left} edges")) }
    })
    .await;
    assert!(Ask::new(Act::Follow, written.blocked, written.a).done(&commands).await.changed);
    // From here on, the accepted clock must not jump.
    clock.set("+0");
    distrusted(&own).await;
    accept(&own);
    trusted(&own).await;
    expires(&own).await;
    // Partitions stay until the clock has been trusted for their retention time.
    let dropped: i32 =
        sqlx::query_scalar("SELECT drop_partitions('replies', now() - interval '1 day', NULL)")
            .fetch_one(&pool)
            .await
            .expect("an answer");
    assert_eq!(dropped, 0);
    let repeated = written.keyed.done(&commands).await;
    assert_eq!(repeated.written_at, written.first.written_at);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_dated_ahead_changes_no_later_date() {
    let own = Own::light().start().await;
    let endpoints = own.endpoints.clone();
    let (commands, pool) = (endpoints.commands(), endpoints.postgres().await);
    trusted(&own).await;
    let written = Written::new(&commands).await;
    // The rows of a commit that was made while the clock was three days ahead.
    for statement in [
        "UPDATE outbox SET committed_at = committed_at + interval '3 days'
         WHERE revision = (SELECT max(revision) FROM outbox)",
        "UPDATE log_head SET updated_at = clock_timestamp() + interval '3 days'",
    ] {
        sqlx::query(statement).execute(&pool).await.expect("a statement");
    }
    let [x, y] = users();
    assert!(Ask::new(Act::Mute, x, y).until(asks::in_hours(1)).done(&commands).await.changed);
    let follow = Ask::new(Act::Follow, x, user()).done(&commands).await;
    let created: OffsetDateTime = sqlx::query_scalar("SELECT created_at FROM follows WHERE revision = $1")
        .bind(follow.token().revision.as_i64())
        .fetch_one(&pool)
        .await
        .expect("the follow");
    assert!(created < OffsetDateTime::now_utc() + time::Duration::minutes(1), "{created}");
    expires(&own).await;
    written.is_whole(&endpoints).await;
}

#[tokio::test]
async fn jobs_take_turns_whatever_dates_they_carry() {
    let pool = Endpoints::shared().postgres().await;
    // Never committed, so that no worker sees them.
    let mut transaction = pool.begin().await.expect("a transaction");
    let mut ids = Vec::new();
    for days in [-20, 0, 20] {
        let id: Uuid = sqlx::query_scalar(
            "INSERT INTO jobs (job_id, kind, user_id, state, created_at, updated_at)
             VALUES (gen_random_uuid(), 'import', gen_random_uuid(), 'running', now(), now() + make_interval(days => $1))
             RETURNING job_id",
        )
        .bind(days)
        .fetch_one(&mut *transaction)
        .await
        .expect("a job");
        ids.push(id);
    }
    let mut turns = Vec::new();
    // In one of the rounds the clock is 20 days behind.
    for days in [0, -20, 0, 0, 0, 0] {
        let next: Uuid = sqlx::query_scalar(
            "UPDATE jobs SET updated_at = now() + make_interval(days => $2)
             WHERE job_id = (SELECT job_id FROM jobs WHERE job_id = ANY($1) ORDER BY updated_at LIMIT 1)
             RETURNING job_id",
        )
        .bind(&ids)
        .bind(days)
        .fetch_one(&mut *transaction)
        .await
        .expect("a turn");
        turns.push(next);
    }
    transaction.rollback().await.expect("the end");
    assert_eq!(turns, [ids.clone(), ids].concat());
}
