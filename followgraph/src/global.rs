//! What every command takes and returns: the global options, and its outcome.

use std::process::ExitCode;

use crate::client::ConnectionArgs;
use crate::output::Format;

/// Options that every command has.
#[derive(Debug, clap::Args)]
pub struct GlobalArgs {
    /// Output format: text for people, or JSON (one object; one object per line for lists)
    // Before the connection, whose heading would include it.
    #[arg(short = 'o', long = "output", value_enum, default_value_t, global = true)]
    pub output: Format,

    /// The services.
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

/// Result of a command that ran to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Yes, or done.
    Done = 0,
    /// No: a check that is false, refused rows, a problem.
    No = 1,
    /// Failed; the command has reported why.
    Failed = 2,
}

impl From<bool> for Outcome {
    fn from(yes: bool) -> Self {
        if yes { Self::Done } else { Self::No }
    }
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        Self::from(outcome as u8)
    }
}
