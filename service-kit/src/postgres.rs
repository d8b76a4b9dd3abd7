//! Connections to PostgreSQL.
//!
//! Owns: the pool and the limits that every session carries: a dead or slow process must not hold locks for long.
//! Must not know: any statement.
//! What can go wrong: the server is down (a lazy pool connects when it is back), or no connection is free in time.
//!
//! The limits travel as start-up options of the session. A connection pooler between the process and the server must
//! pass them on.

mod address;

use std::time::Duration;

use sqlx::Connection as _;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions, Postgres};
use tokio::time::Instant;

use crate::config::{Env, Secret};
use crate::metrics::{POOL_CONNECTIONS, POOL_FAILURES, POOL_MAX, POOL_WAIT};
use crate::telemetry::Telemetry;

/// The variable that holds the address.
const VARIABLE: &str = "DATABASE_URL";

/// Longest wait for the answer of a connection that is given back. A statement that was given up is read to its end first.
const RELEASE_PATIENCE: Duration = Duration::from_secs(2);

/// Settings of a pool. Fields may be changed after reading, for a pool with a purpose of its own.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `DATABASE_URL`.
    pub url: Secret,
    /// `DATABASE_MAX_CONNECTIONS` (16).
    pub max_connections: u32,
    /// `DATABASE_ACQUIRE_TIMEOUT_MILLIS` (5000): longest wait for a connection, connecting included.
    pub acquire_timeout: Duration,
    /// `DATABASE_STATEMENT_TIMEOUT_MILLIS` (10000): the server cancels a statement that takes longer.
    pub statement_timeout: Duration,
    /// `DATABASE_LOCK_TIMEOUT_MILLIS` (5000): longest wait for a lock.
    pub lock_timeout: Duration,
    /// `DATABASE_IDLE_TRANSACTION_TIMEOUT_MILLIS` (5000): the server ends a session that sits in an open transaction.
    pub idle_transaction_timeout: Duration,
    /// `DATABASE_TCP_USER_TIMEOUT_MILLIS` (5000): the server gives up a connection whose peer does not acknowledge.
    pub tcp_user_timeout: Duration,
}

impl Settings {
    /// Reads them.
    pub fn read(env: &mut Env) -> Self {
        let url = env
            .about(
                "Address of the PostgreSQL database. For TLS it ends with \
                 ?sslmode=verify-full&sslrootcert=FILE, and &sslcert=FILE&sslkey=FILE where the server wants a \
                 certificate of ours.",
            )
            .example("postgres://user:password@127.0.0.1:5432/followgraph")
            .required_secret(VARIABLE);
        if !url.is_empty() {
            match address::check(&url) {
                Ok(ignored) => ignored.into_iter().for_each(|text| env.remark(VARIABLE, text)),
                Err(problem) => env.reject(VARIABLE, problem),
            }
        }
        Self {
            url,
            max_connections: env.about(
                "Most connections to PostgreSQL that take what comes. command-service opens 6 more; a projector never \
                 more than 4; query-service opens FALLBACK_CONCURRENCY + 4 instead.",
            ).number_or(
                "DATABASE_MAX_CONNECTIONS",
                16,
                1..=1_000,
            ),
            acquire_timeout: env
                .about("Longest wait for a PostgreSQL connection.")
                .millis_or("DATABASE_ACQUIRE_TIMEOUT_MILLIS", 5_000),
            statement_timeout: env
                .about("The server cancels a statement that takes longer. At most 12000 for command-service.")
                .millis_or("DATABASE_STATEMENT_TIMEOUT_MILLIS", 10_000),
            lock_timeout: env
                .about("Longest wait for a lock. At most 12000 for command-service.")
                .millis_or("DATABASE_LOCK_TIMEOUT_MILLIS", 5_000),
            idle_transaction_timeout: env
                .about("The server ends a session that sits idle in an open transaction for longer.")
                .millis_or("DATABASE_IDLE_TRANSACTION_TIMEOUT_MILLIS", 5_000),
            tcp_user_timeout: env
                .about("The server gives up a connection whose peer does not acknowledge for longer.")
                .millis_or("DATABASE_TCP_USER_TIMEOUT_MILLIS", 5_000),
        }
    }

