//! Connections to PostgreSQL: the pool, and the limits of every session. A dead or slow process must not hold locks for
//! long.
//!
//! What depends on the settings alone is checked when they are read; what depends on the server, by [`check_sessions`].

mod address;
mod session;

use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions, Postgres};
use sqlx::{ConnectOptions as _, Connection as _};
use tokio::time::Instant;

use self::session::{Parameters, timed_out};
pub use self::session::{SharedSession, check_sessions, is_shared_session};
use crate::config::{Env, Secret};
use crate::metrics::{POOL_CONNECTIONS, POOL_FAILURES, POOL_MAX, POOL_WAIT};
use crate::telemetry::{Telemetry, chain};
use crate::with_timeout;

/// The variable that holds the address.
const VARIABLE: &str = "DATABASE_URL";

/// Timeout of the check of a returned connection. An abandoned statement is read to its end first.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(2);

crate::declare_settings! {
    /// Settings of a pool. Fields may be changed after reading, for special pools.
    pub struct Settings;
    /// Reads them.
    pub fn read(env);

    /// Address of the PostgreSQL database. For TLS, append ?sslmode=verify-full&sslrootcert=FILE, and
    /// &sslcert=FILE&sslkey=FILE if the server requires a client certificate.
    url: Secret = read_address(env);
    /// Maximum size of the general connection pool. command-service opens 6 additional connections; a projector opens
    /// at most 4; query-service opens FALLBACK_CONCURRENCY + 4 instead.
    max_connections: u32 = env.number_or("DATABASE_MAX_CONNECTIONS", 16, 1..=1_000);
    /// How long a call waits for a PostgreSQL connection.
    acquire_timeout: Duration = env.millis_or("DATABASE_ACQUIRE_TIMEOUT_MILLIS", 5_000);
    /// The server cancels a statement that takes longer. At most 12000 for command-service.
    statement_timeout: Duration = env.millis_or("DATABASE_STATEMENT_TIMEOUT_MILLIS", 10_000);
    /// Timeout of a lock in PostgreSQL. At most 12000 for command-service.
    lock_timeout: Duration = env.millis_or("DATABASE_LOCK_TIMEOUT_MILLIS", 5_000);
    /// The server ends a session that is idle in a transaction for longer.
    idle_transaction_timeout: Duration = env.millis_or("DATABASE_IDLE_TRANSACTION_TIMEOUT_MILLIS", 5_000);
    /// The server closes a connection whose peer does not acknowledge data for longer.
    tcp_user_timeout: Duration = env.millis_or("DATABASE_TCP_USER_TIMEOUT_MILLIS", 5_000);
}

fn read_address(env: &mut Env) -> Secret {
    let url = env.example("postgres://user:password@127.0.0.1:5432/followgraph").required_secret(VARIABLE);
    // An empty address is reported as missing.
    if !url.is_empty() {
        match address::check(&url) {
            Ok(ignored) => ignored.into_iter().for_each(|text| env.remark(VARIABLE, text)),
            Err(faults) => faults
                .into_iter()
                .for_each(|fault| env.reject(fault.variable.unwrap_or(VARIABLE), fault.text)),
        }
    }
    url
}

impl Settings {
    fn connect_options(&self, application_name: &str) -> Result<PgConnectOptions, sqlx::Error> {
        Ok(address::options(&self.url)?.application_name(application_name))
    }

    fn parameters(&self) -> Parameters {
        let millis = |duration: Duration| duration.as_millis().to_string();
        Parameters::new([
            ("statement_timeout", millis(self.statement_timeout)),
            ("lock_timeout", millis(self.lock_timeout)),
            ("idle_in_transaction_session_timeout", millis(self.idle_transaction_timeout)),
            ("tcp_user_timeout", millis(self.tcp_user_timeout)),
            // `tcp_user_timeout` covers sent data only. Keepalives end an idle session with an advisory lock about 11 s
            // after its machine has vanished; without them it takes two hours.
            ("tcp_keepalives_idle", "5".to_owned()),
            ("tcp_keepalives_interval", "2".to_owned()),
            ("tcp_keepalives_count", "3".to_owned()),
            // JIT compilation pays for reports, not for statements of a millisecond.
            ("jit", "off".to_owned()),
        ])
    }
}

/// Options of every pool.
fn pool_of(max_connections: u32, acquire_timeout: Duration, parameters: Parameters) -> PgPoolOptions {
    let options = PgPoolOptions::new().max_connections(max_connections).acquire_timeout(acquire_timeout);
    options.after_connect(move |connection, _| {
        let parameters = parameters.clone();
        Box::pin(async move { parameters.set(connection).await })
    })
}

