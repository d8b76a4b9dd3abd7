//! The rules: decides what a command changes in the graph.
//!
//! Pure: no SQL, no clock, no gRPC, no randomness. A command names the edges and accounts that its decision depends on
//! ([`Command::touches`]); the store loads them into a [`Graph`]; [`decide`] returns changes or a refusal;
//! [`Graph::commit`] applies the changes, so that the next command of the batch sees them. Steps of jobs and expiries
//! take the same path. An edge or account that was not loaded counts as absent; a change of such an account fails
//! ([`Unseen`]).

mod account;
mod account_action;
mod answer;
mod batch;
mod change;
mod command;
mod decide;
mod decision;
mod graph;
mod import;
mod job;
mod layer;
mod net;
mod pair;
mod refusal;
mod replace;
mod replacement;
mod request;
mod rules;
mod step;

pub use account::{Account, AccountState, FollowCap};
pub use answer::{Answer, Body, relationship};
pub use change::{Change, Edge, Stamp};
pub use command::{
    AccountAction, Action, Command, Expects, ImportEdge, OnConflict, PairCommand, RefusedEdge, Touches,
};
pub use decide::decide;
pub use decision::{Decision, Report};
pub use graph::{Graph, Unseen};
pub use job::{JobKind, NewJob};
pub use layer::Layer;
pub use refusal::{Refusal, Refused};
pub use replace::{Listed, ReplacePlan, Target, add_step, check_actor, check_cap, plan, remove_step};
pub use replacement::{ReplaceCounts, ReplaceReport, Replacement, Work};
pub use request::{RequestKey, RequestName};
pub use rules::{Rules, check_active};
pub use step::{accept_step, archive_step, erase_step, expire_step, restore_step};

#[cfg(test)]
mod tests;
