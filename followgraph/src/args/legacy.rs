//! Arguments of `legacy`: the verbs of the older system's migration tool.
//!
//! Owns what each verb is said to mean here. It must not know how it is done.

use clap::Subcommand;

use super::StoreArgs;

/// A verb of the older system's migration tool.
#[derive(Debug, Subcommand)]
pub enum LegacyVerb {
    /// Show how far the read models are built, until they are complete
    ///
    /// Nothing needs to be started: a projector builds its read model by itself, and repairs it for ever.
    Backfill,
    /// Compare the counts of PostgreSQL and Neo4j, for each kind; exit code 1 if they differ
    ///
    /// While writes go on the two are compared until they are the same at one moment, for at most 30
    /// seconds. (Every edge is compared by the projector's sweep; `status` shows what it has found.)
    Verify(StoreArgs),
    /// Tell how a read model is built anew; changes nothing, exit code 1
    Clear,
    /// Tell which servers and services answer; exit code 1 if one does not
    Check(StoreArgs),
    /// Count the edges in PostgreSQL and Neo4j, for each kind
    Stats(StoreArgs),
}
