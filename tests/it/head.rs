//! The log head: the newest event of the outbox, under a lock that commits do not change.

use futures::{StreamExt as _, stream};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, PgPool, Row as _};
use tests::clients::follow;
use tests::database::Database;
use tests::{Endpoints, new_user, truth};
use uuid::Uuid;

/// Number of commits that would fill a hundred pages with versions of a row that each of them changes.
const COMMITS: i64 = 1_500;

#[tokio::test(flavor = "multi_thread")]
async fn reads_of_the_head_cost_the_same_beside_an_open_snapshot() {
    let endpoints = Endpoints::shared();
    let pool = endpoints.postgres().await;
    let mut snapshot = PgConnection::connect(&endpoints.database_url).await.expect("a session");
    let mut dump = snapshot.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ").await.expect("a transaction");
    sqlx::query("SELECT FROM accounts LIMIT 1").execute(&mut *dump).await.expect("a snapshot");

    let (first, pages) = (truth::head(&endpoints).await.as_i64(), pages_of_head(&pool).await);
    let size = size_of_lock(&pool).await;
    let commands = endpoints.commands();
    // A batch never contains two commands of one waiting caller, so that each round is at least two commits.
    while truth::head(&endpoints).await.as_i64() < first + COMMITS {
        stream::iter(0..100)
            .for_each_concurrent(2, |_| {
                let mut commands = commands.clone();
                async move { drop(follow(&mut commands, &new_user(), &new_user()).await.expect("a follow")) }
            })
            .await;
    }
    assert_eq!(size_of_lock(&pool).await, size, "commits add nothing to the lock");
    // The index may have grown by one level in each of two partitions.
    let after = pages_of_head(&pool).await;
    assert!(after <= pages + 4, "{pages} pages before {COMMITS} commits, {after} after them");
    dump.rollback().await.expect("the end of the snapshot");
}

async fn size_of_lock(pool: &PgPool) -> i64 {
    sqlx::query_scalar("SELECT pg_relation_size('log_lock')").fetch_one(pool).await.expect("a size")
}

/// Pages that the second read of a session accesses; the first one fills its caches.
async fn pages_of_head(pool: &PgPool) -> i64 {
    let mut session = pool.acquire().await.expect("a session");
    let explain = "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT epoch, revision, event_id FROM log_head";
    let mut touched = 0;
    for _ in 0..2 {
        let row = session.fetch_one(explain).await.expect("a plan");
        let plan: serde_json::Value = row.get(0);
        let pages = |name: &str| plan[0]["Plan"][name].as_i64().expect("a number of pages");
        touched = pages("Shared Hit Blocks") + pages("Shared Read Blocks");
    }
    touched
}

#[derive(Debug, PartialEq, Eq, sqlx::FromRow)]
struct Head {
    epoch: i64,
    revision: i64,
    event_id: Option<Uuid>,
    updated_at: time::OffsetDateTime,
    database_id: Uuid,
}

async fn head(pool: &PgPool) -> Head {
    sqlx::query_as("SELECT epoch, revision, event_id, updated_at, database_id FROM log_head")
        .fetch_one(pool)
        .await
        .expect("there is a head")
}

/// Events as a commit writes them.
async fn append(connection: &mut PgConnection, revisions: std::ops::RangeInclusive<i64>) {
    sqlx::query(
        "INSERT INTO outbox (revision, epoch, event_id, batch_id, verb, payload, committed_at)
         SELECT r, (SELECT epoch FROM log_lock), gen_random_uuid(), gen_random_uuid(), 'follow', '', clock_timestamp()
         FROM generate_series($1, $2) AS r",
    )
    .bind(revisions.start())
    .bind(revisions.end())
    .execute(connection)
    .await
    .expect("events");
}