    fn connect_options(&self, application_name: &str) -> Result<PgConnectOptions, sqlx::Error> {
        let millis = |duration: Duration| duration.as_millis().to_string();
        Ok(address::options(&self.url)?.application_name(application_name).options([
            ("statement_timeout", millis(self.statement_timeout)),
            ("lock_timeout", millis(self.lock_timeout)),
            ("idle_in_transaction_session_timeout", millis(self.idle_transaction_timeout)),
            ("tcp_user_timeout", millis(self.tcp_user_timeout)),
            // That one is about what was sent. A session that sits idle with an advisory lock, on a machine that is
            // gone, is found by these, after about 11 s; without them after two hours.
            ("tcp_keepalives_idle", "5".to_owned()),
            ("tcp_keepalives_interval", "2".to_owned()),
            ("tcp_keepalives_count", "3".to_owned()),
            // Compiling a statement pays for reports, not for statements of a millisecond.
            ("jit", "off".to_owned()),
        ]))
    }

    fn pool_options(&self) -> PgPoolOptions {
        pool_options(self.max_connections, self.acquire_timeout)
    }
}

/// What every pool of ours begins with.
pub fn pool_options(max_connections: u32, acquire_timeout: Duration) -> PgPoolOptions {
    PgPoolOptions::new()
        .max_connections(max_connections)
        .acquire_timeout(acquire_timeout)
        // What was given up in the middle is tested by the pool before somebody else gets it, without a limit: were the
        // host gone without a word, its place would be taken for a quarter of an hour.
        .after_release(|connection, _| {
            Box::pin(async move {
                let answered = tokio::time::timeout(RELEASE_PATIENCE, connection.ping()).await;
                answered
                    .unwrap_or_else(|_| Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()))?;
                Ok(true)
            })
        })
}

/// The server answers and takes no writes.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("PostgreSQL is read-only: a standby in recovery, or default_transaction_read_only is on")]
pub struct ReadOnly;

/// Whether the session's server takes no writes. A failover, or a change of settings, can make it so at any time.
pub async fn is_read_only(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar(
        "-- is_read_only
         SELECT pg_is_in_recovery() OR current_setting('default_transaction_read_only')::boolean",
    )
    .fetch_one(connection)
    .await
}

/// Fails with [`ReadOnly`] if the session's server takes no writes.
pub async fn check_writable(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    match is_read_only(connection).await? {
        true => Err(std::io::Error::other(ReadOnly).into()),
        false => Ok(()),
    }
}

/// Whether an error says that the server takes no writes.
pub fn says_read_only(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(error) => error.get_ref().is_some_and(|error| error.is::<ReadOnly>()),
        sqlx::Error::Database(error) => error.code().as_deref() == Some("25006"),
        _ => false,
    }
}

/// What every pool whose sessions write begins with. A session at a read-only server is healthy to the driver, which
/// would use it for half an hour; here it is closed when it is given back, and the next one may reach the primary.
pub fn writer_pool_options(max_connections: u32, acquire_timeout: Duration) -> PgPoolOptions {
    pool_options(max_connections, acquire_timeout).after_release(|connection, _| {
        Box::pin(async move {
            let answered = tokio::time::timeout(RELEASE_PATIENCE, is_read_only(connection)).await;
            let read_only = answered
                .unwrap_or_else(|_| Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()))?;
            Ok(!read_only)
        })
    })
}

/// Connects, and fails if the server does not answer.
pub async fn connect(settings: &Settings, application_name: &str) -> Result<PgPool, sqlx::Error> {
    settings.pool_options().connect_with(settings.connect_options(application_name)?).await
}

/// A pool that connects when it is first used, so that a process starts while the server is down.
pub fn connect_lazy(settings: &Settings, application_name: &str) -> Result<PgPool, sqlx::Error> {
    Ok(settings.pool_options().connect_lazy_with(settings.connect_options(application_name)?))
}

/// The same for sessions that write; see [`writer_pool_options`].
pub fn connect_lazy_writer(settings: &Settings, application_name: &str) -> Result<PgPool, sqlx::Error> {
    Ok(writer_pool_options(settings.max_connections, settings.acquire_timeout)
        .connect_lazy_with(settings.connect_options(application_name)?))
}

/// Takes a connection and records how long that took. The transaction begins after it:
/// `acquire(&pool).await?.begin().await?`.
pub async fn acquire(pool: &PgPool) -> Result<PoolConnection<Postgres>, sqlx::Error> {
    let started = Instant::now();
    let connection = pool.acquire().await;
    metrics::histogram!(POOL_WAIT).record(started.elapsed());
    if connection.is_err() {
        metrics::counter!(POOL_FAILURES).increment(1);
    }
    connection
}

