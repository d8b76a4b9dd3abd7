//! The schemas of both stores, embedded: the SQL and Cypher files, their application (`followgraph migrate`), the
//! services' roles, and the check of the version that servers make at start.

#[cfg(test)]
mod frozen;
pub mod roles;

use sqlx::PgPool;
use sqlx::migrate::{MigrateError, Migrator};
use time::OffsetDateTime;

static POSTGRES: Migrator = sqlx::migrate!("./postgres");

/// Tables of the first migrations.
const FIRST_TABLES: [&str; 10] = [
    "follows",
    "mutes",
    "blocks",
    "follow_requests",
    "accounts",
    "log_head",
    "outbox",
    "replies",
    "jobs",
    "projectors",
];

const NEO4J: &str = include_str!("../neo4j/schema.cypher");

/// Why a schema is not usable.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database has no schema, or an older one.
    #[error(
        "the database schema is at version {found}, this program needs {needed}: run `followgraph migrate`"
    )]
    Outdated {
        /// Version of the database; 0 for none.
        found: i64,
        /// Version that the program needs.
        needed: i64,
    },
    /// Another program has created this database, or its tables.
    #[error(
        "this database belongs to another program ({0}): give DATABASE_URL the name of a database of followgraph's own"
    )]
    Foreign(String),
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

/// The schema version that this program needs.
pub fn needed_version() -> i64 {
    POSTGRES.iter().map(|m| m.version).max().unwrap_or(0)
}

/// Applies missing migrations to PostgreSQL, and returns their versions.
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

/// Fails if the database is older than this program needs. Servers run it at start. A newer database is accepted,
/// because migrations work with the code before them.
pub async fn check_postgres(pool: &PgPool) -> Result<(), Error> {
    let found = applied_version(pool).await?;
    let needed = needed_version();
    if found < needed {
        return Err(Error::Outdated { found, needed });
    }
    Ok(())
}

/// The current epoch and its newest revision.
pub async fn head(pool: &PgPool) -> Result<(i64, i64), Error> {
    Ok(sqlx::query_as("-- recover_head\nSELECT epoch, revision FROM log_head").fetch_one(pool).await?)
}

/// Opens an epoch after a fork or a restore, and returns its number. With `replace_streams`, the relay may delete the
/// streams of earlier epochs.
pub async fn open_epoch(pool: &PgPool, replace_streams: bool) -> Result<i64, Error> {
    Ok(sqlx::query_scalar("-- open_epoch\nSELECT open_epoch($1)")
        .bind(replace_streams)
        .fetch_one(pool)
        .await?)
}

/// Lets the relay delete the streams of epochs before the current one, and returns the current one.
pub async fn give_up_streams(pool: &PgPool) -> Result<i64, Error> {
    Ok(sqlx::query_scalar("-- give_up_streams\nSELECT give_up_streams()").fetch_one(pool).await?)
}

/// Records the operator's statement that PostgreSQL's clock is right; returns the clock's time.
pub async fn accept_clock(pool: &PgPool) -> Result<OffsetDateTime, Error> {
    Ok(sqlx::query_scalar("-- accept_clock\nSELECT accept_clock()").fetch_one(pool).await?)
}

/// The newest of our migrations in the database; 0 for none. Newer ones of another release do not count.
async fn applied_version(pool: &PgPool) -> Result<i64, Error> {
    let exists: bool =
        sqlx::query_scalar("-- schema_version_exists\nSELECT to_regclass('_sqlx_migrations') IS NOT NULL")
            .fetch_one(pool)
            .await?;
    let applied: Vec<Applied> =
        match exists {
            false => Vec::new(),
            true => sqlx::query_as(
                "-- schema_version\nSELECT version, success, checksum FROM _sqlx_migrations ORDER BY version",
            )
            .fetch_all(pool)
            .await?,
        };
    if let Some(reason) = foreign(&applied) {
        return Err(Error::Foreign(reason));
    }
    if let Some(dirty) = applied.iter().find(|applied| !applied.success) {
        return Err(Error::Dirty(dirty.version));
    }
    let ours = |applied: &&Applied| POSTGRES.iter().any(|m| m.version == applied.version);
    let version = applied.iter().filter(ours).map(|applied| applied.version).max();
    match version {
        Some(version) => Ok(version),
        None => tables_of_others(pool).await.map(|()| 0),
    }
}

/// A row of sqlx's table of migrations, of any program.
#[derive(Debug, sqlx::FromRow)]
struct Applied {
    version: i64,
    success: bool,
    checksum: Vec<u8>,
}

/// Why the migrations in a database are not ours. In every release, ours begin with the same one.
fn foreign(applied: &[Applied]) -> Option<String> {
    let first = POSTGRES.iter().next()?;
    let stranger = applied.first()?;
    match applied.iter().find(|applied| applied.version == first.version) {
        None => Some(format!("_sqlx_migrations lists version {}, which is not ours", stranger.version)),
        Some(found) if found.checksum != *first.checksum => {
            Some(format!("_sqlx_migrations lists another version {}", first.version))
        }
        Some(_) => None,
    }
}

/// Fails for a database without our migrations that has one of our tables: the first migration would fail there, and
/// leave a trace in another program's database.
async fn tables_of_others(pool: &PgPool) -> Result<(), Error> {
    let found: Option<String> = sqlx::query_scalar(
        "-- schema_of_others
         SELECT min(name) FROM unnest($1::text[]) AS ours (name) WHERE to_regclass(quote_ident(name)) IS NOT NULL",
    )
    .bind(FIRST_TABLES.map(str::to_owned).to_vec())
    .fetch_one(pool)
    .await?;
    match found {
        None => Ok(()),
        Some(table) => {
            Err(Error::Foreign(format!("it has a table {table} that no migration of ours has made")))
        }
    }
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

    fn applied(version: i64, checksum: &[u8]) -> Applied {
        Applied { version, success: true, checksum: checksum.to_vec() }
    }

    #[test]
    fn migrations_of_another_program_are_detected() {
        let first = POSTGRES.iter().next().expect("a migration");
        let ours = || applied(first.version, &first.checksum);
        assert_eq!(foreign(&[]), None);
        assert_eq!(foreign(&[ours()]), None);
        assert_eq!(foreign(&[ours(), applied(9_999, &[0])]), None, "a newer release");
        assert!(foreign(&[applied(20_240_101_000_000, &[0])]).is_some());
        assert!(foreign(&[applied(first.version, &[0])]).is_some());
    }

    #[test]
    fn the_first_migrations_create_the_first_tables() {
        let sql: String = POSTGRES.iter().take(2).map(|m| m.sql.as_str()).collect();
        for table in FIRST_TABLES {
            assert!(sql.contains(&format!("CREATE TABLE {table} ")), "{table}");
        }
    }
}
