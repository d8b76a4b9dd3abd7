//! Connections to Neo4j.
//!
//! A Bolt exchange that is dropped half-way keeps its locks until the connection is used again. So an exchange runs in
//! a task of its own ([`run_detached`]): the caller may stop waiting, and the exchange continues.

use std::time::Duration;

use neo4rs::{ConfigBuilder, Graph};

use crate::config::{Env, Secret};
use crate::lifecycle::panic_text;
use crate::metrics::{NEO4J_RUNNING, NEO4J_TIMEOUTS};
use crate::shares::Shown;
use crate::tls::ClientFiles;

/// Larger than any page that is read, so that a page is one exchange.
const FETCH_SIZE: usize = 2_000;
/// The variable that holds the address.
const VARIABLE: &str = "NEO4J_URI";
/// The variable that holds several addresses.
const SEVERAL: &str = "NEO4J_URIS";

crate::declare_settings! {
    /// Settings of the pool.
    pub struct Settings;
    /// Reads all but the address.
    fn at(env, uri: String);

    /// `NEO4J_URI`, or one of `NEO4J_URIS`: a `bolt://` or `bolt+s://` address.
    uri: String = uri;
    /// `NEO4J_CA_FILE`, `NEO4J_CERT_FILE`, `NEO4J_KEY_FILE`: for `bolt+s://`.
    tls: ClientFiles = ClientFiles::read(env, "NEO4J", "Neo4j");
    /// Database in Neo4j, the same on all servers. Default: the server's default database (neo4j).
    database: Option<String> = env.example("neo4j").optional("NEO4J_DATABASE");
    /// User of Neo4j.
    user: String = env.example("neo4j").required("NEO4J_USER");
    /// Password of Neo4j.
    password: Secret = env.required_secret("NEO4J_PASSWORD");
    /// Maximum number of connections to one Neo4j server.
    max_connections: usize = env.number_or("NEO4J_MAX_CONNECTIONS", 16, 1..=1_000);
    /// Timeout of opening a Neo4j connection, and of each message of the server.
    timeout: Duration = env.seconds_or("NEO4J_TIMEOUT_SECONDS", 10);
    /// How long a call waits for a free Neo4j connection.
    acquire_timeout: Duration = env.millis_or("NEO4J_ACQUIRE_TIMEOUT_MILLIS", 2_000);
}

impl Settings {
    /// Reads them.
    pub fn read(env: &mut Env) -> Self {
        let uri = env
            .about("Address of the Neo4j server: bolt://, or bolt+s:// for TLS.")
            .example("bolt://127.0.0.1:7687")
            .required(VARIABLE);
        let uri = plain(VARIABLE, &uri, env);
        // An empty address is reported as missing.
        if !uri.is_empty() {
            env.accept(VARIABLE, check_address(&uri));
        }
        let settings = Self::at(env, uri);
        settings.check_tls(VARIABLE, env);
        settings
    }

    /// Reads the settings of several servers that differ in their addresses only: `NEO4J_URIS`, or else the one of
    /// `NEO4J_URI`. Returns at least one.
    pub fn read_several(env: &mut Env) -> Vec<Self> {
        let uris = env
            .about("Addresses of several Neo4j servers, separated by commas; bolt://, or bolt+s:// for TLS. Replaces NEO4J_URI.")
            .example("bolt://neo4j-0:7687,bolt://neo4j-1:7687")
            .optional(SEVERAL);
        let Some(uris) = uris else { return vec![Self::read(env)] };
        let uris: Vec<String> = uris.split(',').map(|uri| plain(SEVERAL, uri.trim(), env)).collect();
        for (number, uri) in uris.iter().enumerate() {
            if uri.is_empty() {
                env.reject(SEVERAL, "holds an empty address");
            } else if uris[..number].contains(uri) {
                env.reject(SEVERAL, "names a server twice");
            } else {
                env.accept(SEVERAL, check_address(uri));
            }
        }
        let first = Self::at(env, uris[0].clone()); // Splitting leaves one part at least.
        let all: Vec<_> = uris.into_iter().map(|uri| Self { uri, ..first.clone() }).collect();
        all.iter().for_each(|one| one.check_tls(SEVERAL, env));
        all
    }

    fn check_tls(&self, variable: &'static str, env: &mut Env) {
        if self.tls.any() && self.uri.starts_with("bolt://") {
            env.reject(variable, "must begin with bolt+s:// where NEO4J_CA_FILE or NEO4J_CERT_FILE is set");
        }
    }
}

/// Creates a pool. It opens connections at its first use, so a process starts while the server is down.
pub fn connect(settings: &Settings) -> Result<Graph, neo4rs::Error> {
    let config = ConfigBuilder::new()
        .uri(&settings.uri)
        .user(&settings.user)
        .password(settings.password.expose())
        .fetch_size(FETCH_SIZE)
        .max_connections(settings.max_connections)
        // The driver also applies it to every message.
        .connection_timeout(settings.timeout)
        // The driver's name for the timeout of a free connection.
        .max_lifetime(settings.acquire_timeout);
    let config = settings.database.iter().fold(config, |config, name| config.db(name.as_str()));
    Graph::connect(encrypted(config, &settings.tls).build()?)
}

