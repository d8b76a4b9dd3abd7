//! Where a job continues, as columns of its row.
//!
//! 0.1.0 keeps its cursors in `jobs.cursor`, and this version ignores them: both may run at the same time, and each
//! continues from its own cursor or from the beginning. Steps have no effect on edges that were dealt with.

use proto::Position;

/// What the next step reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Live edges of the account.
    Live,
    /// Hidden edges of the account.
    Archived,
    /// Follows and requests that are not in the list.
    Remove,
    /// Accounts of the list that are not followed.
    Add,
}

impl Phase {
    const ALL: [Self; 4] = [Self::Live, Self::Archived, Self::Remove, Self::Add];

    /// Its name in the database.
    pub fn name(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Archived => "archived",
            Self::Remove => "remove",
            Self::Add => "add",
        }
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|phase| phase.name() == name)
    }
}

/// Where a job continues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// What the next step reads.
    pub phase: Phase,
    /// It begins after this position of an edge or of the list.
    pub after: Position,
    /// Edges that were done when this pass over a list began; 0 for other jobs.
    pub pass_done: i64,
    /// Passes over a list that are complete; 0 for other jobs.
    pub passes: i16,
}

impl Cursor {
    /// The beginning of a phase.
    pub fn start(phase: Phase) -> Self {
        Self { phase, after: Position(0), pass_done: 0, passes: 0 }
    }

    /// The same phase after another position.
    #[must_use]
    pub fn after(self, after: Position) -> Self {
        Self { after, ..self }
    }

    /// A cursor from its columns; none before the first step.
    pub fn from_columns(
        phase: Option<&str>,
        after: Option<i64>,
        pass_done: Option<i64>,
        passes: Option<i16>,
    ) -> Option<Self> {
        Some(Self {
            phase: Phase::named(phase?)?,
            after: Position::from_i64(after?),
            pass_done: pass_done.unwrap_or(0),
            passes: passes.unwrap_or(0),
        })
    }
}
