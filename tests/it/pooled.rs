//! PostgreSQL behind PgBouncer: sessions work as without it, and pool modes other than session are rejected.

use devstack::env_file::Env;
use devstack::pgbouncer::has_ipv6;
use devstack::services::{Program, Service, cli};
use devstack::{PgBouncer, http};
use proto::command::v1::GetStatusRequest;
use proto::error::{Reason, reason_of};
use sqlx::{AssertSqlSafe, PgPool};
use tests::clients::follow;
use tests::database::{Database, address};
use tests::metrics::scrape;
use tests::own::{binaries, command_service_beside, start_beside};
use tests::pooler::pooler;
use tests::refusal::assert_refused;
use tests::{Endpoints, jobs, new_user, until, user};
use tokio::task::block_in_place;

/// The shared one has another database's stream, and listeners.
const NO_NATS: &str = "nats://127.0.0.1:1";

/// The lines of docs/operations.md.
fn documented() -> String {
    let guide = include_str!("../../docs/operations.md");
    let lines = guide.split_once("```ini\n").and_then(|(_, rest)| rest.split_once("```"));
    lines.expect("the lines for PgBouncer").0.to_owned()
}

/// A database of this test, for the owner, through the pooler.
fn through(pooler: &PgBouncer, database: &Database) -> String {
    pooler.url_instead_of(&database.url)
}

fn env(url: String, shared: &Endpoints) -> Env {
    Env::default()
        .with("DATABASE_URL", url)
        .with("AUTH_TOKENS", format!("read+write+admin:{}", shared.token))
        .with("DATABASE_LOCK_TIMEOUT_MILLIS", "300")
        .with("COMMIT_RETRY_TIMEOUT_MILLIS", "600")
        .with("NATS_URL", NO_NATS)
}

/// Waits until /readyz fails with this text.
async fn until_unready(service: &Service, words: &str) {
    until(&format!("{} to say {words}", service.name()), || async {
        let answer =
            block_in_place(|| http::get(service.admin_addr(), "/readyz")).map_err(|e| e.to_string())?;
        let said = answer.status == 503 && answer.body.contains(words);
        if said { Ok(()) } else { Err(answer.body) }
    })
    .await;
}

fn retries(service: &Service) -> f64 {
    let samples = scrape(service.admin_addr()).into_iter();
    let retries = samples.filter(|sample| sample.metric == "followgraph_command_transaction_retries_total");
    retries.map(|sample| sample.value).sum()
}

/// Calls that use the database, unlike GetStatus and health checks; its schema or sessions may be wrong.
async fn other_calls_are_refused(endpoints: &Endpoints) {
    let mut commands = endpoints.commands();
    let refused = follow(&mut commands, &new_user(), &new_user()).await.expect_err("no committer");
    assert_refused(&refused, Reason::NotCommitted, None);
    let refused = jobs::replace_following(&commands, user(), &[user()], None, true).await;
    assert_refused(&refused.expect_err("no plan"), Reason::NotCommitted, None);
    let refused = jobs::get(&commands, &new_user()).await.expect_err("no look at jobs");
    assert_refused(&refused, Reason::StoreUnavailable, None);
}

