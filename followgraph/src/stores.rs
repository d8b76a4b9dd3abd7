//! PostgreSQL and Neo4j for the commands that connect to them directly: settings, connections, and which of their errors
//! are transient.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use neo4rs::{Graph, Neo4jErrorKind};
use service_kit::{Env, Secret, neo4j, postgres};
use sqlx::PgPool;

use crate::error::{Hinted, Mistakes};

/// neo4rs uses it as the timeout of an answer, too, and a constraint on millions of edges takes long to create.
const NEO4J_LONGEST_STATEMENT: Duration = Duration::from_secs(3_600);

/// The URL of PostgreSQL, for commands that use nothing else.
#[derive(Debug, clap::Args)]
pub struct DatabaseArgs {
    /// URL of PostgreSQL
    #[arg(long, env = "DATABASE_URL", value_name = "URL", hide_env_values = true)]
    pub database_url: String,
}

/// Addresses of PostgreSQL and Neo4j.
#[derive(Debug, clap::Args)]
pub struct StoreArgs {
    /// URL of PostgreSQL
    #[arg(long, env = "DATABASE_URL", value_name = "URL", hide_env_values = true)]
    pub database_url: String,
    /// URI of Neo4j, bolt:// or bolt+s://. Without it, the projector migrates Neo4j
    #[arg(long, env = "NEO4J_URI", value_name = "URI", hide_env_values = true)]
    pub neo4j_uri: Option<String>,
    /// Database in Neo4j [default: the server's default]
    #[arg(long, env = "NEO4J_DATABASE", value_name = "NAME")]
    pub neo4j_database: Option<String>,
    /// User of Neo4j
    #[arg(long, env = "NEO4J_USER", value_name = "NAME", default_value = "neo4j")]
    pub neo4j_user: String,
    /// Password of Neo4j
    #[arg(
        long,
        env = "NEO4J_PASSWORD",
        value_name = "PASSWORD",
        default_value = "",
        hide_env_values = true,
        hide_default_value = true
    )]
    pub neo4j_password: String,
    /// PEM file of the certificate authorities to trust for bolt+s:// [default: those of this system]
    #[arg(long, env = "NEO4J_CA_FILE", value_name = "FILE")]
    pub neo4j_ca: Option<PathBuf>,
    /// PEM file of the client certificate for bolt+s://
    #[arg(long, env = "NEO4J_CERT_FILE", value_name = "FILE", requires = "neo4j_key")]
    pub neo4j_cert: Option<PathBuf>,
    /// PEM file of the client certificate's private key
    #[arg(long, env = "NEO4J_KEY_FILE", value_name = "FILE", requires = "neo4j_cert")]
    pub neo4j_key: Option<PathBuf>,
}

impl StoreArgs {
    /// Checks the settings of both stores. Returns the Neo4j server, if its address is set.
    pub fn check(&self, mistakes: &mut Mistakes) -> Option<Neo4j> {
        self.check_several(None, mistakes).pop()
    }

    /// The same with the Neo4j servers of `several`, if that is set.
    fn check_several(&self, several: Option<&str>, mistakes: &mut Mistakes) -> Vec<Neo4j> {
        mistakes.note(check_postgres(&self.database_url));
        let servers = self.neo4j_settings(several, mistakes);
        let alone = servers.len() == 1;
        let name = |uri: &str| if alone { "Neo4j".to_owned() } else { format!("Neo4j {uri}") };
        servers.into_iter().map(|settings| Neo4j { name: name(&settings.uri), settings }).collect()
    }

    /// Reads the settings as the services do, with the same rules and messages.
    fn neo4j_settings(&self, several: Option<&str>, mistakes: &mut Mistakes) -> Vec<neo4j::Settings> {
        let path = |file: &Option<PathBuf>| file.as_ref().map(|file| file.to_string_lossy().into_owned());
        let given = [
            ("NEO4J_URI", self.neo4j_uri.clone()),
            ("NEO4J_URIS", several.map(str::to_owned)),
            ("NEO4J_DATABASE", self.neo4j_database.clone()),
            ("NEO4J_USER", Some(self.neo4j_user.clone())),
            ("NEO4J_PASSWORD", Some(self.neo4j_password.clone())),
            ("NEO4J_CA_FILE", path(&self.neo4j_ca)),
            ("NEO4J_CERT_FILE", path(&self.neo4j_cert)),
            ("NEO4J_KEY_FILE", path(&self.neo4j_key)),
        ];
        let mut env = Env::from_pairs(given.into_iter().filter_map(|(name, value)| Some((name, value?))));
        if !env.is_set("NEO4J_URI") && !env.is_set("NEO4J_URIS") {
            return Vec::new();
        }
        let servers = neo4j::Settings::read_several(&mut env);
        let found = env.finish(()).err().map(|error| error.mistakes).unwrap_or_default();
        // A server without authentication needs no password.
        for mistake in found.iter().filter(|mistake| mistake.variable != "NEO4J_PASSWORD") {
            mistakes.push(anyhow::anyhow!("{} {}", mistake.variable, mistake.problem));
        }
        servers
    }
}

