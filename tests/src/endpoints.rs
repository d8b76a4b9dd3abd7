//! Addresses of a pipeline.

use devstack::env_file::Env;
use devstack::{Principal, pipeline};

/// Addresses and secrets of one pipeline.
#[derive(Clone, Debug)]
pub struct Endpoints {
    /// command-service, host:port.
    pub command: String,
    /// query-service, host:port.
    pub query: String,
    /// A token with all scopes.
    pub token: String,
    /// PostgreSQL, as the owner.
    pub database_url: String,
    /// NATS, as the operator.
    pub nats_url: String,
    /// PostgreSQL and NATS as services and subscribers use them.
    pub logins: Logins,
    pub neo4j_uri: String,
    /// Neo4j's user.
    pub neo4j_user: String,
    /// Neo4j's password.
    pub neo4j_password: String,
}

/// Addresses with the user or role of each kind of process.
#[derive(Clone, Debug)]
pub struct Logins(Env);

impl Logins {
    /// Reads the variables that [`pipeline::logins`] names.
    fn find(find: &impl Fn(&str) -> Option<String>) -> Result<Self, &'static str> {
        let mut env = Env::default();
        for name in pipeline::LOGINS {
            env.set(name, find(name).ok_or(name)?);
        }
        Ok(Self(env))
    }

    pub fn database(&self, who: Principal) -> &str {
        self.get(&pipeline::login("DATABASE_URL", who))
    }

    pub fn nats(&self, who: Principal) -> &str {
        self.get(&pipeline::login("NATS_URL", who))
    }

    fn get(&self, name: &str) -> &str {
        self.0.get(name).unwrap_or_else(|| panic!("there is no login {name}"))
    }
}

impl Endpoints {
    /// The shared pipeline.
    ///
    /// # Panics
    /// If there is none; the message says how to start one.
    pub fn shared() -> Self {
        Self::from_lookup(|name| std::env::var(format!("FOLLOWGRAPH_TEST_{name}")).ok()).unwrap_or_else(
            |missing| {
                panic!(
                    "these tests need running servers (FOLLOWGRAPH_TEST_{missing} is not set): \
                 run them with `cargo xtask test`, some with `cargo xtask test -- --test it NAME`"
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
            logins: Logins::find(&find)?,
            neo4j_uri: get("NEO4J_URI")?,
            neo4j_user: get("NEO4J_USER")?,
            neo4j_password: get("NEO4J_PASSWORD")?,
        })
    }

    pub async fn postgres(&self) -> sqlx::PgPool {
        sqlx::PgPool::connect(&self.database_url).await.expect("PostgreSQL answers")
    }

    pub fn neo4j(&self) -> neo4rs::Graph {
        neo4rs::Graph::new(&self.neo4j_uri, &self.neo4j_user, &self.neo4j_password).expect("a valid address")
    }

    /// A connection to NATS with all permissions.
    pub async fn nats(&self) -> async_nats::Client {
        nats(&self.nats_url).await
    }
}

/// A connection to NATS as the user in the address; the driver itself ignores that part.
pub async fn nats(url: &str) -> async_nats::Client {
    let address: async_nats::ServerAddr = url.parse().expect("an address of NATS");
    let login = address.username().zip(address.password());
    let (user, password) = login.expect("an address with a user and a password");
    let options = async_nats::ConnectOptions::with_user_and_password(user.to_owned(), password.to_owned());
    options.connect(address).await.expect("NATS answers")
}
