//! Arguments of the commands that read.
//!
//! Owns their flags. It must not know what the commands do with them.

use clap::Args as Group;

use crate::ids::Id;

/// How fresh an answer must be.
#[derive(Clone, Debug, Default, Group)]
pub struct FreshArgs {
    /// See at least the write that printed this token
    #[arg(long, value_name = "TOKEN", conflicts_with = "consistent")]
    pub fresh: Option<String>,
    /// Ask PostgreSQL, the source of truth
    #[arg(long)]
    pub consistent: bool,
}

/// Whom to check.
#[derive(Debug, Group)]
pub struct CheckArgs {
    /// Who follows or not
    pub viewer: Id,
    /// Who is followed or not; any number, asked for in batches of 1,000
    #[arg(required = true)]
    pub targets: Vec<Id>,
    /// How fresh the answer must be.
    #[command(flatten)]
    pub fresh: FreshArgs,
}

/// Which list, and how much of it.
#[derive(Debug, Group)]
pub struct ListArgs {
    /// Whose list
    pub user: Id,
    /// How many rows
    #[arg(long, value_name = "ROWS", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: u64,
    /// The whole list
    #[arg(long, conflicts_with = "limit")]
    pub all: bool,
    /// Rows a call, 1 to 1,000; by default as many as are wanted
    #[arg(long, value_name = "ROWS", value_parser = clap::value_parser!(i32).range(1..=1000))]
    pub page_size: Option<i32>,
    /// How fresh the answer must be.
    #[command(flatten)]
    pub fresh: FreshArgs,
}

/// Whose counts.
#[derive(Debug, Group)]
pub struct CountsArgs {
    /// Whose counts; any number, asked for in batches of 1,000
    #[arg(required = true)]
    pub users: Vec<Id>,
    /// How fresh the answer must be.
    #[command(flatten)]
    pub fresh: FreshArgs,
}
