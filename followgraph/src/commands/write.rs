//! The commands on a pair of accounts, one call each.
//!
//! Owns the way from one command to its answer. It must not know the messages of
//! the contract, [`mod@message`] does, nor the words of answers, [`answer`] does.

mod answer;
mod message;

use std::time::Instant;

pub use self::answer::{PairState, sentence};
pub use self::message::message;
use crate::args::{ConnectionArgs, Format, PairCommand};
use crate::client;
use crate::commands::Outcome;
use crate::{dates, output};

/// Carries out one command.
pub async fn run(
    connection: &ConnectionArgs,
    format: Format,
    command: &PairCommand,
) -> anyhow::Result<Outcome> {
    let mut client = client::command(connection).await?;
    let request = message::message(command, dates::now());
    let started = Instant::now();
    let written = message::send(&mut client, request).await?;
    let answer = answer::Answer::new(command, written, started.elapsed());
    match format {
        Format::Json => output::json_answer(&answer)?,
        Format::Text => output::answer(answer.text(command)),
    }
    Ok(Outcome::Done)
}
