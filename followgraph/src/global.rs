//! Options that every command has.

use clap::Args as Group;

use crate::client::ConnectionArgs;
use crate::output::Format;

/// Options that every command has.
#[derive(Debug, Group)]
pub struct GlobalArgs {
    /// Output format: text for people, or JSON (one object; one object per line for lists)
    // Before the connection, whose heading would include it.
    #[arg(short = 'o', long = "output", value_enum, default_value_t, global = true)]
    pub output: Format,

    /// The services.
    #[command(flatten)]
    pub connection: ConnectionArgs,
}
