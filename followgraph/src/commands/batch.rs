//! `batch`: the commands of a file, up to 300 a call.
//!
//! Owns the calls and what their outcome is for each line. It must not know how
//! results look, [`results`] does. What can go wrong: a line is no command (nothing
//! is sent then), or a call fails as a whole (the lines before it are told).

mod results;

use std::time::Instant;

use clap::{CommandFactory as _, FromArgMatches as _};
use proto::command::v1::{BatchWriteRequest, Write};
use tonic::Status;
use tonic_types::StatusExt as _;

use self::results::{Calls, Row};
use super::input::{self, Line};
use super::write;
use crate::args::{BatchArgs, BatchLine, ConnectionArgs, Format, PairCommand};
use crate::client::{self, CommandClient};
use crate::commands::Outcome;
use crate::dates;
use crate::error::Advised;

/// Commands that one call may carry.
const LARGEST_BATCH: usize = 300;

/// A command of the file, and how it was written.
#[derive(Debug)]
struct Item {
    command: PairCommand,
    text: String,
}

/// Carries out the commands of a file.
pub async fn run(connection: &ConnectionArgs, format: Format, args: &BatchArgs) -> anyhow::Result<Outcome> {
    let mut parser = BatchLine::command();
    let lines = input::read(&args.file, |line| understand(&mut parser, line))?;
    if args.atomic && lines.len() > LARGEST_BATCH {
        return Err(Advised {
            message: format!("{} commands are too many to be atomic", lines.len()),
            hint: format!("leave --atomic out, or send at most {LARGEST_BATCH}"),
            source: None,
        }
        .into());
    }
    if args.request_id.is_some()
        && let Some(line) = lines.iter().find(|line| line.content.command.is_relative())
    {
        return Err(Advised {
            message: format!(
                "line {}: --for with --request-id: a repeat would be another command",
                line.number
            ),
            hint: "name the date with --until".to_owned(),
            source: None,
        }
        .into());
    }
    let mut client = client::command(connection).await?;
    let mut calls = Calls::default();
    // A stdout that nobody reads any more is no reason to leave the rest undone.
    for (index, batch) in lines.chunks(LARGEST_BATCH).enumerate() {
        match send(&mut client, args, batch, &mut calls).await {
            Ok(rows) => calls.print(format, &rows)?,
            Err(error) => {
                if index > 0 {
                    calls.print_summary(format);
                }
                let rest = lines.get((index + 1) * LARGEST_BATCH..).unwrap_or_default();
                return Err(error.context(unfinished(batch, rest)));
            }
        }
    }
    calls.print_summary(format);
    Ok(Outcome::from(calls.all_done()))
}

/// Which lines a failed call was about, and which were never sent.
fn unfinished(batch: &[Line<Item>], rest: &[Line<Item>]) -> String {
    match rest {
        [] => span(batch),
        rest => format!("{} ({} not sent)", span(batch), span(rest)),
    }
}

/// Reads one line as the command line is read.
fn understand(parser: &mut clap::Command, line: &str) -> Result<Item, String> {
    let matches = parser.try_get_matches_from_mut(line.split_whitespace());
    let command = matches.and_then(|matches| BatchLine::from_arg_matches(&matches));
    match command {
        Ok(BatchLine { command }) => Ok(Item { command, text: line.to_owned() }),
        // What follows the first empty line is about the usage of a program.
        Err(error) => {
            let text = error.to_string();
            let words: Vec<_> = text.lines().map(str::trim).take_while(|line| !line.is_empty()).collect();
            Err(words.join(" ").trim_start_matches("error: ").to_owned())
        }
    }
}

/// Which lines a call was about.
fn span(batch: &[Line<Item>]) -> String {
    match batch {
        [first, .., last] => format!("lines {} to {}", first.number, last.number),
        [only] => format!("line {}", only.number),
        [] => "no lines".to_owned(),
    }
}

/// Sends one call, and answers what became of each line.
async fn send<'a>(
    client: &mut CommandClient,
    args: &BatchArgs,
    batch: &'a [Line<Item>],
    calls: &mut Calls,
) -> anyhow::Result<Vec<Row<'a>>> {
    let now = dates::now();
    let request = client.request(BatchWriteRequest {
        writes: batch
            .iter()
            .map(|line| Write { command: Some(write::message(&line.content.command, now)) })
            .collect(),
        atomic: args.atomic,
        request_id: args.request_id.clone().unwrap_or_default(),
    });
    let started = Instant::now();
    let answer = client.rpc.batch_write(request).await;
    let elapsed = started.elapsed();
    match answer {
        Ok(answer) => {
            let answer = answer.into_inner();
            anyhow::ensure!(
                answer.results.len() == batch.len(),
                "the service answered {} of {} commands",
                answer.results.len(),
                batch.len()
            );
            calls.add(elapsed, answer.written_at);
            Ok(batch.iter().zip(&answer.results).map(|(line, result)| Row::of_result(line, result)).collect())
        }
        Err(status) => {
            let Some(culprit) = culprit(&status).filter(|index| *index < batch.len()) else {
                return Err(client.failed(status).into());
            };
            calls.add(elapsed, String::new());
            let row = |(index, line)| {
                if index == culprit { Row::of_status(line, &status) } else { Row::not_done(line) }
            };
            Ok(batch.iter().enumerate().map(row).collect())
        }
    }
}

/// The command that an atomic batch failed for; `None` where it is not one's fault.
fn culprit(status: &Status) -> Option<usize> {
    status.get_details_error_info()?.metadata.get("index")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_no_command_is_told_in_one_line() {
        let mut parser = BatchLine::command();
        let mut mistake = |line: &str| understand(&mut parser, line).unwrap_err();
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
        assert_eq!(understand(&mut parser, "mute 1  2 --for 1h").unwrap().command.name(), "mute");
    }
}