/// Sets how the server of a `bolt+s://` address is verified. Default: the system's trust store.
fn encrypted(config: ConfigBuilder, files: &ClientFiles) -> ConfigBuilder {
    match (&files.identity, &files.ca) {
        (Some((certificate, key)), ca) => config.with_mutual_tls_validation(ca.as_ref(), certificate, key),
        // The driver's name for the authorities' certificates.
        (None, Some(ca)) => config.with_client_certificate(ca),
        (None, None) => config,
    }
}

/// Why a detached exchange has no result.
#[derive(Debug, thiserror::Error)]
pub enum DetachedError<E> {
    /// The timeout passed. The exchange continues and its outcome is unknown.
    #[error("the exchange exceeded its timeout")]
    TimedOut,
    /// The exchange panicked.
    #[error("the exchange panicked: {0}")]
    Panicked(String),
    /// The exchange failed.
    #[error(transparent)]
    Failed(E),
}

/// Runs a whole exchange (start, statements, commit or rollback) in a task of its own and waits for it at most
/// `timeout`. The exchange runs to its end even if the caller is dropped or stops waiting: a dropped exchange would
/// leave its locks and an unread answer on the pooled connection. The settings' timeout bounds how long that may take.
pub async fn run_detached<T, E, F>(timeout: Duration, exchange: F) -> Result<T, DetachedError<E>>
where
    T: Send + 'static,
    E: Send + 'static,
    F: Future<Output = Result<T, E>> + Send + 'static,
{
    let running = Shown::new(metrics::gauge!(NEO4J_RUNNING), 1);
    let task = tokio::spawn(async move {
        let _running = running;
        exchange.await
    });
    match tokio::time::timeout(timeout, task).await {
        Ok(Ok(Ok(value))) => Ok(value),
        Ok(Ok(Err(error))) => Err(DetachedError::Failed(error)),
        Ok(Err(died)) => Err(DetachedError::Panicked(match died.try_into_panic() {
            Ok(panic) => panic_text(panic.as_ref()).to_string(),
            Err(_) => "the runtime is shutting down".to_owned(),
        })),
        Err(_) => {
            metrics::counter!(NEO4J_TIMEOUTS).increment(1);
            Err(DetachedError::TimedOut)
        }
    }
}

/// The part of an address that the driver uses. The rest would be logged with the address.
fn plain(variable: &str, uri: &str, env: &mut Env) -> String {
    let Some(end) = uri.find(['?', '#']) else { return uri.to_owned() };
    env.remark(variable, "query and fragment of the address are not used");
    uri[..end].to_owned()
}

/// The setting to correct if the server refuses the login or lacks the database; `None` for other errors. The text
/// contains names, but no password.
pub fn misconfigured(error: &neo4rs::Error) -> Option<String> {
    match error {
        neo4rs::Error::AuthenticationError(message)
            // After some refusals it accepts no login for a while.
            if refuses_login(message) || message.contains("authentication details") =>
        {
            Some("it refuses the login: check NEO4J_USER and NEO4J_PASSWORD".to_owned())
        }
        neo4rs::Error::Neo4j(error) if error.code().contains("DatabaseNotFound") => {
            Some(format!("{}: check NEO4J_DATABASE", error.message()))
        }
        _ => None,
    }
}

/// True if a failure at login is about the login. neo4rs drops its code, and a server that starts or lacks memory fails
/// there as well. These words appear in Neo4j's Unauthorized and CredentialsExpired, and in the error of an unsupported
/// scheme.
pub fn refuses_login(message: &str) -> bool {
    ["unauthorized", "credentials", "authentication token"].iter().any(|words| message.contains(words))
}

