//! Errors of the relay.

use proto::Revision;

/// Why a step of the relay failed. The relay starts over after a pause.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// PostgreSQL does not answer.
    #[error("cannot read the outbox")]
    Postgres(#[from] sqlx::Error),
    /// PostgreSQL takes no writes, so it may lack the newest commits.
    #[error("PostgreSQL is a standby or read-only: the relay waits until it takes writes")]
    Standby,
    /// A recovery opened a new epoch during the step.
    #[error("another epoch has begun")]
    EpochChanged,
    /// NATS does not answer.
    #[error("NATS does not answer: {0}")]
    Nats(String),
    /// NATS refuses to create the stream.
    #[error("{0}")]
    Blocked(String),
    /// PostgreSQL or NATS neither failed nor answered; its host may be gone.
    #[error("PostgreSQL or NATS does not answer in time")]
    TimedOut,
    /// The outbox continues another history than the stream.
    #[error("revision {0} does not follow the event that was published before it")]
    Unchained(Revision),
    /// NATS's limit of messages is below the size of an event.
    #[error(
        "the event of revision {revision} has {bytes} bytes and NATS takes no message of its size: set max_payload of \
         NATS to 1MB or more and reload it"
    )]
    TooLarge {
        /// The event's revision.
        revision: Revision,
        /// Size without headers.
        bytes: usize,
    },
    /// The stream did not take an event as the next one.
    #[error("the stream refused revision {revision}: {problem}")]
    Refused {
        /// The event's revision.
        revision: Revision,
        /// The server's answer.
        problem: String,
    },
}

impl Error {
    /// A failed request to NATS.
    pub fn nats(error: impl std::fmt::Display) -> Self {
        Self::Nats(error.to_string())
    }
}
