//! Effects of one step of a job, decided under the lock on the head.

use proto::event::{AccountChange, Verb};

use crate::domain::Change;
use crate::store::job_cursor::Cursor;

/// Effects of a step, and where the job continues.
pub struct Plan {
    /// Verb of the step's event.
    pub verb: Verb,
    /// Changed edges.
    pub changes: Vec<Change>,
    /// Changed accounts.
    pub accounts: Vec<AccountChange>,
    /// Number of processed edges.
    pub edges: usize,
    /// `None` if the job is done.
    pub cursor: Option<Cursor>,
    /// The account becomes active again.
    pub reactivates: bool,
}

impl Plan {
    /// A step that changes edges only.
    pub fn new(verb: Verb, changes: Vec<Change>, edges: usize, cursor: Option<Cursor>) -> Self {
        Self { verb, changes, accounts: Vec::new(), edges, cursor, reactivates: false }
    }
}
