//! How a question to a store ended.

use super::{Error, Versioned};

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
    /// All of them, in their order.
    pub const ALL: [Self; 5] = [Self::Ok, Self::Timeout, Self::NotReady, Self::Busy, Self::Error];
    /// How many there are.
    pub const COUNT: usize = Self::ALL.len();

    /// How this answer came about.
    pub fn of<T>(answer: &Result<Versioned<T>, Error>) -> Self {
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
        match self {
            Self::Ok => "ok",
            Self::Timeout => "timeout",
            Self::NotReady => "not_ready",
            Self::Busy => "busy",
            Self::Error => "error",
        }
    }
}
