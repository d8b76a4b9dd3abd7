//! Decisions: the effects of commands, before they have a revision.

use proto::event::AccountChange;
use uuid::Uuid;

use super::change::Change;
use super::command::ImportReport;
use super::job::NewJob;
use super::replacement::ReplaceReport;

/// Effects of a command; empty if the graph already satisfies it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// Changes in the order of their positions; no edge twice.
    pub changes: Vec<Change>,
    /// Changes of accounts' flags and states.
    pub accounts: Vec<AccountChange>,
    /// A job to start.
    pub job: Option<NewJob>,
    /// The running job that already covers this command.
    pub running: Option<Uuid>,
    /// Additional results for commands with parts.
    pub report: Report,
}

/// Results of commands with parts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Report {
    /// The command has no parts.
    #[default]
    None,
    /// Results of a chunk of an import.
    Import(ImportReport),
    /// For each command of a batch, whether it changed something.
    Batch(Vec<bool>),
    /// Additions and removals of a replaced list.
    Replace(ReplaceReport),
}

impl Decision {
    /// Whether the command makes an event.
    pub fn changes_something(&self) -> bool {
        !self.changes.is_empty() || !self.accounts.is_empty()
    }
}