/// The stores with every read replica.
#[derive(Debug, clap::Args)]
pub struct ReplicaArgs {
    /// PostgreSQL, and Neo4j if there is one.
    #[command(flatten)]
    pub stores: StoreArgs,
    /// URIs of several Neo4j servers, separated by commas; used instead of NEO4J_URI
    #[arg(long, env = "NEO4J_URIS", value_name = "URIS", hide_env_values = true)]
    pub neo4j_uris: Option<String>,
}

impl ReplicaArgs {
    /// Checks the settings of both stores, and that there is a Neo4j server. Returns these servers.
    pub fn check(&self, mistakes: &mut Mistakes) -> Vec<Neo4j> {
        let servers = self.stores.check_several(self.neo4j_uris.as_deref(), mistakes);
        if servers.is_empty() {
            mistakes.push(Hinted::new(
                "the address of Neo4j is not set",
                "set NEO4J_URI or NEO4J_URIS, NEO4J_USER and NEO4J_PASSWORD",
            ));
        }
        servers
    }
}

pub struct Neo4j {
    /// `Neo4j`; with its address if there are several.
    pub name: String,
    settings: neo4j::Settings,
}

fn check_postgres(url: &str) -> anyhow::Result<()> {
    postgres::check_address(&Secret::from(url)).map_err(|problem| anyhow::anyhow!("DATABASE_URL {problem}"))
}

pub async fn connect_postgres(url: &str, timeout: Duration) -> anyhow::Result<PgPool> {
    check_postgres(url)?;
    match postgres::connect_tool(&Secret::from(url), "followgraph", timeout).await {
        Err(error) if postgres::is_shared_session(&error) => Err(postgres::SharedSession.into()),
        connected => connected.map_err(|source| unreachable("PostgreSQL", "DATABASE_URL", source)),
    }
}

impl Neo4j {
    /// Connects, and makes sure that the server answers.
    pub async fn connect(&self, timeout: Duration) -> anyhow::Result<Graph> {
        let settings =
            neo4j::Settings { max_connections: 2, timeout: NEO4J_LONGEST_STATEMENT, ..self.settings.clone() };
        let graph = neo4j::connect(&settings).with_context(|| format!("cannot open {}", self.name))?;
        // The pool connects on first use and retries permanent errors; an explicit transaction does not.
        let probe = async { graph.start_txn().await?.rollback().await };
        match tokio::time::timeout(timeout, probe).await {
            Ok(Ok(())) => Ok(graph),
            Ok(Err(source)) => Err(unreachable(&self.name, "NEO4J_URI", source)),
            Err(_) => Err(unreachable(&self.name, "NEO4J_URI", io::Error::from(io::ErrorKind::TimedOut))),
        }
    }
}

fn unreachable(
    store: &str,
    variable: &str,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> anyhow::Error {
    let hint = format!("is it up, and is {variable} right (with user and password)?");
    Hinted::new(format!("cannot connect to {store}"), hint).caused_by(source).into()
}

/// Whether the same attempt may succeed later with the same settings: the server is down, starts or stops, is a standby,
/// lacks a resource, or a lock is held.
pub fn is_transient(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        if let Some(error) = cause.downcast_ref::<sqlx::Error>() {
            postgres_is_transient(error)
        } else if let Some(error) = cause.downcast_ref::<neo4rs::Error>() {
            neo4j_is_transient(error)
        } else {
            cause.downcast_ref::<io::Error>().is_some_and(io_is_transient)
        }
    })
}

/// An I/O error is the next cause in the chain.
fn postgres_is_transient(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::PoolTimedOut => true,
        sqlx::Error::Database(error) => error.code().is_some_and(|code| state_is_transient(&code)),
        _ => false,
    }
}

fn state_is_transient(sqlstate: &str) -> bool {
    let class = sqlstate.get(..2).unwrap_or_default();
    // Classes: connection, transaction conflict, insufficient resources, operator intervention (or a start).
    ["08", "40", "53", "57"].contains(&class)
        // lock_not_available, read_only_sql_transaction.
        || ["55P03", "25006"].contains(&sqlstate)
}

/// An I/O error is the next cause in the chain.
fn neo4j_is_transient(error: &neo4rs::Error) -> bool {
    match error {
        neo4rs::Error::Neo4j(error) => error.kind() == Neo4jErrorKind::Transient,
        neo4rs::Error::ConnectionError
        | neo4rs::Error::ConnectionTimedOut
        | neo4rs::Error::ServerUnavailableError(_)
        | neo4rs::Error::RequestIgnoredError => true,
        neo4rs::Error::AuthenticationError(message) => !neo4j::refuses_login(message),
        _ => false,
    }
}

