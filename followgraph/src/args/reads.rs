//! Arguments of the commands that read.
//!
//! Owns their flags. It must not know what the commands do with them.

use clap::Args as Group;

use crate::ids::Id;
use crate::text;

/// How fresh an answer must be, and whether it tells how it came about.
#[derive(Clone, Debug, Default, Group)]
pub struct FreshArgs {
    /// See at least the write that printed this token
    #[arg(long, value_name = "TOKEN", conflicts_with = "consistent", value_parser = text::argument)]
    pub fresh: Option<String>,
    /// Ask PostgreSQL, the source of truth
    #[arg(long)]
    pub consistent: bool,
    /// Tell which store was asked what, how long it took, and why PostgreSQL was asked if it was
    #[arg(long)]
    pub explain: bool,
}

/// A viewer and others.
#[derive(Debug, Group)]
pub struct CheckArgs {
    /// Whose view
    pub viewer: Id,
    /// The others; any number, asked for in batches of 1,000
    #[arg(required = true)]
    pub targets: Vec<Id>,
    /// How fresh the answer must be, and whether it is explained.
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
    /// Go on behind an earlier answer of the same list, which told this token
    #[arg(long, value_name = "TOKEN", default_value = "", hide_default_value = true,
          allow_hyphen_values = true, value_parser = text::argument)]
    pub page_token: String,
    /// How fresh the answer must be, and whether it is explained.
    #[command(flatten)]
    pub fresh: FreshArgs,
}

/// A list that others look at.
#[derive(Debug, Group)]
pub struct PublicListArgs {
    /// Which list, and how much of it.
    #[command(flatten)]
    pub list: ListArgs,
    /// Who looks: leave out accounts that this one has blocked, or that have blocked it
    #[arg(long, value_name = "ACCOUNT")]
    pub viewer: Option<Id>,
    /// Show what links the viewer with each account
    #[arg(long, requires = "viewer")]
    pub relationships: bool,
}

/// Which requests to follow.
#[derive(Debug, Group)]
pub struct RequestsArgs {
    /// Which list, and how much of it.
    #[command(flatten)]
    pub list: ListArgs,
    /// Requests of USER to follow others, instead of those of others to follow USER
    #[arg(long)]
    pub outgoing: bool,
}

/// Whose counts.
#[derive(Debug, Group)]
pub struct CountsArgs {
    /// Whose counts; any number, asked for in batches of 1,000
    #[arg(required = true)]
    pub users: Vec<Id>,
    /// Who asks: told its own mutes, blocks and pending requests too
    #[arg(long, value_name = "ACCOUNT")]
    pub viewer: Option<Id>,
    /// How fresh the answer must be, and whether it is explained.
    #[command(flatten)]
    pub fresh: FreshArgs,
}
