//! The rules: what a command does to the graph.
//!
//! Pure: no SQL, no clock, no gRPC, no randomness. A command names the edges and
//! accounts that it must see ([`Command::touches`]); the store loads them into a
//! [`Graph`]; [`decide`] answers with the changes or a refusal; [`Graph::commit`]
//! applies them, so that the next command of the same batch sees them. Steps of jobs
//! and expiries go the same way.
//!
//! What can go wrong: a command that was decided on a graph that does not hold what
//! it touches. The graph treats what it was not given as absent.

mod account;
mod answer;
mod change;
mod command;
mod decide;
mod graph;
mod import;
mod job;
mod layer;
mod net;
mod pair;
mod refusal;
mod replace;
mod request;
mod step;

pub use account::{Account, AccountState, FollowCap};
pub use answer::{Answer, Body, relationship};
pub use change::{Change, Edge, Op, Stamp};
pub use command::{
    AccountAction, Action, Command, Expects, ImportEdge, ImportReport, OnConflict, PairCommand, RefusedEdge,
    Touches,
};
pub use decide::{Decision, Report, Rules, decide, takes_part};
pub use graph::{Graph, Unseen};
pub use job::{JobKind, NewJob};
pub use layer::Layer;
pub use refusal::{Refusal, Refused};
pub use replace::{
    Listed, ReplaceCounts, ReplacePlan, ReplaceReport, Replacement, Target, Work, add_step, check_actor,
    check_cap, plan, remove_step,
};
pub use request::{RequestKey, RequestName};
pub use step::{accept_step, archive_step, erase_step, expire_step, restore_step};

#[cfg(test)]
mod tests;