fn migrate(url: &str) -> (Option<i32>, String) {
    let env = Env::default().with("DATABASE_URL", url);
    let output = block_in_place(|| cli(&binaries(), &env).arg("migrate").output()).expect("the CLI runs");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// The lock of all writes is held: a session without its timeout would wait as long as the caller.
async fn writes_end_at_the_lock_timeout(endpoints: &Endpoints, truth: &PgPool) {
    let mut held = truth.begin().await.expect("a transaction");
    sqlx::query("SELECT FROM log_lock FOR UPDATE").execute(&mut *held).await.expect("the lock");
    let refused = follow(&mut endpoints.commands(), &new_user(), &new_user()).await.expect_err("no lock");
    assert_eq!(reason_of(&refused), Some(Reason::NotCommitted), "{refused}");
    held.rollback().await.expect("a rollback");
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_through_a_pooler_keep_their_limits() {
    let shared = Endpoints::shared();
    let database = Database::create(&shared).await;
    // The database's default for sessions that do not set their own.
    let level = "SET default_transaction_isolation = 'serializable'";
    let change = format!("ALTER DATABASE {} {level}", database.name);
    sqlx::query(AssertSqlSafe(change)).execute(&database.pool).await.expect("a default of the database");

    let mut pooler = pooler(&shared, "");
    let socket = pooler.socket_folder().display().to_string();
    let user = database.url.rsplit_once('@').expect("a user").0;
    let by_socket = format!("{user}@/{}?host={socket}&port={}", database.name, pooler.port());
    let (code, said) = migrate(&by_socket);
    assert_eq!(code, Some(0), "{said}");

    let direct = command_service_beside(&shared, env(database.url.clone(), &shared));
    // With its defaults, then with the lines of the guide.
    for lines in [String::new(), documented()] {
        block_in_place(|| pooler.restart_with(&lines)).expect("PgBouncer starts again");
        let url = through(&pooler, &database);
        let url = if has_ipv6() { url.replace("@127.0.0.1:", "@[::1]:") } else { url };
        let pooled = command_service_beside(&shared, env(url, &shared));
        let target = new_user();
        let follows = [&pooled, &direct].into_iter().cycle().take(64).map(|service| {
            let (mut commands, target) = (shared.through(service).commands(), target.clone());
            async move { follow(&mut commands, &new_user(), &target).await }
        });
        for followed in futures::future::join_all(follows).await {
            followed.expect("a follow");
        }
        // Under another isolation level, two writers would conflict.
        assert_eq!((retries(&pooled), retries(&direct)), (0.0, 0.0));
        writes_end_at_the_lock_timeout(&shared.through(&pooled), &database.pool).await;
    }
    drop(direct);
    drop(pooler);
    database.remove(&shared).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_without_sessions_is_noticed_at_the_start() {
    let shared = Endpoints::shared();
    let mut pooler = pooler(&shared, "pool_mode = transaction");
    let words = "pool_mode = session";
    let url = |program: Program| {
        let url = shared.logins.database(program.principal());
        Env::default().with("DATABASE_URL", pooler.url_instead_of(url)).with("NATS_URL", NO_NATS)
    };
    let nowhere = "bolt://127.0.0.1:1";
    let neo4j =
        |env: Env| env.with("NEO4J_URI", nowhere).with("NEO4J_USER", "neo4j").with("NEO4J_PASSWORD", "pw");
    let tokens = format!("read+write+admin:{}", shared.token);
    let services = [
        start_beside(&shared, Program::Command, &url(Program::Command).with("AUTH_TOKENS", tokens)),
        start_beside(&shared, Program::Query, &neo4j(url(Program::Query))),
        start_beside(&shared, Program::Projector, &neo4j(url(Program::Projector))),
    ];
    for service in &services {
        until_unready(service, words).await;
    }
    other_calls_are_refused(&shared.through(&services[0])).await;
    let owner = pooler.url_instead_of(&shared.database_url);
    let (code, said) = migrate(&owner);
    assert!(code == Some(2) && said.contains(words), "{code:?} {said}");

    block_in_place(|| pooler.restart_with("pool_mode = statement")).expect("PgBouncer starts again");
    until_unready(&services[0], words).await;
    let (code, said) = migrate(&owner);
    assert!(code == Some(2) && said.contains(words), "{code:?} {said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_of_another_program_is_left_alone() {
    let shared = Endpoints::shared();
    let of_sqlx = "CREATE TABLE _sqlx_migrations (version bigint PRIMARY KEY, description text NOT NULL,
                       installed_on timestamptz NOT NULL DEFAULT now(), success boolean NOT NULL,
                       checksum bytea NOT NULL, execution_time bigint NOT NULL);
                   INSERT INTO _sqlx_migrations VALUES (20240101000000, 'other', now(), true, '\\x00', 1)";
    let of_the_older_system = "CREATE TABLE follows (follower_id uuid, following_id uuid)";
    for made in [of_sqlx, of_the_older_system] {
        let database = Database::empty(&shared).await;
        sqlx::raw_sql(made).execute(&database.pool).await.expect("tables of another program");
        let tables =
            "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'";
        let count =
            async || sqlx::query_scalar::<_, i64>(tables).fetch_one(&database.pool).await.expect("a count");
        let before = count().await;
        let words = "belongs to another program";
        let (code, said) = migrate(&database.url);
        assert!(code == Some(2) && said.contains(words), "{code:?} {said}");
        let service = start_beside(&shared, Program::Command, &env(database.url.clone(), &shared));
        until_unready(&service, words).await;
        let status = shared.through(&service).commands().get_status(GetStatusRequest {}).await;
        let checks = status.expect("a status while it waits").into_inner().checks;
        let named = checks.iter().any(|check| check.name == "postgres" && check.reason.contains(words));
        assert!(named, "{checks:?}");
        other_calls_are_refused(&shared.through(&service)).await;
        drop(service);
        assert_eq!(count().await, before, "no object was created");
        database.remove(&shared).await;
    }
    let missing = address(&shared.database_url, "no_such_database");
    let service = start_beside(&shared, Program::Command, &env(missing, &shared));
    until_unready(&service, "no_such_database").await;
}