/// Options of every pool of a service.
fn pool_options(settings: &Settings, parameters: Parameters) -> PgPoolOptions {
    pool_of(settings.max_connections, settings.acquire_timeout, parameters)
        // The pool tests an abandoned connection before its next use, without a timeout: if the host has vanished, that
        // takes a quarter of an hour.
        .after_release(|connection, _| {
            Box::pin(async move {
                with_timeout(RELEASE_TIMEOUT, connection.ping(), timed_out).await.map(|()| true)
            })
        })
}

/// The server answers, but rejects writes.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("PostgreSQL is read-only: a standby in recovery, or default_transaction_read_only is on")]
pub struct ReadOnly;

/// True if the session's server rejects writes. A failover or a change of settings can cause that at any time.
pub async fn is_read_only(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar(
        "-- is_read_only
         SELECT pg_is_in_recovery() OR current_setting('default_transaction_read_only')::boolean",
    )
    .fetch_one(connection)
    .await
}

/// Fails with [`ReadOnly`] if the session's server rejects writes.
pub async fn check_writable(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    match is_read_only(connection).await? {
        true => Err(std::io::Error::other(ReadOnly).into()),
        false => Ok(()),
    }
}

/// True if an error says that the server rejects writes.
pub fn is_read_only_error(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(error) => error.get_ref().is_some_and(|error| error.is::<ReadOnly>()),
        sqlx::Error::Database(error) => error.code().as_deref() == Some("25006"),
        _ => false,
    }
}

/// Options of every pool whose sessions write. The driver would use a session at a read-only server for half an hour;
/// here it is closed when it is returned, and the next one may reach the primary.
fn writer_pool_options(settings: &Settings, parameters: Parameters) -> PgPoolOptions {
    pool_options(settings, parameters).after_release(|connection, _| {
        Box::pin(async move {
            let read_only = with_timeout(RELEASE_TIMEOUT, is_read_only(connection), timed_out).await?;
            Ok(!read_only)
        })
    })
}

/// Creates a pool that connects at its first use, so that a process starts while the server is down.
pub fn connect_lazy(settings: &Settings, application_name: &str) -> Result<PgPool, sqlx::Error> {
    let options = settings.connect_options(application_name)?;
    Ok(pool_options(settings, settings.parameters()).connect_lazy_with(options))
}

/// Creates a pool for sessions that write. A session at a read-only server is closed when it is returned.
pub fn connect_lazy_writer(settings: &Settings, application_name: &str) -> Result<PgPool, sqlx::Error> {
    let options = settings.connect_options(application_name)?;
    Ok(writer_pool_options(settings, settings.parameters()).connect_lazy_with(options))
}

/// Creates a pool of two sessions that write, with these settings of the planner.
pub fn connect_lazy_pair(
    settings: &Settings,
    application_name: &str,
    planner: &[(&'static str, &'static str)],
) -> Result<PgPool, sqlx::Error> {
    let settings = Settings { max_connections: 2, ..settings.clone() };
    let options = settings.connect_options(application_name)?;
    let pool = writer_pool_options(&settings, settings.parameters().and(planner));
    // A dead connection fails at BEGIN, and the batch is retried: no ping before each.
    Ok(pool.test_before_acquire(false).connect_lazy_with(options))
}

/// Connects a tool, without a timeout for statements. Fails if the server does not answer, or with [`SharedSession`].
pub async fn connect_tool(
    url: &Secret,
    application_name: &str,
    acquire_timeout: Duration,
) -> Result<PgPool, sqlx::Error> {
    let options = address::options(url)?.application_name(application_name);
    let endless = ["statement_timeout", "idle_in_transaction_session_timeout"];
    let parameters = Parameters::new(endless.map(|name| (name, "0".to_owned())));
    let pool = pool_of(2, acquire_timeout, parameters).connect_with(options).await?;
    check_sessions(&pool).await?;
    Ok(pool)
}

/// Connects to the database of another program.
pub async fn connect_other(url: &Secret) -> Result<PgConnection, sqlx::Error> {
    address::options(url)?.connect().await
}

/// Checks an address, the variables of libpq that complete it, and the files that they name. The error quotes none of
/// them.
pub fn check_address(url: &Secret) -> Result<(), String> {
    address::check(url).map(drop).map_err(|faults| address::in_words(&faults))
}

/// `insufficient_privilege`.
const NO_RIGHT: &str = "42501";

/// True if the server answers but the settings must be corrected: it refuses the login, lacks the database, or denies
/// the role a right. Waiting does not help.
pub fn is_misconfiguration(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Database(error) if error.code().is_some_and(|code| is_of_settings(&code)))
}

