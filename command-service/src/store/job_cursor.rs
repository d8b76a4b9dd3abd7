//! Where a job continues, as columns of its row.
//!
//! This version ignores the cursors of 0.1.0 in `jobs.cursor`. Both versions may run at the same time, and each
//! continues from its own cursor or from the beginning: steps have no effect on processed edges.

use proto::Position;

/// What a step reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Live edges of the account.
    Live,
    /// Archived edges of the account.
    Archived,
    /// Follows and requests that are not in the list.
    Remove,
    /// Accounts of the list that are not followed.
    Add,
}

impl Phase {
    const ALL: [Self; 4] = [Self::Live, Self::Archived, Self::Remove, Self::Add];

    /// Value of the column `jobs.cursor_phase`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Archived => "archived",
            Self::Remove => "remove",
            Self::Add => "add",
        }
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|phase| phase.name() == name)
    }
}

/// Position of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// Phase of the next step.
    pub phase: Phase,
    /// The next step begins after this position of an edge or of the list.
    pub after: Position,
    /// Processed edges at the beginning of this pass over a list; 0 for other jobs.
    pub pass_done: i64,
    /// Completed passes over a list; 0 for other jobs.
    pub passes: i16,
}

impl Cursor {
    /// The beginning of a phase.
    pub fn start(phase: Phase) -> Self {
        Self { phase, after: Position(0), pass_done: 0, passes: 0 }
    }
}
