//! A line of a batch.

use clap::FromArgMatches as _;

use crate::commands::pair::{BatchLine, PairCommand};

/// A command in a file, with its text.
#[derive(Debug)]
pub struct Item {
    pub command: PairCommand,
    pub text: String,
}

/// Parses a line as the command line is parsed.
pub fn parse(parser: &mut clap::Command, line: &str) -> Result<Item, String> {
    let matches = parser.try_get_matches_from_mut(line.split_whitespace());
    let command = matches.and_then(|matches| BatchLine::from_arg_matches(&matches));
    match command {
        Ok(BatchLine { command }) => Ok(Item { command, text: line.to_owned() }),
        // After the first empty line comes the usage of a program.
        Err(error) => {
            let text = error.to_string();
            let words: Vec<_> = text.lines().map(str::trim).take_while(|line| !line.is_empty()).collect();
            Err(words.join(" ").trim_start_matches("error: ").to_owned())
        }
    }
}
