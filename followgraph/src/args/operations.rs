//! Arguments of the commands for operators, which speak to the stores directly.
//!
//! Owns their flags and the names of their variables. It must not know the stores.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args as Group, Subcommand};

use super::seconds;

/// Where to open a new epoch.
#[derive(Debug, Group)]
pub struct RecoverArgs {
    /// URL of PostgreSQL
    #[arg(long, env = "DATABASE_URL", value_name = "URL", hide_env_values = true)]
    pub database_url: String,
    /// Do it: without this, nothing is changed
    #[arg(long)]
    pub yes: bool,
    /// Let the relay delete the streams of earlier epochs, 30 seconds after their last heartbeat
    ///
    /// Only if no database serves them any more: not for a copy beside the original on one NATS.
    #[arg(long)]
    pub replace_stream: bool,
    /// Open no epoch: only record --replace-stream for the present one
    #[arg(long, requires = "replace_stream")]
    pub keep_epoch: bool,
}

/// What to do about PostgreSQL's clock.
#[derive(Debug, Subcommand)]
pub enum ClockVerb {
    /// State that PostgreSQL's clock is right: expiry and partition drops resume
    ///
    /// Compare it with a clock that you trust first (`SELECT clock_timestamp()`). What has run out by it ends at once,
    /// and cannot be brought back. Partitions are dropped again once the clock has been trusted for as long as they are
    /// kept.
    Accept(ClockArgs),
}

/// Whose clock it is.
#[derive(Debug, Group)]
pub struct ClockArgs {
    /// URL of PostgreSQL
    #[arg(long, env = "DATABASE_URL", value_name = "URL", hide_env_values = true)]
    pub database_url: String,
}

/// What to migrate, and whether to set who may do what there.
#[derive(Debug, Group)]
pub struct MigrateArgs {
    /// The stores.
    #[command(flatten)]
    pub stores: StoreArgs,
    /// Wait so long for servers that are away or start: for a job that is started together with them
    ///
    /// What waiting does not mend, such as a wrong password or a database of another program, ends it at once.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub wait: Option<Duration>,
    /// Make the services' roles in PostgreSQL where they are missing, and grant each what it needs
    ///
    /// They are followgraph_command, followgraph_query and followgraph_projector. Their passwords are set
    /// if the variables below are.
    #[arg(long)]
    pub roles: bool,
    /// With --roles: password of command-service's role
    #[arg(long, env = "COMMAND_SERVICE_DATABASE_PASSWORD", value_name = "PASSWORD", hide_env_values = true)]
    pub command_password: Option<String>,
    /// With --roles: password of query-service's role
    #[arg(long, env = "QUERY_SERVICE_DATABASE_PASSWORD", value_name = "PASSWORD", hide_env_values = true)]
    pub query_password: Option<String>,
    /// With --roles: password of the projector's role
    #[arg(long, env = "PROJECTOR_DATABASE_PASSWORD", value_name = "PASSWORD", hide_env_values = true)]
    pub projector_password: Option<String>,
}

/// The stores, with every read replica.
#[derive(Debug, Group)]
pub struct ReplicaArgs {
    /// The stores.
    #[command(flatten)]
    pub stores: StoreArgs,
    /// URIs of several Neo4j servers, separated by commas, in place of NEO4J_URI
    #[arg(long, env = "NEO4J_URIS", value_name = "URIS", hide_env_values = true)]
    pub neo4j_uris: Option<String>,
}

/// Where the stores are.
#[derive(Debug, Group)]
pub struct StoreArgs {
    /// URL of PostgreSQL
    #[arg(long, env = "DATABASE_URL", value_name = "URL", hide_env_values = true)]
    pub database_url: String,
    /// URI of Neo4j, bolt:// or bolt+s://; without it, its schema is left to the projector
    #[arg(long, env = "NEO4J_URI", value_name = "URI", hide_env_values = true)]
    pub neo4j_uri: Option<String>,
    /// Database in Neo4j; without it, the server's default
    #[arg(long, env = "NEO4J_DATABASE", value_name = "NAME")]
    pub neo4j_database: Option<String>,
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
    /// Authorities that may vouch for Neo4j at bolt+s://, a PEM file; else those that this system trusts
    #[arg(long, env = "NEO4J_CA_FILE", value_name = "FILE")]
    pub neo4j_ca: Option<PathBuf>,
    /// Our certificate for Neo4j at bolt+s://, a PEM file
    #[arg(long, env = "NEO4J_CERT_FILE", value_name = "FILE", requires = "neo4j_key")]
    pub neo4j_cert: Option<PathBuf>,
    /// The private key of that certificate, a PEM file
    #[arg(long, env = "NEO4J_KEY_FILE", value_name = "FILE", requires = "neo4j_cert")]
    pub neo4j_key: Option<PathBuf>,
}
