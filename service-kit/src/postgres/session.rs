//! Sessions of PostgreSQL: their parameters, and the check that they are not shared by a pooler.
//!
//! The parameters are set after the connection is open, not in its start-up message: poolers refuse or drop unknown
//! parameters there, and a session without its limits would go unnoticed.
//!
//! A pooler that assigns sessions per transaction (PgBouncer in transaction or statement mode) also breaks the advisory
//! locks of leaders, prepared statements, and limits of single calls.

use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgConnection, PgPool};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _, Row as _};

use crate::with_timeout;

/// How often two connections are compared. Other clients of the pooler may take the session in between.
const ROUNDS: usize = 3;
/// Timeout of the comparison. A pooler without a free session keeps its clients waiting.
const SESSION_CHECK_TIMEOUT: Duration = Duration::from_secs(10);

/// Parameters of each session of a pool.
#[derive(Debug, Clone, Default)]
pub struct Parameters(Arc<Vec<(&'static str, String)>>);

impl Parameters {
    /// These, after the parameters of every session, which override those of the role and the database.
    pub(super) fn new(of_the_pool: impl IntoIterator<Item = (&'static str, String)>) -> Self {
        let always = [
            // The commit protocol takes a lock and then reads: under a higher level it would read the state before the
            // lock.
            ("default_transaction_isolation", "read committed"),
            ("default_transaction_deferrable", "off"),
            // Other limits cover statements and waits. An export may keep its snapshot for longer.
            ("transaction_timeout", "0"),
            // Sessions of leaders and pools may be idle.
            ("idle_session_timeout", "0"),
        ];
        let always = always.map(|(name, value)| (name, value.to_owned()));
        Self(Arc::new(always.into_iter().chain(of_the_pool).collect()))
    }

    /// These and additional ones.
    pub(super) fn and(&self, more: &[(&'static str, &'static str)]) -> Self {
        let more = more.iter().map(|(name, value)| (*name, (*value).to_owned()));
        Self(Arc::new(self.0.iter().cloned().chain(more).collect()))
    }

    /// One statement, so that a connection costs one more exchange. It skips parameters that an older server lacks.
    fn statement(&self) -> String {
        let rows: Vec<_> = self.0.iter().map(|(name, value)| format!("('{name}', '{value}')")).collect();
        format!(
            "-- session\nSELECT set_config(name, value, false) FROM (VALUES {}) AS wanted (name, value) \
             WHERE current_setting(name, true) IS NOT NULL",
            rows.join(", ")
        )
    }

    /// Sets a session that has just begun. Names and values are constants and numbers of this program.
    pub(super) async fn set(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        connection.execute(AssertSqlSafe(self.statement())).await.map(drop)
    }
}

/// A pooler shares the sessions behind our connections.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error(
    "a connection pooler gives each transaction another session of PostgreSQL (PgBouncer with pool_mode = transaction \
     or statement): limits, locks and prepared statements are lost there. Set pool_mode = session for this user, or \
     connect to PostgreSQL directly"
)]
pub struct SharedSession;

/// Fails with [`SharedSession`] if the session changes under an open connection, or two connections share one.
pub async fn check_sessions(pool: &PgPool) -> Result<(), sqlx::Error> {
    match with_timeout(SESSION_CHECK_TIMEOUT, compare(pool), timed_out).await {
        Ok(true) => Ok(()),
        Err(error) if !is_shared_session(&error) => Err(error),
        Ok(false) | Err(_) => Err(std::io::Error::other(SharedSession).into()),
    }
}

pub(super) fn timed_out() -> sqlx::Error {
    sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())
}

/// True if an error says that a pooler shares sessions.
pub fn is_shared_session(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(error) => error.get_ref().is_some_and(|error| error.is::<SharedSession>()),
        sqlx::Error::Database(error) => {
            // PgBouncer's answer to BEGIN with `pool_mode = statement`, and PostgreSQL's to a statement that was
            // prepared in another session.
            let prepared = [Some("26000"), Some("42P05")].contains(&error.code().as_deref());
            prepared || error.message().contains("statement pooling mode")
        }
        _ => false,
    }
}

/// While the other connection is in a transaction, a pooler in transaction mode must give the first connection another
/// session, or has given its session away.
async fn compare(pool: &PgPool) -> Result<bool, sqlx::Error> {
    let mut one = pool.acquire().await?;
    // Not from the pool, which may have one connection.
    let mut other = pool.connect_options().connect().await?;
    // A parameter of its own: a shared session must not pass a limit of ours to other clients.
    one.execute("-- own_session\nSET followgraph.own_session = 'yes'").await?;
    let mut ours = true;
    for _ in 0..ROUNDS {
        let before = session(&mut one).await?;
        other.execute("BEGIN").await?;
        // First, because a pooler with one session would let the question below wait for the end of the transaction.
        let given_away = session(&mut other).await?.process == before.process;
        ours &= before.marked && !given_away && session(&mut one).await? == before;
        other.execute("ROLLBACK").await?;
        if !ours {
            break;
        }
    }
    // The answer is known; a failure to close does not matter.
    let _ = other.close().await;
    Ok(ours)
}

#[derive(PartialEq, Eq)]
struct Session {
    process: i32,
    marked: bool,
}

/// Without a prepared statement, which would fail for its own reasons.
async fn session(connection: &mut PgConnection) -> Result<Session, sqlx::Error> {
    let row = connection
        .fetch_one(
            "-- session_is\nSELECT pg_backend_pid(), current_setting('followgraph.own_session', true) = 'yes'",
        )
        .await?;
    let marked: Option<bool> = row.try_get(1)?;
    Ok(Session { process: row.try_get(0)?, marked: marked.unwrap_or(false) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_of_the_pool_follow_those_of_every_session() {
        let parameters = Parameters::new([("lock_timeout", "5000".to_owned())]).and(&[("jit", "off")]);
        let statement = parameters.statement();
        assert!(statement.contains("('default_transaction_isolation', 'read committed')"), "{statement}");
        assert!(statement.contains("('lock_timeout', '5000'), ('jit', 'off')"), "{statement}");
    }

    #[test]
    fn the_error_is_told_apart() {
        let error = sqlx::Error::from(std::io::Error::other(SharedSession));
        assert!(is_shared_session(&error));
        assert!(!is_shared_session(&std::io::Error::other("SharedSession").into()));
    }
}
