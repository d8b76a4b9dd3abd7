//! How a command ended, as its exit code says it.

use std::process::ExitCode;

/// Result of a command that ran to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Yes, or done.
    Done,
    /// No: a check that is false, refused rows, a problem.
    No,
    /// Failed; the command has reported why.
    Failed,
}

impl From<bool> for Outcome {
    fn from(yes: bool) -> Self {
        if yes { Self::Done } else { Self::No }
    }
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        Self::from(match outcome {
            Outcome::Done => 0,
            Outcome::No => 1,
            Outcome::Failed => 2,
        })
    }
}
