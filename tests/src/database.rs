//! Databases for single tests on the shared PostgreSQL: the schema without services.

use devstack::env_file::Env;
use sqlx::{AssertSqlSafe, PgPool, postgres::PgConnectOptions};
use tokio::task::block_in_place;

use crate::endpoints::Endpoints;
use crate::own::binaries;

/// An empty database with the schema. Drop it with [`Self::remove`]; one that a failed test leaves is removed with the
/// server.
pub struct Database {
    pub name: String,
    /// The owner's URL.
    pub url: String,
    /// Sessions of the owner.
    pub pool: PgPool,
}

impl Database {
    /// Creates one without the schema.
    pub async fn empty(endpoints: &Endpoints) -> Self {
        let name = format!("test_{}", uuid::Uuid::new_v4().simple());
        execute(endpoints, format!("CREATE DATABASE {name} TEMPLATE template0")).await;
        Self::named(endpoints, name).await
    }

    /// Creates and migrates it. Blocks: use it from `#[tokio::test(flavor = "multi_thread")]`.
    pub async fn create(endpoints: &Endpoints) -> Self {
        let database = Self::empty(endpoints).await;
        let env = Env::default().with("DATABASE_URL", &database.url);
        let migrated = block_in_place(|| devstack::services::cli(&binaries(), &env).arg("migrate").output());
        let migrated = migrated.expect("the CLI runs");
        assert!(migrated.status.success(), "{}", String::from_utf8_lossy(&migrated.stderr));
        database
    }

    /// A copy of the database of these endpoints, which must have no sessions meanwhile.
    pub async fn copy(endpoints: &Endpoints, of: &str) -> Self {
        let name = format!("copy_{}", uuid::Uuid::new_v4().simple());
        execute(endpoints, format!("CREATE DATABASE {name} TEMPLATE {of}")).await;
        Self::named(endpoints, name).await
    }

    async fn named(endpoints: &Endpoints, name: String) -> Self {
        let url = address(&endpoints.database_url, &name);
        let pool = PgPool::connect(&url).await.expect("the new database answers");
        Self { name, url, pool }
    }

    /// Drops it.
    pub async fn remove(self, endpoints: &Endpoints) {
        self.pool.close().await;
        execute(endpoints, format!("DROP DATABASE {} WITH (FORCE)", self.name)).await;
    }
}

/// The same address with another database.
pub fn address(url: &str, database: &str) -> String {
    let (server, _) = url.rsplit_once('/').expect("an address names its database");
    format!("{server}/{database}")
}

/// From a database that no test copies.
async fn execute(endpoints: &Endpoints, statement: String) {
    let options: PgConnectOptions = address(&endpoints.database_url, "postgres").parse().expect("an address");
    let pool = PgPool::connect_with(options).await.expect("PostgreSQL answers");
    sqlx::query(AssertSqlSafe(statement)).execute(&pool).await.expect("a database");
    pool.close().await;
}
