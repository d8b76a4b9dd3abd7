//! `followgraph`: the command line of the follow graph.
//!
//! Owns the way from the arguments to the exit code. It must not know how any
//! command does its work. What can go wrong is said on stderr by [`error`].

mod args;
mod client;
mod commands;
mod dates;
mod error;
mod ids;
mod import;
mod output;
mod retry;
mod text;

use std::process::ExitCode;

use clap::Parser as _;

use crate::commands::Outcome;

#[tokio::main]
async fn main() -> ExitCode {
    let args = args::Args::parse();
    let format = args.output;
    match commands::run(args).await {
        Ok(Outcome::Done) => ExitCode::from(0),
        Ok(Outcome::No) => ExitCode::from(1),
        Ok(Outcome::Failed) => ExitCode::from(2),
        // The reader of the pipe has seen enough, as `head` has.
        Err(error) if error::is_broken_pipe(&error) => ExitCode::from(0),
        Err(error) => {
            error::report(&error, format);
            ExitCode::from(2)
        }
    }
}
