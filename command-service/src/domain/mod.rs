//! The rules: what a command does to the graph.
//!
//! Pure: no SQL, no clock, no gRPC, no randomness. A command names the edges and
//! accounts that it must see ([`Command::touches`]); the store loads them into a
//! [`Graph`]; [`decide`] answers with the changes or a refusal; [`Graph::commit`]
//! applies them, so that the next command of the same batch sees them.
//!
//! What can go wrong: a command that was decided on a graph that does not hold what
//! it touches. The graph treats what it was not given as absent.

mod command;
mod decide;
mod graph;

pub use command::{Command, ImportEdge, ImportReport, OnConflict, RefusedEdge, Touches};
pub use decide::{Decision, Refusal, decide};
pub use graph::{Account, AccountState, Change, Edge, Graph, Stamp};

#[cfg(test)]
mod tests;
