//! PostgreSQL's roles: each service has only the privileges that it needs. All other tests show that each has those,
//! since services run with these roles.

use devstack::Principal;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _, FromRow};
use tests::Endpoints;

/// "insufficient_privilege".
const REFUSED: &str = "42501";
/// "read_only_sql_transaction".
const READ_ONLY: &str = "25006";

/// Statements for the owner alone.
const FOR_THE_OWNER: [&str; 14] = [
    "DROP TABLE follows",
    "ALTER TABLE follows ADD COLUMN mine integer",
    "TRUNCATE follows",
    "CREATE TABLE mine (x integer)",
    "CREATE TEMPORARY TABLE mine (x integer)",
    "CREATE ROLE mine",
    "ALTER ROLE followgraph PASSWORD 'mine'",
    "DELETE FROM log_lock",
    "UPDATE log_lock SET epoch = 1",
    "UPDATE outbox SET verb = 'mine'",
    "DELETE FROM _sqlx_migrations",
    "SELECT open_epoch(true)",
    "SELECT give_up_streams()",
    "SELECT keep_head()",
];

/// Statements for command-service and the owner.
const FOR_THE_WRITER: [&str; 12] = [
    "INSERT INTO follows SELECT * FROM follows LIMIT 0",
    "UPDATE accounts SET followers = 0",
    "DELETE FROM follows",
    "DELETE FROM accounts",
    "UPDATE log_head SET revision = 0",
    "SELECT FROM log_head FOR UPDATE",
    "SELECT FROM log_lock FOR UPDATE",
    "LOCK TABLE follows IN EXCLUSIVE MODE",
    "INSERT INTO outbox SELECT * FROM outbox LIMIT 0",
    "SELECT FROM replies",
    "SELECT FROM archived_follows",
    "SELECT drop_partitions('outbox', '1 day')",
];

async fn connect(who: Principal) -> PgConnection {
    let url = Endpoints::shared().logins.database(who).to_owned();
    PgConnection::connect(&url).await.expect("the role can log in")
}

/// Tries a statement, and rolls it back; returns the code of its error.
async fn attempt(connection: &mut PgConnection, statement: &'static str) -> Option<String> {
    connection.execute("BEGIN READ WRITE").await.expect("a transaction");
    let outcome = connection.execute(statement).await;
    connection.execute("ROLLBACK").await.expect("the end of it");
    let error = outcome.err()?;
    Some(
        error
            .as_database_error()
            .and_then(|error| error.code())
            .expect("an error of PostgreSQL")
            .into_owned(),
    )
}

async fn assert_refused(who: Principal, statements: &[&'static str]) {
    let mut connection = connect(who).await;
    for statement in statements {
        assert_eq!(
            attempt(&mut connection, statement).await.as_deref(),
            Some(REFUSED),
            "{who:?}: {statement}"
        );
    }
}

#[tokio::test]
async fn services_do_not_own_what_they_use() {
    for who in [Principal::Command, Principal::Query, Principal::Projector] {
        assert_refused(who, &FOR_THE_OWNER).await;
    }
}

#[tokio::test]
async fn readers_cannot_write_and_see_only_what_they_show() {
    for who in [Principal::Query, Principal::Projector] {
        assert_refused(who, &FOR_THE_WRITER).await;
    }
    assert_refused(Principal::Projector, &["SELECT user_id FROM accounts", "SELECT FROM jobs"]).await;
    assert_refused(Principal::Query, &["SELECT FROM jobs", "SELECT FROM projectors"]).await;
    let mut writer = connect(Principal::Command).await;
    for statement in FOR_THE_WRITER {
        // Not the statements that wait for locks or would break other tests.
        if statement.starts_with("LOCK")
            || statement.contains("drop_partitions")
            || statement.contains("log_")
        {
            continue;
        }
        let outcome = attempt(&mut writer, statement).await;
        assert_ne!(outcome.as_deref(), Some(REFUSED), "the writer: {statement}");
    }
}

#[derive(Debug, FromRow, PartialEq, Eq)]
struct Limits {
    superuser: bool,
    makes_roles: bool,
    passes_policies: bool,
    connections: i32,
    statement_timeout: String,
    read_only: String,
}

#[tokio::test]
async fn sessions_have_limits_before_a_service_sets_any() {
    for (who, connections, read_only) in
        [(Principal::Command, 90, "off"), (Principal::Query, 80, "on"), (Principal::Projector, 20, "on")]
    {
        let mut connection = connect(who).await;
        let found: Limits = sqlx::query_as(
            "SELECT rolsuper AS superuser, rolcreaterole AS makes_roles, rolbypassrls AS passes_policies,
                    rolconnlimit AS connections, current_setting('statement_timeout') AS statement_timeout,
                    current_setting('default_transaction_read_only') AS read_only
             FROM pg_roles WHERE rolname = current_user",
        )
        .fetch_one(&mut connection)
        .await
        .expect("a row");
        let wanted = Limits {
            superuser: false,
            makes_roles: false,
            passes_policies: false,
            connections,
            statement_timeout: "10s".to_owned(),
            read_only: read_only.to_owned(),
        };
        assert_eq!(found, wanted, "{who:?}");
        if read_only == "on" {
            let outcome = connection.execute("DELETE FROM follows").await.expect_err("it only reads");
            let code =
                outcome.as_database_error().and_then(|error| error.code()).expect("an error of PostgreSQL");
            assert_eq!(code, READ_ONLY, "{who:?}");
        }
    }
}

#[tokio::test]
async fn a_login_without_a_role_is_refused() {
    let shared = Endpoints::shared();
    let mut owner = PgConnection::connect(&shared.database_url).await.expect("the owner");
    let stranger = format!("stranger_{}", uuid::Uuid::new_v4().simple());
    let make = format!("CREATE ROLE {stranger} LOGIN PASSWORD 'stranger'");
    owner.execute(AssertSqlSafe(make)).await.expect("a role of the cluster");
    let options: PgConnectOptions = shared.database_url.parse().expect("an address");
    let outcome = options.username(&stranger).password("stranger").connect().await;
    owner.execute(AssertSqlSafe(format!("DROP ROLE {stranger}"))).await.expect("it is removed");
    let error = outcome.expect_err("a stranger");
    let code = error.as_database_error().and_then(|error| error.code().map(std::borrow::Cow::into_owned));
    assert_eq!(code.as_deref(), Some(REFUSED), "{error}");
}
