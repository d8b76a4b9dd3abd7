//! Arguments of `legacy`: the verbs of the older system's migration tool.
//!
//! Owns what each verb is said to mean here. It must not know how it is done.

use clap::{Args as Group, Subcommand};

use super::ReplicaArgs;

/// A verb of the older system's migration tool.
#[derive(Debug, Subcommand)]
pub enum LegacyVerb {
    /// Show how far the read models are built, until they are complete
    ///
    /// Nothing needs to be started: a projector builds its read model by itself, and repairs it for ever.
    Backfill,
    /// Compare the counts of PostgreSQL and Neo4j at one revision, for each kind; exit code 1 if they differ
    ///
    /// These are the stores of followgraph; NEO4J_URIS names every read replica. The command counts until all of them are
    /// complete and at one revision. If they are not within 30 seconds, since a projector is behind or writes go on, the
    /// exit code is 1. (The projector's sweep compares every edge; `status` shows what it has found.)
    ///
    /// With --from-legacy-postgres it also compares every edge of the older system's database with PostgreSQL: exit
    /// code 1 if one is missing, extra, or has another date. Run it after the import and before the first write.
    Verify(VerifyArgs),
    /// Tell how a read model is built anew; changes nothing, exit code 1
    Clear,
    /// Tell which servers and services answer; exit code 1 if one does not
    Check(ReplicaArgs),
    /// Count the edges in PostgreSQL and Neo4j, for each kind
    Stats(ReplicaArgs),
}

/// What to compare.
#[derive(Debug, Group)]
pub struct VerifyArgs {
    /// The stores of followgraph.
    #[command(flatten)]
    pub stores: ReplicaArgs,
    /// The older system's PostgreSQL: compare every edge of its follows, mutes and blocks, too
    ///
    /// Better give its password by PGPASSWORD or ~/.pgpass: other users can read arguments.
    #[arg(long, value_name = "URL")]
    pub from_legacy_postgres: Option<String>,
}
