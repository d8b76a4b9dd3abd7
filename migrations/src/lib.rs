//! The schemas of both stores, embedded.
//!
//! Owns the SQL and Cypher files, how they are applied (`followgraph migrate`), the
//! services' roles, and the check that servers make at start. It must not know what the tables mean to
//! anybody. What can go wrong: a database that is older or newer than the program.

#[cfg(test)]
mod frozen;
pub mod roles;

use sqlx::PgPool;
use sqlx::migrate::{MigrateError, Migrator};
use time::OffsetDateTime;

static POSTGRES: Migrator = sqlx::migrate!("./postgres");

const NEO4J: &str = include_str!("../neo4j/schema.cypher");

/// Why a schema is not usable.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database has no schema, or an older one.
    #[error(
        "the database schema is at version {found}, this program needs {needed}: run `followgraph migrate`"
    )]
    Outdated {
        /// What the database has; 0 for none.
        found: i64,
        /// What the program needs.
        needed: i64,
    },
    /// A migration did not run to its end.
    #[error("migration {0} is marked as failed: repair it by hand, then run `followgraph migrate`")]
    Dirty(i64),
    /// PostgreSQL did not answer as expected.
    #[error("cannot read the schema version")]
    Postgres(#[from] sqlx::Error),
    /// A migration failed.
    #[error("cannot migrate PostgreSQL")]
    Migrate(#[from] MigrateError),
    /// Neo4j refused a statement.
    #[error("cannot apply the read model's schema")]
    Neo4j(#[from] neo4rs::Error),
}

/// The version that this program needs.
pub fn needed_version() -> i64 {
    POSTGRES.iter().map(|m| m.version).max().unwrap_or(0)
}

/// Brings PostgreSQL up to date; answers the versions that were applied now.
pub async fn migrate_postgres(pool: &PgPool) -> Result<Vec<i64>, Error> {
    let before = applied_version(pool).await?;
    POSTGRES.run(pool).await?;
    Ok(POSTGRES.iter().map(|m| m.version).filter(|v| *v > before).collect())
}

/// Creates the read model's constraints and indexes where they are missing.
pub async fn migrate_neo4j(graph: &neo4rs::Graph) -> Result<(), Error> {
    for statement in neo4j_statements() {
        graph.run(neo4rs::query(&statement)).await?;
    }
    Ok(())
}

/// The statements of the read model's schema, each idempotent.
pub fn neo4j_statements() -> Vec<String> {
    let code =
        NEO4J.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    code.split(';').map(str::trim).filter(|s| !s.is_empty()).map(str::to_owned).collect()
}

/// What every server does at start: refuses a database that is not at its version.
/// A newer database is taken, since migrations work with the code before them.
pub async fn check_postgres(pool: &PgPool) -> Result<(), Error> {
    let found = applied_version(pool).await?;
    let needed = needed_version();
    if found < needed {
        return Err(Error::Outdated { found, needed });
    }
    Ok(())
}

/// The present history, and its newest revision.
pub async fn head(pool: &PgPool) -> Result<(i64, i64), Error> {
    Ok(sqlx::query_as("-- recover_head\nSELECT epoch, revision FROM log_head").fetch_one(pool).await?)
}

/// Begins a new history after a fork or a restore, and lets the relay delete the streams of earlier ones if
/// `replace_streams`; answers its number.
pub async fn open_epoch(pool: &PgPool, replace_streams: bool) -> Result<i64, Error> {
    Ok(sqlx::query_scalar("-- open_epoch\nSELECT open_epoch($1)")
        .bind(replace_streams)
        .fetch_one(pool)
        .await?)
}

/// Lets the relay delete the streams of earlier epochs than the present one; answers its number.
pub async fn give_up_streams(pool: &PgPool) -> Result<i64, Error> {
    Ok(sqlx::query_scalar("-- give_up_streams\nSELECT give_up_streams()").fetch_one(pool).await?)
}

/// An operator states that PostgreSQL's clock is right; returns what it shows.
pub async fn accept_clock(pool: &PgPool) -> Result<OffsetDateTime, Error> {
    Ok(sqlx::query_scalar("-- accept_clock\nSELECT accept_clock()").fetch_one(pool).await?)
}

async fn applied_version(pool: &PgPool) -> Result<i64, Error> {
    let exists: bool =
        sqlx::query_scalar("-- schema_version_exists\nSELECT to_regclass('_sqlx_migrations') IS NOT NULL")
            .fetch_one(pool)
            .await?;
    if !exists {
        return Ok(0);
    }
    let dirty: Option<i64> = sqlx::query_scalar(
        "-- schema_version_dirty\nSELECT min(version) FROM _sqlx_migrations WHERE NOT success",
    )
    .fetch_one(pool)
    .await?;
    if let Some(version) = dirty {
        return Err(Error::Dirty(version));
    }
    let version: Option<i64> =
        sqlx::query_scalar("-- schema_version\nSELECT max(version) FROM _sqlx_migrations")
            .fetch_one(pool)
            .await?;
    Ok(version.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_relationship_type_has_its_constraint_and_both_indexes() {
        let statements = neo4j_statements();
        for kind in ["FOLLOWS", "MUTES", "BLOCKS", "REQUESTED"] {
            let of_kind = statements.iter().filter(|s| s.contains(&format!("[r:{kind}]"))).count();
            assert_eq!(of_kind, 3, "{kind}");
        }
        assert!(statements.iter().all(|s| s.contains("IF NOT EXISTS")));
    }
}
