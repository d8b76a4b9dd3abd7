//! `followgraph`: the command line of the follow graph. Wires arguments, commands and the exit code.

// These macros panic if the output is closed; the functions of `output` do not.
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod args;
mod client;
mod commands;
mod dates;
mod error;
mod files;
mod global;
mod ids;
mod older;
mod output;
mod parser;
mod report;
mod retry;
mod stores;
mod text;

use std::process::ExitCode;

use crate::args::{Args, Command};
use crate::commands::account::{archive, erase, privacy, restore};
use crate::commands::{batch, check, clock, counts, export, import, job, legacy, migrate, pair, recover};
use crate::commands::{lists, relationship, replace, status, suggest, watch};
use crate::global::Outcome;

#[tokio::main]
async fn main() -> ExitCode {
    let args = parser::parse();
    let format = args.global.output;
    let only_reads = args.command.only_reads();
    let outcome = match run(args).await {
        // The reader closed the pipe, as `head` does.
        Err(error) if only_reads && report::is_broken_pipe(&error) => Outcome::Done,
        Err(error) => {
            report::failure(&error, format);
            Outcome::Failed
        }
        Ok(outcome) => match output::failure() {
            Some(failure) if !(only_reads && output::is_closed_pipe()) => {
                report::failure(&report::lost_output(failure), format);
                Outcome::Failed
            }
            _ => outcome,
        },
    };
    outcome.into()
}

async fn run(args: Args) -> anyhow::Result<Outcome> {
    let global = &args.global;
    match args.command {
        Command::Pair(command) => pair::run(global, &command).await,
        Command::Privacy(args) => privacy(global, &args).await,
        Command::Batch(args) => batch::run(global, &args).await,
        Command::ReplaceFollowing(args) => replace::run(global, &args).await,
        Command::Erase(args) => erase(global, &args).await,
        Command::Archive(args) => archive(global, &args).await,
        Command::Restore(args) => restore(global, &args).await,
        Command::Job(args) => job::run(global, &args).await,
        Command::Check(args) => check::run(global, &args).await,
        Command::Relationship(args) => relationship::run(global, &args).await,
        Command::List(list) => lists::run(global, &list).await,
        Command::Suggest(args) => suggest::run(global, &args).await,
        Command::Counts(args) => counts::run(global, &args).await,
        Command::Watch(args) => watch::run(global, &args).await,
        Command::Import(args) => import::run(global, &args).await,
        Command::Export(args) => export::run(global, &args).await,
        Command::Status => status::run(global).await,
        Command::Migrate(args) => migrate::run(global, args).await,
        Command::Legacy(verb) => legacy::run(global, &verb).await,
        Command::Recover(args) => recover::run(global, &args).await,
        Command::Clock(clock::ClockVerb::Accept(args)) => clock::accept(global, &args).await,
    }
}