/// An untrusted certificate is invalid data. `NotFound` is transient: a server that starts has no socket yet.
fn io_is_transient(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidData, InvalidInput, PermissionDenied};
    ![InvalidData, InvalidInput, PermissionDenied].contains(&error.kind())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Several;

    fn args() -> StoreArgs {
        StoreArgs {
            database_url: "postgres://u:hunter2@one,two/db".to_owned(),
            neo4j_uri: Some("bolt://::1:7687".to_owned()),
            neo4j_database: None,
            neo4j_user: "neo4j".to_owned(),
            neo4j_password: String::new(),
            neo4j_ca: Some("/not/there".into()),
            neo4j_cert: None,
            neo4j_key: None,
        }
    }

    fn texts(mistakes: Mistakes) -> String {
        let error = mistakes.finish().expect_err("mistakes");
        match error.downcast_ref::<Several>() {
            Some(several) => several.0.iter().map(|mistake| format!("{mistake:#}\n")).collect(),
            None => error.to_string(),
        }
    }

    #[test]
    fn addresses_and_files_of_both_stores_are_checked_together() {
        let mut mistakes = Mistakes::default();
        args().check(&mut mistakes);
        let text = texts(mistakes);
        for wanted in ["DATABASE_URL ", "NEO4J_URI ", "NEO4J_CA_FILE "] {
            assert!(text.contains(wanted), "{wanted} is missing in {text}");
        }
        assert!(!text.contains("hunter2") && !text.contains("NEO4J_PASSWORD"), "{text}");
    }

    #[test]
    fn files_for_tls_need_an_address_with_tls() {
        let file = || Some(std::path::PathBuf::from("/not/there"));
        for (neo4j_ca, neo4j_cert, neo4j_key) in [(file(), None, None), (None, file(), file())] {
            let stores = StoreArgs {
                database_url: "postgres://h/db".to_owned(),
                neo4j_uri: Some("bolt://h:7687".to_owned()),
                neo4j_ca,
                neo4j_cert,
                neo4j_key,
                ..args()
            };
            let mut mistakes = Mistakes::default();
            stores.check(&mut mistakes);
            let text = texts(mistakes);
            assert!(text.contains("NEO4J_URI must begin with bolt+s://"), "{text}");
        }
    }

    #[test]
    fn several_servers_are_named_by_their_addresses() {
        let named = |several: Option<&str>, uri: Option<&str>| {
            let stores = StoreArgs {
                database_url: "postgres://h/db".to_owned(),
                neo4j_uri: uri.map(str::to_owned),
                neo4j_ca: None,
                ..args()
            };
            let mut mistakes = Mistakes::default();
            let servers = stores.check_several(several, &mut mistakes);
            mistakes.finish().map(|()| servers.into_iter().map(|server| server.name).collect::<Vec<_>>())
        };
        let is = |given: Vec<String>, wanted: &[&str]| assert_eq!(given, wanted);
        is(named(None, None).expect("none is fine"), &[]);
        is(named(None, Some("bolt://a:1")).expect("one"), &["Neo4j"]);
        is(named(Some(""), Some("bolt://a:1")).expect("an empty variable is none"), &["Neo4j"]);
        let two = Some("bolt://a:1, bolt://b:2");
        is(named(two, Some("neo4j://c")).expect("two"), &["Neo4j bolt://a:1", "Neo4j bolt://b:2"]);
        assert!(named(Some("bolt://a:1,"), None).is_err());
    }

    #[test]
    fn only_some_errors_are_transient() {
        let broken = |kind: io::ErrorKind| sqlx::Error::Io(io::Error::from(kind));
        let down = |source: sqlx::Error| unreachable("PostgreSQL", "DATABASE_URL", source);
        let at_login = |said: &str| {
            unreachable("Neo4j", "NEO4J_URI", neo4rs::Error::AuthenticationError(said.to_owned()))
        };
        for error in [
            down(sqlx::Error::PoolTimedOut),
            down(broken(io::ErrorKind::UnexpectedEof)),
            down(broken(io::ErrorKind::NotFound)),
            unreachable("Neo4j", "NEO4J_URI", io::Error::from(io::ErrorKind::TimedOut)),
            unreachable("Neo4j", "NEO4J_URI", neo4rs::Error::ConnectionTimedOut),
            at_login("There is not enough memory to perform the current task."),
            at_login("The client has provided incorrect authentication details too many times in a row."),
            migrations::Error::Postgres(broken(io::ErrorKind::ConnectionReset)).into(),
        ] {
            assert!(is_transient(&error), "{error:#}");
        }
        for error in [
            down(broken(io::ErrorKind::InvalidData)),
            at_login("The client is unauthorized due to authentication failure."),
            at_login("The credentials have expired and need to be updated."),
            postgres::SharedSession.into(),
            migrations::Error::Foreign("of another program".to_owned()).into(),
            migrations::Error::Dirty(3).into(),
            anyhow::anyhow!("anything else"),
        ] {
            assert!(!is_transient(&error), "{error:#}");
        }
        for (sqlstate, transient) in [
            ("57P03", true),
            ("53300", true),
            ("55P03", true),
            ("25006", true),
            ("28P01", false),
            ("28000", false),
            ("3D000", false),
            ("42501", false),
            ("", false),
        ] {
            assert_eq!(state_is_transient(sqlstate), transient, "{sqlstate}");
        }
    }
}
