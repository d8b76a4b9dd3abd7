//! `migrate`: brings both schemas up to date, sets who may do what, and says what it did.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use migrations::roles::{self, Role, Verifier};
use serde::Serialize;
use service_kit::{Secret, neo4j, postgres};
use sqlx::PgPool;

use crate::args::{Format, MigrateArgs, StoreArgs};
use crate::commands::Outcome;
use crate::error::Advised;
use crate::output;

/// Between attempts.
const PAUSE: Duration = Duration::from_secs(2);
/// neo4rs also takes this as the longest wait for an answer, and a constraint on
/// millions of edges is not made in a moment.
const NEO4J_LONGEST_STATEMENT: Duration = Duration::from_secs(3_600);

/// What was done, for programs.
#[derive(Debug, Serialize)]
struct Report {
    postgres_applied: Vec<i64>,
    postgres_version: i64,
    neo4j_applied: bool,
    roles_granted: bool,
}

/// Migrates, and with `--wait` tries again for a while.
pub async fn run(format: Format, timeout: Duration, args: MigrateArgs) -> anyhow::Result<Outcome> {
    // No waiting mends an address.
    check_addresses(&args.stores)?;
    let until = Instant::now() + args.wait.unwrap_or_default();
    loop {
        match migrate(format, timeout, &args).await {
            Err(error) if Instant::now() + PAUSE < until => output::note(format!("waiting: {error:#}")),
            ended => return ended,
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Migrates PostgreSQL, and Neo4j if it is known.
async fn migrate(format: Format, timeout: Duration, args: &MigrateArgs) -> anyhow::Result<Outcome> {
    let MigrateArgs { stores, roles, .. } = args;
    let pool = connect_postgres(&stores.database_url, timeout).await?;
    let postgres_applied = migrations::migrate_postgres(&pool).await?;
    if format == Format::Text {
        output::answer(postgres_text(&postgres_applied));
    }
    if *roles {
        grant(&pool, args).await?;
        if format == Format::Text {
            output::answer("PostgreSQL: each service's role may do what it needs");
        }
    }
    let neo4j_uri = stores.neo4j_uri.as_deref().filter(|uri| !uri.is_empty());
    if let Some(uri) = neo4j_uri {
        let graph = connect_neo4j(uri, stores, timeout).await?;
        migrations::migrate_neo4j(&graph).await?;
    }
    match format {
        Format::Json => output::json_answer(&Report {
            postgres_applied,
            postgres_version: migrations::needed_version(),
            neo4j_applied: neo4j_uri.is_some(),
            roles_granted: *roles,
        })?,
        Format::Text if neo4j_uri.is_some() => {
            output::answer("Neo4j: all constraints and indexes are there");
        }
        Format::Text => output::answer("Neo4j: left to the projector, NEO4J_URI is not set"),
    }
    Ok(Outcome::Done)
}

/// Makes the roles, and sets the passwords that are known.
async fn grant(pool: &PgPool, args: &MigrateArgs) -> anyhow::Result<()> {
    let passwords = [
        (Role::Command, &args.command_password),
        (Role::Query, &args.query_password),
        (Role::Projector, &args.projector_password),
    ];
    // A password that cannot be set is found before anything is changed.
    let verifiers = passwords
        .into_iter()
        .filter_map(|(role, password)| Some((role, password.as_deref().filter(|text| !text.is_empty())?)))
        .map(|(role, password)| Ok((role, Verifier::of(password).with_context(|| role.name())?)))
        .collect::<anyhow::Result<Vec<_>>>()?;
    roles::grant(pool).await?;
    for (role, verifier) in verifiers {
        roles::set_password(pool, role, &verifier).await?;
    }
    Ok(())
}

fn postgres_text(applied: &[i64]) -> String {
    let version = migrations::needed_version();
    if applied.is_empty() {
        return format!("PostgreSQL: up to date at version {version}");
    }
    let applied: Vec<_> = applied.iter().map(ToString::to_string).collect();
    format!("PostgreSQL: applied {}; now at version {version}", applied.join(", "))
}

/// Says everything that is wrong with the addresses, before anything is done.
pub fn check_addresses(stores: &StoreArgs) -> anyhow::Result<()> {
    let postgres = postgres::check_address(&Secret::from(stores.database_url.as_str()))
        .map_err(|problem| format!("DATABASE_URL {problem}"));
    let neo4j = match stores.neo4j_uri.as_deref().filter(|uri| !uri.is_empty()) {
        Some(uri) => neo4j::check_address(uri).map_err(|problem| format!("NEO4J_URI {problem}")),
        None => Ok(()),
    };
    let problems: Vec<_> = [postgres, neo4j].into_iter().filter_map(Result::err).collect();
    if problems.is_empty() { Ok(()) } else { Err(anyhow::anyhow!(problems.join("; "))) }
}

/// Connects to PostgreSQL, or says what to look at.
pub async fn connect_postgres(url: &str, timeout: Duration) -> anyhow::Result<PgPool> {
    let url = Secret::from(url);
    postgres::check_address(&url).map_err(|problem| anyhow::anyhow!("DATABASE_URL {problem}"))?;
    match postgres::connect_tool(&url, "followgraph", timeout).await {
        Err(error) if postgres::says_no_session(&error) => Err(postgres::NoSession.into()),
        connected => {
            connected.map_err(|source| unreachable("PostgreSQL", "DATABASE_URL", Some(source.into())))
        }
    }
}

/// Connects to Neo4j, or says what to look at.
pub async fn connect_neo4j(uri: &str, args: &StoreArgs, timeout: Duration) -> anyhow::Result<neo4rs::Graph> {
    neo4j::check_address(uri).map_err(|problem| anyhow::anyhow!("NEO4J_URI {problem}"))?;
    let config = neo4rs::ConfigBuilder::default()
        .uri(uri)
        .user(args.neo4j_user.as_str())
        .password(args.neo4j_password.as_str())
        .max_connections(2)
        .connection_timeout(NEO4J_LONGEST_STATEMENT);
    let config = match args.neo4j_database.as_deref().filter(|name| !name.is_empty()) {
        Some(database) => config.db(database),
        None => config,
    };
    let config = match (&args.neo4j_cert, &args.neo4j_key, &args.neo4j_ca) {
        (Some(certificate), Some(key), ca) => {
            config.with_mutual_tls_validation(ca.as_ref(), certificate, key)
        }
        // The driver's name for the authorities' certificates.
        (_, _, Some(ca)) => config.with_client_certificate(ca),
        _ => config,
    }
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
