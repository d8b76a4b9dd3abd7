//! Where a job continues, as columns of its row.
//!
//! 0.1.0 keeps its cursors in `jobs.cursor`, and this version ignores them: both may run at the same time, and each
//! continues from its own cursor or from the beginning. Steps have no effect on edges that were dealt with.

use proto::Position;

/// The low bits of the column `cursor_done` that hold the number of edges; the bits above hold the number of passes.
const DONE_BITS: u32 = 48;

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
    pub passes: u16,
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
    pub fn from_columns(phase: Option<&str>, after: Option<i64>, done: Option<i64>) -> Option<Self> {
        let done = done.unwrap_or(0);
        Some(Self {
            phase: Phase::named(phase?)?,
            after: Position::from_i64(after?),
            pass_done: done & ((1 << DONE_BITS) - 1),
            passes: u16::try_from(done >> DONE_BITS).unwrap_or(0),
        })
    }

    /// Its column `cursor_done`. A process that knows no passes takes a later one for a pass with changes.
    pub fn done_column(self) -> i64 {
        (i64::from(self.passes) << DONE_BITS) | self.pass_done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_as_it_was_written() {
        for (pass_done, passes) in [(0, 0), (99_999, 0), (0, 3), (99_999, 3)] {
            let cursor =
                Cursor { pass_done, passes, ..Cursor::start(Phase::Add).after(Position::from_i64(7)) };
            let read = Cursor::from_columns(Some("add"), Some(7), Some(cursor.done_column()));
            assert_eq!(read, Some(cursor));
        }
        let before = Cursor::from_columns(Some("remove"), Some(0), Some(5)).expect("without passes");
        assert_eq!((before.pass_done, before.passes), (5, 0));
    }
}
