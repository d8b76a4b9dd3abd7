//! Where a pipeline is found.

use xtask::env_file::Env;

/// Addresses and secrets of one pipeline.
#[derive(Clone, Debug)]
pub struct Endpoints {
    /// command-service, host:port.
    pub command: String,
    /// query-service, host:port.
    pub query: String,
    /// A token with all scopes.
    pub token: String,
    /// PostgreSQL.
    pub database_url: String,
    /// NATS.
    pub nats_url: String,
    /// Neo4j.
    pub neo4j_uri: String,
    /// Its user.
    pub neo4j_user: String,
    /// Its password.
    pub neo4j_password: String,
}

impl Endpoints {
    /// The shared pipeline.
    ///
    /// # Panics
    /// Where there is none, and says how to get one.
    pub fn shared() -> Self {
        Self::from_lookup(|name| std::env::var(format!("FOLLOWGRAPH_TEST_{name}")).ok()).unwrap_or_else(
            |missing| {
                panic!(
                    "these tests need running servers (FOLLOWGRAPH_TEST_{missing} is not set): \
                 run them with `cargo xtask test`, one of them with `cargo xtask test -- -p tests NAME`"
                )
            },
        )
    }

    /// Those of a set that a test has started.
    pub fn from_env(env: &Env) -> Self {
        let strip =
            |name: &str| env.get(name).or_else(|| env.get(&format!("FOLLOWGRAPH_{name}"))).map(str::to_owned);
        Self::from_lookup(strip).unwrap_or_else(|missing| panic!("the set has no {missing}"))
    }

    fn from_lookup(find: impl Fn(&str) -> Option<String>) -> Result<Self, &'static str> {
        let get = |name: &'static str| find(name).ok_or(name);
        Ok(Self {
            command: get("COMMAND_ADDR")?,
            query: get("QUERY_ADDR")?,
            token: get("TOKEN")?,
            database_url: get("DATABASE_URL")?,
            nats_url: get("NATS_URL")?,
            neo4j_uri: get("NEO4J_URI")?,
            neo4j_user: get("NEO4J_USER")?,
            neo4j_password: get("NEO4J_PASSWORD")?,
        })
    }

    /// A connection to the source of truth.
    pub async fn postgres(&self) -> sqlx::PgPool {
        sqlx::PgPool::connect(&self.database_url).await.expect("PostgreSQL answers")
    }

    /// A connection to the read model.
    pub fn neo4j(&self) -> neo4rs::Graph {
        neo4rs::Graph::new(&self.neo4j_uri, &self.neo4j_user, &self.neo4j_password).expect("a valid address")
    }

    /// A connection to NATS.
    pub async fn nats(&self) -> async_nats::Client {
        async_nats::connect(&self.nats_url).await.expect("NATS answers")
    }
}
