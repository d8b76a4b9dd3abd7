//! Outcomes of questions to a store.

use super::{Error, ReadResult};

/// The outcome of a question to a store. A closed set, since it is a label of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The store answered.
    Ok,
    /// It did not answer in time, or is stalled.
    Timeout,
    /// It cannot give an exact answer now.
    NotReady,
    /// The read was not sent: too many reads of this process wait for the store.
    Busy,
    /// It failed.
    Error,
}

impl Outcome {
    /// All outcomes, in the order of the variants.
    pub const ALL: [Self; 5] = [Self::Ok, Self::Timeout, Self::NotReady, Self::Busy, Self::Error];
    /// Number of outcomes.
    pub const COUNT: usize = Self::ALL.len();

    /// The outcome of this answer.
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
