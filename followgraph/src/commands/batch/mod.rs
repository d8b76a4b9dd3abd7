//! `batch`: executes the commands in a file, up to 300 per call.

mod line;
mod results;

use std::path::PathBuf;
use std::time::Instant;

use clap::CommandFactory as _;
use proto::command::v1::{BatchWriteRequest, Write};

use self::line::Item;
use self::results::{Calls, LineResult, Row};
use super::lines::{self, Line};
use super::pair::{self, BatchLine};
use crate::client::{CommandClient, CommandRpc, metadata};
use crate::dates;
use crate::error::Hinted;
use crate::global::{GlobalArgs, Outcome};

/// Number of commands that one call may contain.
const LARGEST_BATCH: usize = 300;

/// Text after the help of `batch`.
pub const BATCH_HELP: &str = "\
Each line is one command in the syntax of the command line, without `followgraph`, for example:

  follow 1 2
  unfollow 1 3 --expected-etag 1.aa8fdbcd3df76691ea5ff2a07af3e88c
  mute 1 4 --for 24h
  block 1 5 --until 2027-01-01T00:00:00Z --request-id 0c9f8a44-7a1e-4c8e-9d75-0a3a35c7a1b5

Commands are follow, unfollow, remove-follower, mute, unmute, block, unblock, accept-request,
reject-request and cancel-request. Empty lines and lines that start with # are ignored. All lines
are parsed before anything is sent.

One call sends at most 300 commands. --atomic executes all commands or none, and is limited to one call. If a
command fails, the exit code is 1.";

/// A file of commands.
#[derive(Debug, clap::Args)]
pub struct BatchArgs {
    /// File with the commands, one per line; - for stdin
    pub file: PathBuf,
    /// Execute all commands or none
    #[arg(long)]
    pub atomic: bool,
    /// Idempotency key of the whole batch, a UUID: a repeat with the same key returns the first answer
    #[arg(long, value_name = "UUID", requires = "atomic")]
    pub request_id: Option<String>,
}

pub async fn run(global: &GlobalArgs, args: &BatchArgs) -> anyhow::Result<Outcome> {
    let mut parser = BatchLine::command();
    let lines = lines::read(&args.file, |line| line::parse(&mut parser, line))?;
    if args.atomic && lines.len() > LARGEST_BATCH {
        let message = format!("an atomic batch of {} commands is too large", lines.len());
        let hint = format!("send at most {LARGEST_BATCH} commands, or omit --atomic");
        return Err(Hinted::new(message, hint).into());
    }
    if args.request_id.is_some()
        && let Some(line) = lines.iter().find(|line| line.content.command.is_relative())
    {
        let message =
            format!("line {}: --for with --request-id: a repeat would be another command", line.number);
        return Err(Hinted::new(message, "set the expiry time with --until").into());
    }
    let mut client = global.connection.command_client().await?;
    let mut calls = Calls::new(global.output);
    // A closed stdout does not stop the rest of the batch.
    for (index, batch) in lines.chunks(LARGEST_BATCH).enumerate() {
        match send(&mut client, args, batch, &mut calls).await {
            Ok(rows) => calls.print(&rows)?,
            Err(error) => {
                if index > 0 {
                    calls.print_summary();
                }
                let rest = lines.get((index + 1) * LARGEST_BATCH..).unwrap_or_default();
                return Err(error.context(unfinished(batch, rest)));
            }
        }
    }
    calls.print_summary();
    Ok(Outcome::from(calls.all_done()))
}

/// Lines of a failed call, and lines that were never sent.
fn unfinished(batch: &[Line<Item>], rest: &[Line<Item>]) -> String {
    match rest {
        [] => span(batch),
        rest => format!("{} ({} not sent)", span(batch), span(rest)),
    }
}

fn span(batch: &[Line<Item>]) -> String {
    match batch {
        [first, .., last] => format!("lines {} to {}", first.number, last.number),
        [only] => format!("line {}", only.number),
        [] => "no lines".to_owned(),
    }
}

/// Makes one call. Returns the result of each line.
async fn send<'a>(
    client: &mut CommandClient,
    args: &BatchArgs,
    batch: &'a [Line<Item>],
    calls: &mut Calls,
) -> anyhow::Result<Vec<Row<'a>>> {
    let now = dates::now();
    let write = |line: &Line<Item>| Write { command: Some(pair::message(&line.content.command, now)) };
    let request = BatchWriteRequest {
        writes: batch.iter().map(write).collect(),
        atomic: args.atomic,
        request_id: args.request_id.clone().unwrap_or_default(),
    };
    let started = Instant::now();
    let answer = client.call(request, CommandRpc::batch_write).await;
    let elapsed = started.elapsed();
    match answer {
        Ok(answer) => {
            anyhow::ensure!(
                answer.results.len() == batch.len(),
                "the service answered {} of {} commands",
                answer.results.len(),
                batch.len()
            );
            calls.add(elapsed, answer.written_at);
            Ok(batch.iter().zip(&answer.results).map(|(line, result)| Row::of_result(line, result)).collect())
        }
        Err(failed) => {
            // The command that made an atomic batch fail; none if the failure is not due to one command.
            let index = metadata(&failed.status).get("index").and_then(|index| index.parse::<usize>().ok());
            let Some(failed_index) = index.filter(|index| *index < batch.len()) else {
                return Err(failed.into());
            };
            calls.add(elapsed, String::new());
            let row = |(index, line)| {
                if index == failed_index {
                    Row::of_status(line, &failed.status)
                } else {
                    Row::new(line, LineResult::NotDone)
                }
            };
            Ok(batch.iter().enumerate().map(row).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_has_one_line() {
        let mut parser = BatchLine::command();
        let mut mistake = |line: &str| line::parse(&mut parser, line).unwrap_err();
        assert_eq!(
            mistake("follow 1 nobody"),
            "invalid value 'nobody' for '<TARGET>': must be a UUID or an integer"
        );
        assert_eq!(
            mistake("remove-follower 1"),
            "the following required arguments were not provided: <FOLLOWER>"
        );
        assert_eq!(mistake("befriend 1 2"), "unrecognized subcommand 'befriend'");
        assert!(mistake("follow 1 2 --help").starts_with("unexpected argument '--help'"));
        assert_eq!(pair::name(&line::parse(&mut parser, "mute 1  2 --for 1h").unwrap().command), "mute");
    }
}