/// Describes the mistake in an address, without quoting it.
pub fn check_address(uri: &str) -> Result<(), &'static str> {
    match uri.split_once("://") {
        Some(("bolt" | "bolt+s", rest)) if rest.contains('@') => {
            Err("must not hold credentials; use NEO4J_USER and NEO4J_PASSWORD")
        }
        Some(("bolt" | "bolt+s", rest)) if rest.contains(',') => {
            Err("names several servers; query-service takes them in NEO4J_URIS, each with its bolt://")
        }
        Some(("bolt" | "bolt+s", _)) => match uri.parse::<url::Url>() {
            Ok(url) if !matches!(url.path(), "" | "/") => {
                Err("has a path, which is not used: name a database in NEO4J_DATABASE")
            }
            Ok(url) if url.host_str().is_some_and(|host| !host.is_empty()) && url.port() != Some(0) => Ok(()),
            _ => Err("is not bolt://HOST:PORT; an IPv6 address has brackets: bolt://[ADDRESS]:PORT"),
        },
        Some(("bolt+ssc", _)) => Err("must begin with bolt+s://: bolt+ssc:// takes any certificate"),
        Some((scheme, _)) if scheme.starts_with("neo4j") => Err(
            "must begin with bolt:// or bolt+s://: neo4j:// asks the server for a routing table and may go to another replica than the one named here",
        ),
        _ => Err("must begin with bolt:// or bolt+s://"),
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    #[test]
    fn only_bolt_addresses_are_taken() {
        for (uri, fine) in [
            ("bolt://127.0.0.1:7687", true),
            ("neo4j://127.0.0.1:7687", false),
            ("neo4j+s://host", false),
            ("bolt+s://host", true),
            ("bolt+ssc://host", false),
            ("127.0.0.1:7687", false),
            ("bolt://[::1]:7687", true),
            ("bolt+s://[2001:db8::7]", true),
            ("bolt://::1:7687", false),
            ("bolt://", false),
            ("bolt://host:port", false),
            ("bolt://host:1:2", false),
            ("bolt://host:0", false),
            ("bolt://host:7687/", true),
            ("bolt://host:7687/graph", false),
            ("bolt://a:7687,b:7687", false),
            ("bolt://neo4j:pw@host", false),
            ("bolt+s://neo4j:pw@host", false),
        ] {
            let mut env =
                Env::from_pairs([(VARIABLE, uri), ("NEO4J_USER", "neo4j"), ("NEO4J_PASSWORD", "pw")]);
            let settings = Settings::read(&mut env);
            assert_eq!(env.finish(settings).is_ok(), fine, "{uri}");
        }
    }

    #[test]
    fn several_servers_share_all_but_their_addresses() {
        let others = [
            ("NEO4J_USER", "neo4j"),
            ("NEO4J_PASSWORD", "pw"),
            ("NEO4J_MAX_CONNECTIONS", "7"),
            ("NEO4J_DATABASE", "graph"),
        ];
        let read = |addresses: &[(&'static str, &'static str)]| {
            let mut env = Env::from_pairs(addresses.iter().copied().chain(others));
            let settings = Settings::read_several(&mut env);
            env.finish(settings).ok()
        };
        let uris = |settings: Vec<Settings>| settings.into_iter().map(|one| one.uri).collect::<Vec<_>>();
        let one = read(&[("NEO4J_URI", "bolt://a:1")]).expect("one is enough");
        assert_eq!(uris(one), ["bolt://a:1"]);
        let two = read(&[("NEO4J_URIS", "bolt://a:1, bolt://b:2"), ("NEO4J_URI", "bolt://c:3")]);
        let two = two.expect("two are fine");
        assert_eq!((two[1].max_connections, two[1].database.as_deref()), (7, Some("graph")));
        assert_eq!(uris(two), ["bolt://a:1", "bolt://b:2"]);
        for wrong in ["bolt://a:1,", "bolt://a:1,bolt://a:1", "bolt://a:1,neo4j://b:2", ","] {
            assert!(read(&[("NEO4J_URIS", wrong)]).is_none(), "{wrong}");
        }
        assert!(read(&[]).is_none());
    }

    #[test]
    fn a_refused_login_names_the_settings() {
        let refused = neo4rs::Error::AuthenticationError("unauthorized: hunter2".to_owned());
        let said = misconfigured(&refused).expect("the settings are at fault");
        assert!(said.contains("NEO4J_PASSWORD") && !said.contains("hunter"), "{said}");
        let short = neo4rs::Error::AuthenticationError("There is not enough memory".to_owned());
        assert_eq!(misconfigured(&short), None);
        assert_eq!(misconfigured(&neo4rs::Error::ConnectionError), None);
    }

    #[tokio::test]
    async fn an_exchange_outlives_the_caller_that_stopped_waiting() {
        let (release, released) = oneshot::channel::<()>();
        let (done, finished) = oneshot::channel::<()>();
        let outcome = run_detached(Duration::ZERO, async move {
            released.await.expect("the test releases it");
            done.send(()).expect("the test waits for it");
            Ok::<_, std::io::Error>(())
        })
        .await;
        assert!(matches!(outcome, Err(DetachedError::TimedOut)));
        release.send(()).expect("the exchange still runs");
        finished.await.expect("the exchange ran to its end");
    }

    #[tokio::test]
    async fn an_exchange_outlives_a_dropped_caller() {
        let (release, released) = oneshot::channel::<()>();
        let (done, finished) = oneshot::channel::<()>();
        let mut call = Box::pin(run_detached(LONG, async move {
            released.await.expect("the test releases it");
            done.send(()).expect("the test waits for it");
            Ok::<_, std::io::Error>(())
        }));
        assert!(futures::poll!(call.as_mut()).is_pending());
        drop(call);
        release.send(()).expect("the exchange still runs");
        finished.await.expect("the exchange ran to its end");
    }

    #[tokio::test]
    async fn results_failures_and_panics_come_back() {
        assert_eq!(run_detached(LONG, async { Ok::<_, &str>(7) }).await.expect("a value"), 7);
        assert!(matches!(
            run_detached(LONG, async { Err::<(), _>("no") }).await,
            Err(DetachedError::Failed("no"))
        ));
        let panicked =
            run_detached(LONG, async { if LONG.is_zero() { Err("no") } else { panic!("oh") } }).await;
        let panicked: Result<(), DetachedError<&str>> = panicked;
        assert!(matches!(panicked, Err(DetachedError::Panicked(text)) if text == "oh"));
    }
}
