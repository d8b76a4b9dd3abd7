//! command-service creates partitions without delaying writes, and drops those that are no longer needed (I6).

use std::sync::atomic::{AtomicBool, Ordering};

use devstack::{Principal, http};
use futures::future::join_all;
use sqlx::{AssertSqlSafe, PgPool};
use tests::own::Victim;
use tests::{Act, Ask, Endpoints, Own, truth, until, user, users};
use tokio::task::block_in_place;
use uuid::Uuid;

async fn run(pool: &PgPool, statement: &str) {
    sqlx::raw_sql(AssertSqlSafe(statement))
        .execute(pool)
        .await
        .unwrap_or_else(|e| panic!("{statement}: {e}"));
}

async fn exists(pool: &PgPool, partition: &str) -> bool {
    sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL")
        .bind(partition)
        .fetch_one(pool)
        .await
        .expect("an answer")
}

/// The name of the partition of a day, by the number of days before today.
async fn name(pool: &PgPool, parent: &str, days_ago: i32) -> String {
    sqlx::query_scalar("SELECT $1 || to_char(current_date_utc() - $2, '_YYYYMMDD')")
        .bind(parent)
        .bind(days_ago)
        .fetch_one(pool)
        .await
        .expect("a name")
}

/// Creates the partition of a past day.
async fn make(pool: &PgPool, parent: &str, days_ago: i32) -> String {
    let child = name(pool, parent, days_ago).await;
    let statement = format!(
        "DO $$ BEGIN
             CREATE TABLE {child} (LIKE {parent} INCLUDING ALL);
             EXECUTE format('ALTER TABLE {parent} ATTACH PARTITION {child} FOR VALUES FROM (%L) TO (%L)',
                 (current_date_utc() - {days_ago}) || ' 00:00:00+00', (current_date_utc() - {days_ago} + 1) || ' 00:00:00+00');
         END $$"
    );
    run(pool, &statement).await;
    child
}

#[tokio::test]
async fn old_partitions_are_dropped_also_where_the_catalogue_was_analysed() {
    let pool = Endpoints::shared().postgres().await;
    for parent in ["outbox", "replies"] {
        let old = make(&pool, parent, 2_000).await;
        // Otherwise the planner may read the names of all relations first.
        run(&pool, "ANALYZE pg_class, pg_inherits").await;
        let dropped: i32 = sqlx::query_scalar("SELECT drop_partitions($1, interval '7 days')")
            .bind(parent)
            .fetch_one(&pool)
            .await
            .expect("it finds what is old");
        assert_eq!(dropped, 1, "partitions of {parent}");
        assert!(!exists(&pool, &old).await);
    }
}

