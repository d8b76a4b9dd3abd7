//! Arguments of the commands that are long at work: they start a job, or ask for one.
//!
//! Owns their flags. It must not know what a job does.

use clap::Args as Group;

use crate::ids::Id;

/// Whether to wait for the end of a job.
#[derive(Clone, Debug, Default, Group)]
pub struct WaitArgs {
    /// Do not wait for the job that does the work; `job` tells how far it is
    #[arg(long)]
    pub no_wait: bool,
}

/// An account that something happens to as a whole.
#[derive(Debug, Group)]
pub struct AccountArgs {
    /// The account
    pub account: Id,
    /// A UUID of your choice: a repeat with the same one gets the first answer again
    #[arg(long, value_name = "UUID")]
    pub request_id: Option<String>,
    /// Whether to wait for the job.
    #[command(flatten)]
    pub wait: WaitArgs,
}

/// An account to erase.
#[derive(Debug, Group)]
pub struct EraseArgs {
    /// The account.
    #[command(flatten)]
    pub account: AccountArgs,
    /// Do it: without this, nothing is changed
    #[arg(long)]
    pub yes: bool,
}

/// Which job.
#[derive(Debug, Group)]
pub struct JobArgs {
    /// Its id, as the command that started it printed it
    pub job_id: String,
    /// Wait until it ends
    #[arg(long)]
    pub wait: bool,
}
