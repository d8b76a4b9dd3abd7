//! How a question to a store ended.

use super::{Error, ReadResult};

/// How a question to a store ended: a label of metrics, so a closed set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The store answered.
    Ok,
    /// It did not answer in time, or stands still.
    Timeout,
    /// It cannot give an exact answer now.
    NotReady,
    /// The read was not sent: too many reads of this process wait for the store.
    Busy,
    /// It failed.
    Error,
}

impl Outcome {
    /// The labels, in the order of the outcomes.
    pub const LABELS: [&str; 5] = ["ok", "timeout", "not_ready", "busy", "error"];
    /// How many there are.
    pub const COUNT: usize = Self::LABELS.len();

    /// How this answer came about.
    pub fn of<T>(answer: &ReadResult<T>) -> Self {
        answer.as_ref().map_or_else(Self::failure, |_| Self::Ok)
    }

    fn failure(error: &Error) -> Self {
        match error {
            Error::TimedOut | Error::Stalled => Self::Timeout,
            Error::NotBuilt | Error::NotComplete | Error::NotExact => Self::NotReady,
            Error::Busy => Self::Busy,
            Error::Unchecked | Error::Misconfigured(_) | Error::Failed(_) => Self::Error,
            Error::Shared { error, .. } => Self::failure(error),
        }
    }

    /// The label.
    pub fn name(self) -> &'static str {
        Self::LABELS[self as usize]
    }
}
