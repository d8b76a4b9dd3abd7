//! Arguments of the commands for operators, which speak to the stores directly.
//!
//! Owns their flags and the names of their variables. It must not know the stores.

use clap::Args as Group;

/// Where to open a new epoch.
#[derive(Debug, Group)]
pub struct RecoverArgs {
    /// URL of PostgreSQL
    #[arg(long, env = "DATABASE_URL", value_name = "URL", hide_env_values = true)]
    pub database_url: String,
    /// Do it: without this, nothing is changed
    #[arg(long)]
    pub yes: bool,
}

/// Which stores to migrate.
#[derive(Debug, Group)]
pub struct MigrateArgs {
    /// URL of PostgreSQL
    #[arg(long, env = "DATABASE_URL", value_name = "URL", hide_env_values = true)]
    pub database_url: String,
    /// URI of Neo4j; without it, its schema is left to the projector
    #[arg(long, env = "NEO4J_URI", value_name = "URI", hide_env_values = true)]
    pub neo4j_uri: Option<String>,
    /// User of Neo4j
    #[arg(long, env = "NEO4J_USER", value_name = "NAME", default_value = "neo4j")]
    pub neo4j_user: String,
    /// Password of Neo4j
    #[arg(
        long,
        env = "NEO4J_PASSWORD",
        value_name = "PASSWORD",
        default_value = "",
        hide_env_values = true,
        hide_default_value = true
    )]
    pub neo4j_password: String,
}
