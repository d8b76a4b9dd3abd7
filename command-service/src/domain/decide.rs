//! Decides a command on the loaded graph: one function for each kind of command.

use super::account_action::decide_account;
use super::batch::decide_batch;
use super::command::Command;
use super::decision::Decision;
use super::graph::Graph;
use super::import::decide_import;
use super::pair::decide_pair;
use super::refusal::Refused;
use super::replace::decide_replacement;
use super::rules::Rules;

/// Decides a command; returns its effects, or the rule that refuses it. The graph must hold what the command touches.
pub fn decide(graph: &Graph, command: &Command, rules: &Rules) -> Result<Decision, Refused> {
    match command {
        Command::Pair(command) => {
            Ok(Decision { changes: decide_pair(graph, command, rules)?, ..Decision::default() })
        }
        Command::Batch(commands) => decide_batch(graph, commands, rules),
        Command::Account { user, action } => Ok(decide_account(graph, *user, *action)?),
        Command::ReplaceFollowing(planned) => decide_replacement(graph, planned, rules),
        Command::Import { edges, on_conflict } => Ok(decide_import(graph, edges, *on_conflict, rules)),
    }
}