/// The server's limit is behind ours: a caller's deadline must not look like a failure of the server.
const SERVER_SLACK: Duration = Duration::from_millis(100);

/// Lets no statement of this session take much longer, until the next limit: whoever takes a connection sets one.
pub async fn limit_statements(connection: &mut PgConnection, within: Duration) -> Result<(), sqlx::Error> {
    sqlx::query("-- limit_statements\nSELECT set_config('statement_timeout', $1, false)")
        .bind((within + SERVER_SLACK).as_millis().to_string())
        .execute(connection)
        .await
        .map(|_| ())
}

/// Shows the state of a pool in the metrics; `name` tells pools of one process apart.
pub fn export_pool_metrics(telemetry: &Telemetry, name: &'static str, pool: &PgPool) {
    let pool = pool.clone();
    telemetry.on_scrape(move || {
        let size = pool.size();
        let idle = u32::try_from(pool.num_idle()).unwrap_or(u32::MAX);
        metrics::gauge!(POOL_CONNECTIONS, "pool" => name, "state" => "idle").set(f64::from(idle));
        metrics::gauge!(POOL_CONNECTIONS, "pool" => name, "state" => "used")
            .set(f64::from(size.saturating_sub(idle)));
        metrics::gauge!(POOL_MAX, "pool" => name).set(f64::from(pool.options().get_max_connections()));
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_certificates::{Authority, Folder};

    fn settings() -> Settings {
        let mut env = Env::from_pairs([(VARIABLE, "postgres://app:pw@127.0.0.1:1/main")]);
        let settings = Settings::read(&mut env);
        env.finish(settings).expect("valid settings")
    }

    #[test]
    fn every_session_carries_its_limits() {
        let options = settings().connect_options("writer").expect("a valid address");
        let text = options.get_options().expect("options");
        for wanted in [
            "statement_timeout=10000",
            "lock_timeout=5000",
            "idle_in_transaction_session_timeout=5000",
            "tcp_user_timeout=5000",
            "tcp_keepalives_idle=5",
            "tcp_keepalives_interval=2",
            "tcp_keepalives_count=3",
        ] {
            assert!(text.contains(wanted), "{wanted} is missing in {text}");
        }
        assert_eq!(options.get_application_name(), Some("writer"));
    }

    #[tokio::test]
    async fn a_lazy_pool_is_made_while_the_server_is_down() {
        let mut settings = settings();
        settings.acquire_timeout = Duration::from_millis(50);
        let pool = connect_lazy(&settings, "writer").expect("nothing is opened yet");
        assert!(acquire(&pool).await.is_err());
    }

    #[test]
    fn files_for_tls_are_checked_before_they_are_needed() {
        let (folder, authority) = (Folder::new(), Authority::new());
        let (certificate, key) = authority.client();
        let ca = folder.file("ca.pem", &authority.pem());
        let certificate = folder.file("client.pem", &certificate);
        let key = folder.file("client.key", &key);
        let mistake = |parameters: String| {
            let url = format!("postgres://app:pw@h/main?sslmode=verify-full&{parameters}");
            let mut env = Env::from_pairs([(VARIABLE, url)]);
            let settings = Settings::read(&mut env);
            env.finish(settings).map(drop).map_err(|error| error.to_string())
        };
        assert_eq!(mistake(format!("sslrootcert={ca}&sslcert={certificate}&sslkey={key}")), Ok(()));
        for (parameters, wanted) in [
            ("sslrootcert=/not/there".to_owned(), "sslrootcert, which names a file that cannot be read"),
            (format!("sslrootcert={key}"), "sslrootcert, which names a file without a PEM certificate"),
            (format!("sslcert={certificate}"), "names sslcert without sslkey"),
            (
                format!("sslcert={certificate}&sslkey={ca}"),
                "sslkey, which names a file without a PEM private key",
            ),
        ] {
            let said = mistake(parameters).expect_err("a mistake");
            assert!(said.contains(wanted), "{said}");
        }
    }

    #[test]
    fn an_address_of_another_kind_is_a_mistake() {
        let mut env = Env::from_pairs([(VARIABLE, "mysql://app:pw@h/main")]);
        let settings = Settings::read(&mut env);
        let text = env.finish(settings).expect_err("not PostgreSQL").to_string();
        assert!(text.contains("is not a PostgreSQL address") && !text.contains("pw"), "{text}");
    }
}
