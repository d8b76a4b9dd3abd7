//! `migrate`: migrates both schemas and grants privileges.

use std::time::{Duration, Instant};

use migrations::roles::{self, Role, Verifier};
use serde::Serialize;

use crate::error::Mistakes;
use crate::global::{GlobalArgs, Outcome};
use crate::output::{self, Format};
use crate::stores::{self, Neo4j, StoreArgs, connect_postgres};
use crate::text;

const RETRY_INTERVAL: Duration = Duration::from_secs(2);

/// What to migrate, and whether to grant privileges.
#[derive(Debug, clap::Args)]
pub struct MigrateArgs {
    /// The stores.
    #[command(flatten)]
    pub stores: StoreArgs,
    /// Wait this long for servers that are down or starting, for jobs that start together with them
    ///
    /// Permanent errors, such as a wrong password or the database of another program, end the command at once.
    #[arg(long, value_name = "SECONDS", value_parser = text::seconds)]
    pub wait: Option<Duration>,
    /// Create the services' roles in PostgreSQL, and grant each the privileges that it needs
    ///
    /// The roles are followgraph_command, followgraph_query and followgraph_projector. Their passwords are set
    /// if the variables below are set.
    #[arg(long)]
    pub roles: bool,
    /// Password of command-service's role, with --roles
    #[arg(long, env = "COMMAND_SERVICE_DATABASE_PASSWORD", value_name = "PASSWORD", hide_env_values = true)]
    pub command_password: Option<String>,
    /// Password of query-service's role, with --roles
    #[arg(long, env = "QUERY_SERVICE_DATABASE_PASSWORD", value_name = "PASSWORD", hide_env_values = true)]
    pub query_password: Option<String>,
    /// Password of the projector's role, with --roles
    #[arg(long, env = "PROJECTOR_DATABASE_PASSWORD", value_name = "PASSWORD", hide_env_values = true)]
    pub projector_password: Option<String>,
}

#[derive(Debug, Serialize)]
struct Report {
    postgres_applied: Vec<i64>,
    postgres_version: i64,
    neo4j_applied: bool,
    roles_granted: bool,
}

/// A migration with checked settings.
struct Plan {
    database_url: String,
    /// `None` if its address is not set.
    neo4j: Option<Neo4j>,
    /// Passwords to set; `None` without `--roles`.
    roles: Option<Vec<(Role, Verifier)>>,
}

impl Plan {
    /// Checks all settings.
    fn check(args: MigrateArgs) -> anyhow::Result<Self> {
        let mut mistakes = Mistakes::default();
        let neo4j = args.stores.check(&mut mistakes);
        let roles = args.roles.then(|| verifiers(&args, &mut mistakes));
        mistakes.finish()?;
        Ok(Self { database_url: args.stores.database_url, neo4j, roles })
    }
}

/// Verifiers of the passwords that are set; PostgreSQL never gets the passwords.
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

/// Migrates. With `--wait`, repeats after transient errors.
pub async fn run(global: &GlobalArgs, args: MigrateArgs) -> anyhow::Result<Outcome> {
    let until = Instant::now() + args.wait.unwrap_or_default();
    let plan = Plan::check(args)?;
    loop {
        match migrate(global.output, global.connection.timeout, &plan).await {
            Err(error) if stores::is_transient(&error) && Instant::now() + RETRY_INTERVAL < until => {
                output::note(format!("waiting: {error:#}"));
            }
            ended => return ended,
        }
        tokio::time::sleep(RETRY_INTERVAL).await;
    }
}

async fn migrate(format: Format, timeout: Duration, plan: &Plan) -> anyhow::Result<Outcome> {
    // Text appears step by step.
    let step = |text: &str| {
        if format == Format::Text {
            output::answer(text);
        }
    };
    let pool = connect_postgres(&plan.database_url, timeout).await?;
    let postgres_applied = migrations::migrate_postgres(&pool).await?;
    step(&postgres_text(&postgres_applied));
    if let Some(verifiers) = &plan.roles {
        roles::grant(&pool).await?;
        for (role, verifier) in verifiers {
            roles::set_password(&pool, *role, verifier).await?;
        }
        step("PostgreSQL: each service's role has the privileges that it needs");
    }
    if let Some(neo4j) = &plan.neo4j {
        let graph = neo4j.connect(timeout).await?;
        migrations::migrate_neo4j(&graph).await?;
    }
    let report = Report {
        postgres_applied,
        postgres_version: migrations::needed_version(),
        neo4j_applied: plan.neo4j.is_some(),
        roles_granted: plan.roles.is_some(),
    };
    format.answer(&report, || {
        let text = match plan.neo4j {
            Some(_) => "Neo4j: all constraints and indexes exist",
            None => "Neo4j: left to the projector, NEO4J_URI is not set",
        };
        text.to_owned()
    })?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Several;

    fn args(more: &[&str]) -> MigrateArgs {
        text::parse_args(&[&["--database-url", "postgres://h/db"], more].concat()).expect("good arguments")
    }

    #[test]
    fn passwords_and_addresses_are_checked_together() {
        let passwords =
            ["--command-password", "two words", "--query-password", "", "--projector-password", "é"];
        let wrong = [&["--roles", "--neo4j-uri", "neo4j://h"], &passwords[..]].concat();
        let error = Plan::check(args(&wrong)).err().expect("three mistakes");
        let several = error.downcast_ref::<Several>().expect("several");
        let text: String = several.0.iter().map(|mistake| format!("{mistake:#}\n")).collect();
        for wanted in ["NEO4J_URI ", "COMMAND_SERVICE_DATABASE_PASSWORD", "PROJECTOR_DATABASE_PASSWORD"] {
            assert!(text.contains(wanted), "{wanted} is missing in {text}");
        }
        assert!(!text.contains("QUERY_SERVICE") && !text.contains("two words"), "{text}");
        let plan = Plan::check(args(&passwords)).expect("without --roles no password is set");
        assert!(plan.roles.is_none());
    }

    #[test]
    fn text_lists_the_applied_versions() {
        let version = migrations::needed_version();
        assert_eq!(postgres_text(&[]), format!("PostgreSQL: up to date at version {version}"));
        assert_eq!(postgres_text(&[1, 2]), format!("PostgreSQL: applied 1, 2; now at version {version}"));
    }
}
