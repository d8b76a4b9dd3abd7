//! `followgraph`: the command line of the follow graph.
//!
//! Owns the way from the arguments to the exit code. It must not know how any
//! command does its work. What can go wrong is said on stderr by [`error`].

// These macros panic when the output is closed; the functions of `output` do not.
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod args;
mod client;
mod commands;
mod dates;
mod error;
mod files;
mod ids;
mod import;
mod mistakes;
mod output;
mod retry;
mod stores;
mod text;

use std::process::ExitCode;

use crate::commands::Outcome;

#[tokio::main]
async fn main() -> ExitCode {
    let args = args::parse();
    let format = args.output;
    let only_reads = args.command.only_reads();
    let outcome = match commands::run(args).await {
        // The reader of the pipe has seen enough, as `head` has.
        Err(error) if only_reads && error::is_broken_pipe(&error) => Outcome::Done,
        Err(error) => {
            error::report(&error, format);
            Outcome::Failed
        }
        Ok(outcome) => match output::failure() {
            Some(failure) if !(only_reads && output::is_closed_pipe()) => {
                error::report(&error::lost_output(failure), format);
                Outcome::Failed
            }
            _ => outcome,
        },
    };
    ExitCode::from(match outcome {
        Outcome::Done => 0,
        Outcome::No => 1,
        Outcome::Failed => 2,
    })
}