async fn scalar<T>(pool: &PgPool, statement: &'static str) -> T
where
    T: for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres> + Send + Unpin,
{
    sqlx::query_scalar(statement).fetch_one(pool).await.expect(statement)
}

/// Moves all events five days back, as the owner may: into a partition that is old enough to be dropped.
async fn age(pool: &PgPool) {
    let partition = "DO $$
        DECLARE day date := ((now() - interval '5 days') AT TIME ZONE 'UTC')::date;
        BEGIN
            EXECUTE format('CREATE TABLE outbox_%s PARTITION OF outbox FOR VALUES FROM (%L) TO (%L)',
                to_char(day, 'YYYYMMDD'), (day - 1) || ' 00:00:00+00', (day + 1) || ' 00:00:00+00');
        END $$";
    pool.execute(partition).await.expect("a partition of the past");
    let moved = "UPDATE outbox SET committed_at = committed_at - interval '5 days'";
    pool.execute(moved).await.expect("events of the past");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_head_outlives_its_outbox_rows() {
    let endpoints = Endpoints::shared();
    let database = Database::create(&endpoints).await;
    let pool = &database.pool;
    assert_eq!((head(pool).await.revision, head(pool).await.event_id), (0, None));

    append(&mut pool.acquire().await.expect("a session"), 1..=500).await;
    age(pool).await;
    let before = head(pool).await;
    assert_eq!(before.revision, 500);
    let dropped: i32 = scalar(pool, "SELECT drop_partitions('outbox', interval '2 days')").await;
    assert_eq!(dropped, 1, "the partition that holds them");
    assert_eq!(head(pool).await, before, "without its outbox");
    pool.execute("SELECT ensure_partitions(7)").await.expect("partitions");
    assert_eq!(head(pool).await, before, "with an empty outbox");
    append(&mut pool.acquire().await.expect("a session"), 501..=501).await;

    // A recovery keeps the head, assigns a new history and a new database id, and ends a fork.
    let before = head(pool).await;
    pool.execute("UPDATE log_lock SET fork = 'revision 501 is another'").await.expect("a fork");
    let opened: i64 = scalar(pool, "SELECT open_epoch(false)").await;
    let after = head(pool).await;
    assert_eq!((after.epoch, after.revision, after.event_id), (opened, 501, before.event_id));
    assert_ne!(after.database_id, before.database_id);
    let state: (Option<String>, i64) = sqlx::query_as("SELECT fork, replace_streams_before FROM log_lock")
        .fetch_one(pool)
        .await
        .expect("a row");
    assert_eq!(state, (None, 0), "no stream may be deleted yet");
    assert_eq!(scalar::<i64>(pool, "SELECT give_up_streams()").await, opened);
    database.remove(&endpoints).await;
}

/// Creates partitions of the outbox for days relative to today (UTC).
async fn make_partitions(pool: &PgPool, days: &[i32]) {
    for days in days {
        let statement = format!(
            "DO $$
             DECLARE day date := current_date_utc() + ({days});
             BEGIN
                 EXECUTE format('CREATE TABLE outbox_%s PARTITION OF outbox FOR VALUES FROM (%L) TO (%L)',
                     to_char(day, 'YYYYMMDD'), day || ' 00:00:00+00', (day + 1) || ' 00:00:00+00');
             END $$"
        );
        sqlx::raw_sql(AssertSqlSafe(statement)).execute(pool).await.expect("a partition");
    }
}

/// A clock twenty days ahead put revisions 1 to 100 into a future partition; then it was corrected, and accepted.
#[tokio::test(flavor = "multi_thread")]
async fn partitions_of_a_clock_that_was_ahead_are_dropped_without_a_hole() {
    let endpoints = Endpoints::shared();
    let database = Database::create(&endpoints).await;
    let pool = &database.pool;
    append(&mut pool.acquire().await.expect("a session"), 1..=100).await;
    make_partitions(pool, &[20, -9]).await;
    pool.execute("UPDATE outbox SET committed_at = committed_at + interval '20 days'").await.expect("ahead");
    append(&mut pool.acquire().await.expect("a session"), 101..=150).await;
    let aged = "UPDATE outbox SET committed_at = committed_at - interval '9 days' WHERE revision > 100";
    pool.execute(aged).await.expect("nine days later");

    let before = head(pool).await;
    let drop_old = "SELECT drop_partitions('outbox', now() - interval '2 days', 151)";
    assert_eq!(scalar::<i32>(pool, drop_old).await, 0, "older revisions would stay");
    assert_eq!(scalar::<i64>(pool, "SELECT count(*) FROM outbox").await, 150, "no hole");
    // The previous release selects by dates alone.
    assert_eq!(scalar::<i32>(pool, "SELECT drop_partitions('outbox', interval '2 days')").await, 0);
    // The runbook's statement for a disk that cannot hold them until then.
    let present = "UPDATE outbox SET committed_at = now() WHERE committed_at > now() + interval '1 day'";
    assert_eq!(pool.execute(present).await.expect("into the present").rows_affected(), 100);
    assert_eq!(head(pool).await, before);
    assert_eq!(scalar::<i32>(pool, drop_old).await, 0, "not before the present is old");
    let moved = "UPDATE outbox SET committed_at = committed_at - interval '9 days' WHERE revision <= 100";
    pool.execute(moved).await.expect("nine days later");
    assert_eq!(scalar::<i32>(pool, drop_old).await, 1);
    assert_eq!(head(pool).await, before);

    // A remaining row of an older revision does not move the head back.
    append(&mut pool.acquire().await.expect("a session"), 7..=7).await;
    assert_eq!(head(pool).await, before);
    database.remove(&endpoints).await;
}

/// A clock that moved back and forth across midnight: revisions 1 to 30 and 11 to 50 are in partitions of two days.
#[tokio::test(flavor = "multi_thread")]
async fn partitions_whose_revisions_overlap_are_dropped_together() {
    let endpoints = Endpoints::shared();
    let database = Database::create(&endpoints).await;
    let pool = &database.pool;
    make_partitions(pool, &[-10]).await;
    append(&mut pool.acquire().await.expect("a session"), 1..=50).await;
    let first = "UPDATE outbox SET committed_at = committed_at - interval '10 days'
                 WHERE revision BETWEEN 1 AND 10 OR revision BETWEEN 21 AND 30";
    pool.execute(first).await.expect("the first day");

    let drop_old = "SELECT drop_partitions('outbox', now() - interval '2 days', 51)";
    assert_eq!(scalar::<i32>(pool, drop_old).await, 0, "the second day is young");
    assert_eq!(scalar::<i64>(pool, "SELECT count(*) FROM outbox").await, 50, "no hole");

    make_partitions(pool, &[-9, -8]).await;
    let second = "UPDATE outbox SET committed_at = committed_at - interval '9 days'
                  WHERE committed_at > now() - interval '1 day'";
    pool.execute(second).await.expect("the second day");
    append(&mut pool.acquire().await.expect("a session"), 51..=60).await;
    let third = "UPDATE outbox SET committed_at = committed_at - interval '8 days' WHERE revision > 50";
    pool.execute(third).await.expect("the third day");
    let needed = "SELECT drop_partitions('outbox', now() - interval '2 days', 50)";
    assert_eq!(scalar::<i32>(pool, needed).await, 0, "the last one of the second day is needed");
    let before = head(pool).await;
    assert_eq!(scalar::<i32>(pool, drop_old).await, 2, "the third day begins above both");
    assert_eq!(scalar::<i64>(pool, "SELECT min(revision) FROM outbox").await, 51);
    assert_eq!(head(pool).await, before);
    database.remove(&endpoints).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_head_is_found_by_indexes_whatever_statistics_say() {
    let endpoints = Endpoints::shared();
    let database = Database::create(&endpoints).await;
    // For the planner all partitions are empty, and scanning and sorting an empty one is cheaper.
    database.pool.execute("VACUUM ANALYZE outbox").await.expect("statistics");
    let mut session = database.pool.acquire().await.expect("a session");
    append(&mut session, 1..=5_000).await;
    let mut transaction = session.begin().await.expect("a transaction");
    for _ in 0..20 {
        transaction.execute("SELECT epoch, revision FROM log_head").await.expect("the head");
    }
    let (scans, lookups): (i64, i64) = sqlx::query_as(
        "SELECT sum(seq_scan)::bigint, sum(idx_scan)::bigint FROM pg_stat_xact_user_tables WHERE relname LIKE 'outbox_%'",
    )
    .fetch_one(&mut *transaction)
    .await
    .expect("statistics");
    assert_eq!(scans, 0, "no partition is scanned");
    assert!(lookups >= 20, "{lookups} look-ups");
    transaction.rollback().await.expect("the end");
    drop(session);
    database.remove(&endpoints).await;
}

/// The statements of a commit of the previous release, verbatim.
const OLD_LOCK: &str = "SELECT FROM log_head FOR UPDATE";
const OLD_HEAD: &str =
    "SELECT epoch, revision, event_id, greatest(clock_timestamp(), updated_at) FROM log_head";
const OLD_APPEND: &str = "
    WITH logged AS (
        INSERT INTO outbox (revision, epoch, event_id, prev_id, verb, payload, traceparent, committed_at, batch_id)
        SELECT r, e, i, p, v, b, t, c, $1
        FROM (SELECT $2::bigint, 1::bigint, $3::uuid, $4::uuid, 'follow', ''::bytea, NULL, $5::timestamptz)
             AS x(r, e, i, p, v, b, t, c)
    )
    UPDATE log_head SET revision = $2, event_id = $3, updated_at = $5";

#[tokio::test(flavor = "multi_thread")]
async fn the_release_before_commits_under_the_same_lock() {
    let endpoints = Endpoints::shared();
    let database = Database::create(&endpoints).await;
    let mut old = database.pool.acquire().await.expect("a session");
    append(&mut old, 1..=1).await;
    let mut commit = old.begin().await.expect("a transaction");
    commit.execute(OLD_LOCK).await.expect("locked");

    let mut new = database.pool.acquire().await.expect("a session");
    let refused = new.execute("SELECT FROM log_lock FOR UPDATE NOWAIT").await.expect_err("it is locked");
    assert_eq!(refused.as_database_error().and_then(|e| e.code()).as_deref(), Some("55P03"), "{refused}");

    let (_, revision, prev_id, now): (i64, i64, Option<Uuid>, time::OffsetDateTime) =
        sqlx::query_as(OLD_HEAD).fetch_one(&mut *commit).await.expect("the head");
    let event_id = Uuid::new_v4();
    let append = || {
        sqlx::query(OLD_APPEND).bind(Uuid::new_v4()).bind(revision + 1).bind(event_id).bind(prev_id).bind(now)
    };
    append().execute(&mut *commit).await.expect("an event");
    commit.commit().await.expect("committed");
    let written = head(&database.pool).await;
    assert_eq!((written.revision, written.event_id), (2, Some(event_id)));

    // And vice versa; and it does not commit on a forked history, which it does not know.
    let mut lock = new.begin().await.expect("a transaction");
    lock.execute("SELECT FROM log_lock FOR UPDATE").await.expect("locked");
    let refused = old.execute("SELECT FROM log_head FOR UPDATE NOWAIT").await.expect_err("it is locked");
    assert_eq!(refused.as_database_error().and_then(|e| e.code()).as_deref(), Some("55P03"), "{refused}");
    lock.execute("UPDATE log_lock SET fork = 'another history'").await.expect("a fork");
    lock.commit().await.expect("committed");
    let refused = append().execute(&mut *old).await.expect_err("no event on a forked history");
    assert_eq!(refused.as_database_error().and_then(|e| e.code()).as_deref(), Some("55000"), "{refused}");
    assert_eq!(head(&database.pool).await.revision, 2);
    drop((old, new));
    database.remove(&endpoints).await;
}
