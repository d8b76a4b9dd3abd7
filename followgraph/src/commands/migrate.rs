//! `migrate`: brings both schemas up to date, and says what it did.

use std::time::Duration;

use anyhow::Context as _;
use serde::Serialize;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;

use crate::args::{Format, MigrateArgs};
use crate::commands::Outcome;
use crate::error::Advised;
use crate::output;

/// neo4rs also takes this as the longest wait for an answer, and a constraint on
/// millions of edges is not made in a moment.
const NEO4J_LONGEST_STATEMENT: Duration = Duration::from_secs(3_600);

/// What was done, for programs.
#[derive(Debug, Serialize)]
struct Report {
    postgres_applied: Vec<i64>,
    postgres_version: i64,
    neo4j_applied: bool,
}

/// Migrates PostgreSQL, and Neo4j if it is known.
pub async fn run(format: Format, timeout: Duration, args: MigrateArgs) -> anyhow::Result<Outcome> {
    let pool = connect_postgres(&args.database_url, timeout).await?;
    let postgres_applied = migrations::migrate_postgres(&pool).await?;
    if format == Format::Text {
        output::line(postgres_text(&postgres_applied))?;
    }
    let neo4j_uri = args.neo4j_uri.as_deref().filter(|uri| !uri.is_empty());
    if let Some(uri) = neo4j_uri {
        let graph = connect_neo4j(uri, &args, timeout).await?;
        migrations::migrate_neo4j(&graph).await?;
    }
    match format {
        Format::Json => output::json(&Report {
            postgres_applied,
            postgres_version: migrations::needed_version(),
            neo4j_applied: neo4j_uri.is_some(),
        })?,
        Format::Text if neo4j_uri.is_some() => {
            output::line("Neo4j: all constraints and indexes are there")?;
        }
        Format::Text => output::line("Neo4j: left to the projector, NEO4J_URI is not set")?,
    }
    Ok(Outcome::Done)
}

fn postgres_text(applied: &[i64]) -> String {
    let version = migrations::needed_version();
    if applied.is_empty() {
        return format!("PostgreSQL: up to date at version {version}");
    }
    let applied: Vec<_> = applied.iter().map(ToString::to_string).collect();
    format!("PostgreSQL: applied {}; now at version {version}", applied.join(", "))
}

/// Connects to PostgreSQL, or says what to look at.
pub async fn connect_postgres(url: &str, timeout: Duration) -> anyhow::Result<PgPool> {
    PgPoolOptions::new()
        .max_connections(2)
        .acquire_timeout(timeout)
        .connect(url)
        .await
        .map_err(|source| unreachable("PostgreSQL", "DATABASE_URL", Some(source.into())))
}

/// Connects to Neo4j, or says what to look at.
pub async fn connect_neo4j(
    uri: &str,
    args: &MigrateArgs,
    timeout: Duration,
) -> anyhow::Result<neo4rs::Graph> {
    let config = neo4rs::ConfigBuilder::default()
        .uri(uri)
        .user(args.neo4j_user.as_str())
        .password(args.neo4j_password.as_str())
        .max_connections(2)
        .connection_timeout(NEO4J_LONGEST_STATEMENT)
        .build()
        .context("cannot read NEO4J_URI")?;
    let graph = neo4rs::Graph::connect(config).context("cannot read NEO4J_URI")?;
    // The pool connects on first use, and retries what will not get better; an
    // explicit transaction does not.
    let probe = async { graph.start_txn().await?.rollback().await };
    match tokio::time::timeout(timeout, probe).await {
        Ok(Ok(())) => Ok(graph),
        Ok(Err(source)) => Err(unreachable("Neo4j", "NEO4J_URI", Some(source.into()))),
        Err(_) => Err(unreachable("Neo4j", "NEO4J_URI", None)),
    }
}

fn unreachable(
    store: &str,
    variable: &str,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
) -> anyhow::Error {
    Advised {
        message: format!("cannot connect to {store}"),
        hint: format!("is it up, and does {variable} (with user and password) fit?"),
        source,
    }
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_what_was_applied() {
        let version = migrations::needed_version();
        assert_eq!(postgres_text(&[]), format!("PostgreSQL: up to date at version {version}"));
        assert_eq!(postgres_text(&[1, 2]), format!("PostgreSQL: applied 1, 2; now at version {version}"));
    }
}