#[tokio::test]
async fn command_service_may_not_drop_young_partitions_nor_make_far_ones() {
    let endpoints = Endpoints::shared();
    let role = PgPool::connect(endpoints.logins.database(Principal::Command)).await.expect("the role");
    for statement in [
        "SELECT drop_partitions('outbox', '-30 days')",
        "SELECT drop_partitions('outbox', '23 hours')",
        "SELECT drop_partitions('replies', NULL)",
        "SELECT drop_partitions('outbox', now() - interval '23 hours', NULL)",
        "SELECT drop_partitions('outbox', now() + interval '30 days', 5)",
        "SELECT drop_partitions('replies', NULL, NULL)",
        "SELECT ensure_partitions(61)",
        "SELECT ensure_partitions('outbox', 1000000)",
        "SELECT ensure_partitions('outbox', -1)",
        "SELECT ensure_partitions('outbox', NULL)",
        "SELECT ensure_partitions('follows', 1)",
    ] {
        let outcome = sqlx::query(statement).execute(&role).await;
        let error = outcome.expect_err(statement).into_database_error().expect("an error of PostgreSQL");
        assert_eq!(error.code().as_deref(), Some("P0001"), "{statement}: {error}");
    }
    let refused = sqlx::query("SELECT accept_clock()").execute(&role).await.expect_err("the owner's");
    assert_eq!(
        refused.into_database_error().expect("an error of PostgreSQL").code().as_deref(),
        Some("42501")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_are_made_beside_a_load_of_keyed_writes() {
    let endpoints = Endpoints::shared();
    let pool = endpoints.postgres().await;
    let stop = AtomicBool::new(false);
    let writers = join_all((0..64).map(|_| async {
        let commands = endpoints.commands();
        let mut written = 0;
        while !stop.load(Ordering::Relaxed) {
            let [a, b] = users();
            assert!(Ask::new(Act::Follow, a, b).under(Uuid::new_v4()).done(&commands).await.changed);
            written += 1;
        }
        written
    }));
    let upkeep = async {
        let mut failed = Vec::new();
        for days in 10..50 {
            for parent in ["replies", "outbox"] {
                let mut transaction = pool.begin().await.expect("a transaction");
                sqlx::query("SET LOCAL lock_timeout = '200ms'")
                    .execute(&mut *transaction)
                    .await
                    .expect("set");
                let made = sqlx::query_scalar::<_, i32>("SELECT ensure_partitions($1, $2)")
                    .bind(parent)
                    .bind(days)
                    .fetch_one(&mut *transaction)
                    .await;
                match made {
                    Ok(made) => assert!(made >= 1, "{days}"),
                    Err(error) => failed.push(format!("{parent} {days}: {error}")),
                }
                transaction.commit().await.expect("a commit");
            }
        }
        stop.store(true, Ordering::Relaxed);
        failed
    };
    let (written, failed) = tokio::join!(writers, upkeep);
    println!("{} follows meanwhile", written.iter().sum::<u32>());
    assert_eq!(failed, Vec::<String>::new());
    assert!(written.iter().all(|each| *each > 0), "{written:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_partition_of_today_is_made_at_once() {
    let own = Own::light().start().await;
    let endpoints = own.endpoints.clone();
    let (commands, pool) = (endpoints.commands(), endpoints.postgres().await);
    // Before the first event, so that no history is dropped with it.
    let today = name(&pool, "outbox", 0).await;
    run(&pool, &format!("DROP TABLE {today}")).await;
    let [a, b] = users();
    assert!(Ask::new(Act::Follow, a, b).done(&commands).await.changed);
    assert!(exists(&pool, &today).await);
    let today = name(&pool, "replies", 0).await;
    run(&pool, &format!("DROP TABLE {today}")).await;
    assert!(Ask::new(Act::Follow, a, user()).under(Uuid::new_v4()).done(&commands).await.changed);
    assert!(exists(&pool, &today).await);
    // A partition that was detached and still exists is attached again.
    run(&pool, &format!("ALTER TABLE replies DETACH PARTITION {today}")).await;
    assert!(Ask::new(Act::Follow, a, user()).under(Uuid::new_v4()).done(&commands).await.changed);
    truth::assert_agreement(&endpoints, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn inserts_that_fail_are_seen_without_traffic() {
    let own = Own::light().start().await;
    let pool = own.endpoints.postgres().await;
    // Neither the maintenance task nor a command can create this partition: another object has its name.
    let today = name(&pool, "replies", 0).await;
    run(&pool, &format!("DROP TABLE {today}; CREATE VIEW {today} AS SELECT 1 AS x")).await;
    let readyz = || async {
        let answer = block_in_place(|| http::get(own.pipeline.command.admin_addr(), "/readyz"));
        answer.map(|answer| (answer.status, answer.body)).map_err(|error| error.to_string())
    };
    until("the check `commits` to fail", || async {
        let (status, body) = readyz().await?;
        let names = body.contains("there are no partitions for today");
        if status == 503 && names { Ok(()) } else { Err(body) }
    })
    .await;
    until("the metric to say that there is no partition for today", || async {
        let metrics = block_in_place(|| tests::metrics::scrape(own.pipeline.command.admin_addr()));
        let of_replies = metrics.iter().find(|sample| {
            sample.metric == "followgraph_partition_days_ahead" && sample.labels["parent"] == "replies"
        });
        let days = of_replies.expect("the metric").value;
        if days < 0.0 { Ok(()) } else { Err(format!("{days}")) }
    })
    .await;
    run(&pool, &format!("DROP VIEW {today}")).await;
    until("the check `commits` to pass", || async {
        let (status, body) = readyz().await?;
        if status == 200 { Ok(()) } else { Err(body) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_upkeep_keeps_what_projectors_and_repeats_need() {
    let mut own = Own::light().start().await;
    let endpoints = own.endpoints.clone();
    let (commands, pool) = (endpoints.commands(), endpoints.postgres().await);
    for _ in 0..6 {
        assert!(Ask::new(Act::Follow, user(), user()).done(&commands).await.changed);
    }
    truth::wait_caught_up(&endpoints).await;
    until("the record of the projector to reach the head", || async {
        let least = "SELECT coalesce(min(revision), 0) FROM projectors";
        let least: i64 = sqlx::query_scalar(least).fetch_one(&pool).await.expect("the records");
        if least >= 6 { Ok(()) } else { Err(least.to_string()) }
    })
    .await;
    // Revisions 1 and 2 are twelve days old, 3 and 4 ten.
    for (days_ago, last) in [(12, 2), (10, 4)] {
        make(&pool, "outbox", days_ago).await;
        let statement = format!(
            "UPDATE outbox SET committed_at = committed_at - interval '{days_ago} days'
             WHERE revision <= {last} AND committed_at > now() - interval '1 day'"
        );
        run(&pool, &statement).await;
    }
    let older = name(&pool, "outbox", 12).await;
    let old = name(&pool, "outbox", 10).await;
    let put = |name: &'static str, revision: i64| {
        let pool = pool.clone();
        async move {
            let sql = "INSERT INTO projectors (name, epoch, revision, seen_at)
                       SELECT $1, epoch, $2, now() FROM log_head";
            sqlx::query(sql).bind(name).bind(revision).execute(&pool).await.expect("a projector");
        }
    };

    put("slow", 2).await;
    tidied(&mut own, &pool).await;
    assert!(!exists(&pool, &older).await, "needed by none");
    assert!(exists(&pool, &old).await, "it holds revision 3, which the slow one needs");

    put("lost", 0).await;
    tidied(&mut own, &pool).await;
    assert!(exists(&pool, &old).await, "a projector that needs pruned events does not affect the other");

    run(&pool, "DELETE FROM projectors WHERE name = 'slow'").await;
    tidied(&mut own, &pool).await;
    assert!(!exists(&pool, &old).await, "a projector that needs pruned events retains no partition");
    a_record_lives_for_a_day(&mut own, &pool).await;
    truth::assert_agreement(&endpoints, 3).await;
}

/// I6: a repeat gets the first answer while its record is younger than 24 hours. The record is dropped with the
/// partition of its day.
async fn a_record_lives_for_a_day(own: &mut Own, pool: &PgPool) {
    let commands = own.endpoints.commands();
    let mut records = Vec::new();
    let gone = make(pool, "replies", 2).await;
    for age in ["23 hours 59 minutes", "2 days"] {
        let request_id = Uuid::new_v4();
        let follow = Ask::new(Act::Follow, user(), user()).under(request_id);
        let first = follow.done(&commands).await;
        assert!(first.changed);
        let earlier =
            format!("UPDATE replies SET created_at = created_at - interval '{age}' WHERE request_id = $1");
        let moved = sqlx::query(AssertSqlSafe(earlier)).bind(request_id).execute(pool).await;
        assert_eq!(moved.expect("there is a partition for it").rows_affected(), 1);
        records.push((follow, first));
    }
    tidied(own, pool).await;
    assert!(!exists(pool, &gone).await, "its records are older than a day");
    let commands = own.endpoints.commands();
    let [(young, first), (old, _)] = &records[..] else { panic!("two records") };
    let repeated = young.done(&commands).await;
    assert_eq!((repeated.changed, &repeated.written_at), (true, &first.written_at), "the first answer");
    assert!(!old.done(&commands).await.changed, "executed again, without effect");
}

/// Restarts command-service, and waits until it has dropped old partitions.
async fn tidied(own: &mut Own, pool: &PgPool) {
    let canary = make(pool, "outbox", 40).await;
    own.kill(Victim::Command);
    own.revive(Victim::Command);
    own.wait_ready();
    until("old partitions to be dropped", || async {
        if exists(pool, &canary).await { Err("not yet".to_owned()) } else { Ok(()) }
    })
    .await;
}