/// Classes 28 (the login) and 3D (the database), and `invalid_parameter_value`: a parameter of the address.
fn is_of_settings(code: &str) -> bool {
    code.starts_with("28") || code.starts_with("3D") || [NO_RIGHT, "22023"].contains(&code)
}

/// Describes an error of the connection to the operator. The server's messages name users and databases, but no
/// passwords.
pub fn problem(error: &sqlx::Error) -> String {
    match error {
        error if is_shared_session(error) => SharedSession.to_string(),
        sqlx::Error::Database(refusal) if is_misconfiguration(error) => {
            let action = match refusal.code().as_deref() {
                Some(NO_RIGHT) => "run `followgraph migrate --roles`, or check the user in DATABASE_URL",
                _ => "check DATABASE_URL",
            };
            format!("PostgreSQL refuses: {}: {action}", refusal.message())
        }
        sqlx::Error::Database(error) => format!("PostgreSQL refuses: {}", error.message()),
        sqlx::Error::PoolTimedOut => "PostgreSQL does not answer".to_owned(),
        error => format!("PostgreSQL does not answer: {}", chain(error)),
    }
}

/// Gets a connection and records the wait. Begin the transaction after it: `acquire(&pool).await?.begin().await?`.
pub async fn acquire(pool: &PgPool) -> Result<PoolConnection<Postgres>, sqlx::Error> {
    let started = Instant::now();
    let connection = pool.acquire().await;
    metrics::histogram!(POOL_WAIT).record(started.elapsed());
    if connection.is_err() {
        metrics::counter!(POOL_FAILURES).increment(1);
    }
    connection
}

/// The server's limit is longer than ours: a caller's deadline must not look like a failure of the server.
const SERVER_SLACK: Duration = Duration::from_millis(100);

/// Limits the statements of this session until the next call. Each user of a shared pool sets its own limit.
pub async fn limit_statements(connection: &mut PgConnection, within: Duration) -> Result<(), sqlx::Error> {
    sqlx::query("-- limit_statements\nSELECT set_config('statement_timeout', $1, false)")
        .bind((within + SERVER_SLACK).as_millis().to_string())
        .execute(connection)
        .await
        .map(|_| ())
}

/// Exports the state of a pool as metrics, with `name` as label.
pub fn export_pool_metrics(telemetry: &Telemetry, name: &'static str, pool: &PgPool) {
    let pool = pool.clone();
    telemetry.on_scrape(move || {
        let size = pool.size();
        let idle = u32::try_from(pool.num_idle()).unwrap_or(u32::MAX);
        for (state, connections) in [("idle", idle), ("used", size.saturating_sub(idle))] {
            metrics::gauge!(POOL_CONNECTIONS, "pool" => name, "state" => state).set(f64::from(connections));
        }
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
    fn nothing_but_the_address_is_said_before_a_session_begins() {
        let options = settings().connect_options("writer").expect("a valid address");
        assert_eq!(options.get_options(), None);
        assert_eq!(options.get_application_name(), Some("writer"));
        assert!(format!("{options:?}").contains("extra_float_digits: None"), "{options:?}");
    }

    #[test]
    fn every_session_is_given_its_limits() {
        let text = format!("{:?}", settings().parameters());
        for wanted in [
            r#"("statement_timeout", "10000")"#,
            r#"("lock_timeout", "5000")"#,
            r#"("idle_in_transaction_session_timeout", "5000")"#,
            r#"("tcp_user_timeout", "5000")"#,
            r#"("tcp_keepalives_idle", "5")"#,
            r#"("default_transaction_isolation", "read committed")"#,
        ] {
            assert!(text.contains(wanted), "{wanted} is missing in {text}");
        }
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
    fn refusals_that_settings_cause_are_told_from_outages() {
        for code in ["28P01", "28000", "3D000", "42501", "22023"] {
            assert!(is_of_settings(code), "{code}");
        }
        // Too many connections, starting up, a statement that took too long, no table yet.
        for code in ["53300", "57P03", "57014", "42P01", "08006"] {
            assert!(!is_of_settings(code), "{code}");
        }
        assert!(!is_misconfiguration(&sqlx::Error::PoolTimedOut));
    }

    #[test]
    fn an_address_of_another_kind_is_a_mistake() {
        let mut env = Env::from_pairs([(VARIABLE, "mysql://app:pw@h/main")]);
        let settings = Settings::read(&mut env);
        let text = env.finish(settings).expect_err("not PostgreSQL").to_string();
        assert!(text.contains("is not a PostgreSQL address") && !text.contains("pw"), "{text}");
    }
}
