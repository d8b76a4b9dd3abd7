//! `migrate`: brings both schemas up to date, sets who may do what, and says what it did.

use std::time::{Duration, Instant};

use migrations::roles::{self, Role, Verifier};
use serde::Serialize;
use sqlx::PgPool;

use crate::args::{Format, MigrateArgs};
use crate::commands::Outcome;
use crate::mistakes::Mistakes;
use crate::output;
use crate::stores::{self, Neo4j, connect_postgres};

/// Between attempts.
const PAUSE: Duration = Duration::from_secs(2);

/// What was done, for programs.
#[derive(Debug, Serialize)]
struct Report {
    postgres_applied: Vec<i64>,
    postgres_version: i64,
    neo4j_applied: bool,
    roles_granted: bool,
}

/// What is to be done; its settings are checked.
struct Plan {
    database_url: String,
    /// The server, if its address is known.
    neo4j: Option<Neo4j>,
    /// Passwords to set; none if the roles are left alone.
    roles: Option<Vec<(Role, Verifier)>>,
}

impl Plan {
    /// Checks all settings.
    fn check(args: MigrateArgs) -> anyhow::Result<Self> {
        let mut mistakes = Mistakes::default();
        let neo4j = stores::check(&args.stores, None, &mut mistakes).pop();
        let roles = args.roles.then(|| verifiers(&args, &mut mistakes));
        mistakes.finish()?;
        Ok(Self { database_url: args.stores.database_url, neo4j, roles })
    }
}

/// What PostgreSQL keeps of the passwords that are known.
fn verifiers(args: &MigrateArgs, mistakes: &mut Mistakes) -> Vec<(Role, Verifier)> {
    let passwords = [
        (Role::Command, "COMMAND_SERVICE_DATABASE_PASSWORD", &args.command_password),
        (Role::Query, "QUERY_SERVICE_DATABASE_PASSWORD", &args.query_password),
        (Role::Projector, "PROJECTOR_DATABASE_PASSWORD", &args.projector_password),
    ];
    let mut verifiers = Vec::new();
    for (role, variable, password) in passwords {
        let Some(password) = password.as_deref().filter(|text| !text.is_empty()) else { continue };
        match Verifier::of(password) {
            Ok(verifier) => verifiers.push((role, verifier)),
            Err(error) => mistakes.push(anyhow::anyhow!("{variable}: {error}")),
        }
    }
    verifiers
}

/// Migrates, and with `--wait` tries again for a while, if that may help.
pub async fn run(format: Format, timeout: Duration, args: MigrateArgs) -> anyhow::Result<Outcome> {
    let until = Instant::now() + args.wait.unwrap_or_default();
    let plan = Plan::check(args)?;
    loop {
        match migrate(format, timeout, &plan).await {
            Err(error) if stores::may_pass(&error) && Instant::now() + PAUSE < until => {
                output::note(format!("waiting: {error:#}"));
            }
            ended => return ended,
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Migrates PostgreSQL, and Neo4j if it is known.
async fn migrate(format: Format, timeout: Duration, plan: &Plan) -> anyhow::Result<Outcome> {
    let pool = connect_postgres(&plan.database_url, timeout).await?;
    let postgres_applied = migrations::migrate_postgres(&pool).await?;
    if format == Format::Text {
        output::answer(postgres_text(&postgres_applied));
    }
    if let Some(verifiers) = &plan.roles {
        grant(&pool, verifiers).await?;
        if format == Format::Text {
            output::answer("PostgreSQL: each service's role may do what it needs");
        }
    }
    if let Some(neo4j) = &plan.neo4j {
        let graph = neo4j.connect(timeout).await?;
        migrations::migrate_neo4j(&graph).await?;
    }
    let neo4j_applied = plan.neo4j.is_some();
    match format {
        Format::Json => output::json_answer(&Report {
            postgres_applied,
            postgres_version: migrations::needed_version(),
            neo4j_applied,
            roles_granted: plan.roles.is_some(),
        })?,
        Format::Text if neo4j_applied => {
            output::answer("Neo4j: all constraints and indexes are there");
        }
        Format::Text => output::answer("Neo4j: left to the projector, NEO4J_URI is not set"),
    }
    Ok(Outcome::Done)
}

/// Makes the roles, and sets the passwords that are known.
async fn grant(pool: &PgPool, verifiers: &[(Role, Verifier)]) -> anyhow::Result<()> {
    roles::grant(pool).await?;
    for (role, verifier) in verifiers {
        roles::set_password(pool, *role, verifier).await?;
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

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Args, Command};

    fn args(more: &[&str]) -> MigrateArgs {
        let given = [&["followgraph", "migrate", "--database-url", "postgres://h/db"], more].concat();
        match Args::try_parse_from(given).expect("good arguments").command {
            Command::Migrate(args) => args,
            other => panic!("another command: {other:?}"),
        }
    }

    #[test]
    fn passwords_and_addresses_are_checked_together() {
        let passwords =
            ["--command-password", "two words", "--query-password", "", "--projector-password", "é"];
        let wrong = [&["--roles", "--neo4j-uri", "neo4j://h"], &passwords[..]].concat();
        let error = Plan::check(args(&wrong)).err().expect("three mistakes");
        let text = crate::error::one_line(&error);
        for wanted in ["NEO4J_URI ", "COMMAND_SERVICE_DATABASE_PASSWORD", "PROJECTOR_DATABASE_PASSWORD"] {
            assert!(text.contains(wanted), "{wanted} is missing in {text}");
        }
        assert!(!text.contains("QUERY_SERVICE") && !text.contains("two words"), "{text}");
        let plan = Plan::check(args(&passwords)).expect("without --roles no password is set");
        assert!(plan.roles.is_none());
    }

    #[test]
    fn it_says_what_was_applied() {
        let version = migrations::needed_version();
        assert_eq!(postgres_text(&[]), format!("PostgreSQL: up to date at version {version}"));
        assert_eq!(postgres_text(&[1, 2]), format!("PostgreSQL: applied 1, 2; now at version {version}"));
    }
}
