//! Results of the lines of a batch, for programs and people.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use proto::command::v1::WriteResult;
use proto::error::{Reason, reason_name};
use serde::Serialize;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::line::Item;
use crate::client::{invalid_field, metadata};
use crate::commands::lines::Line;
use crate::commands::pair::{self, sentence};
use crate::commands::pair_state::PairState;
use crate::commands::written::Written;
use crate::output::{self, Format, Rows, json_row};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LineResult {
    Changed,
    Unchanged,
    Failed,
    /// Another command of the atomic batch failed.
    NotDone,
}

impl LineResult {
    fn words(self) -> &'static str {
        match self {
            Self::Changed | Self::Unchanged => output::changed(self == Self::Changed),
            Self::Failed => "failed",
            Self::NotDone => "not done",
        }
    }
}

json_row! {
    pub struct Failure from code: Code, reason: String, message: &str, field: Option<String>,
                        metadata: HashMap<String, String> {
        code: String = format!("{code:?}"),
        reason: String = reason,
        message: String = message.to_owned(),
        field: Option<String> = field,
        /// ErrorInfo.metadata.
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        metadata: BTreeMap<String, String> = metadata.into_iter().collect(),
    }
}

json_row! {
    /// Result of a line, for programs.
    pub struct Row<'a> from line: &'a Line<Item>, result: LineResult {
        line: usize = line.number,
        command: &'static str = pair::name(&line.content.command),
        actor_id: String = line.content.command.pair().actor.user().to_string(),
        target_id: String = line.content.command.pair().other.user().to_string(),
        result: LineResult = result,
        /// `None` if the command failed.
        #[serde(flatten)]
        pair: Option<PairState> = None,
        written_at: Option<String> = None,
        revision: Option<u64> = None,
        error: Option<Failure> = None,
        #[serde(skip)]
        item: &'a Item = &line.content,
    }
}

impl<'a> Row<'a> {
    pub fn of_result(line: &'a Line<Item>, result: &WriteResult) -> Self {
        if let Some(error) = &result.error {
            let reason = Reason::try_from(error.reason).map_or("UNKNOWN", reason_name).to_owned();
            let field = Some(error.field.clone()).filter(|field| !field.is_empty());
            let code = Code::from(error.code);
            let failure = Failure::new(code, reason, &error.message, field, error.metadata.clone());
            return Self { error: Some(failure), ..Self::new(line, LineResult::Failed) };
        }
        let line_result = if result.changed { LineResult::Changed } else { LineResult::Unchanged };
        Self {
            pair: Some(PairState::new(result.relationship.as_ref().unwrap_or(&Default::default()))),
            written_at: Some(result.written_at.clone()),
            revision: output::revision(&result.written_at),
            ..Self::new(line, line_result)
        }
    }

    /// The line that made an atomic batch fail.
    pub fn of_status(line: &'a Line<Item>, status: &Status) -> Self {
        let reason = status.get_details_error_info().map(|info| info.reason).unwrap_or_default();
        let (field, metadata) = (invalid_field(status), metadata(status));
        let failure = Failure::new(status.code(), reason, status.message(), field, metadata);
        Self { error: Some(failure), ..Self::new(line, LineResult::Failed) }
    }

    fn cells(&self) -> [String; 4] {
        [self.line.to_string(), self.item.text.clone(), self.result.words().to_owned(), self.words()]
    }

    /// State of the pair, or why the command failed; ids in the form of the file.
    fn words(&self) -> String {
        let command = &self.item.command;
        match (&self.error, &self.pair) {
            (Some(error), _) => format!("{}: {}", error.reason, error.message),
            (None, Some(pair)) => {
                sentence(command, pair, &command.pair().actor.to_string(), &command.pair().other.to_string())
            }
            (None, None) => String::new(),
        }
    }
}

/// What is printed, and sums over the calls so far.
pub struct Calls {
    rows: Rows,
    /// Number of lines with each [`LineResult`].
    counts: [usize; 4],
    elapsed: Duration,
    written_at: String,
    /// First line whose result could not be printed.
    unprinted: Option<usize>,
}

impl Calls {
    pub fn new(format: Format) -> Self {
        Self {
            rows: Rows::new(format, &["LINE", "COMMAND", "RESULT", "NOW"]),
            counts: [0; 4],
            elapsed: Duration::ZERO,
            written_at: String::new(),
            unprinted: None,
        }
    }

    pub fn add(&mut self, elapsed: Duration, written_at: String) {
        self.elapsed += elapsed;
        if !written_at.is_empty() {
            self.written_at = written_at;
        }
    }

    /// Whether no line failed.
    pub fn all_done(&self) -> bool {
        let [.., failed, not_done] = self.counts;
        failed + not_done == 0
    }

    pub fn print(&mut self, rows: &[Row<'_>]) -> anyhow::Result<()> {
        for row in rows {
            self.counts[row.result as usize] += 1;
        }
        self.rows.add(rows, |row| row, Row::cells)?;
        self.rows.flush();
        if !output::is_open() && self.unprinted.is_none() {
            self.unprinted = rows.first().map(|row| row.line);
        }
        Ok(())
    }

    /// Prints the sums in text, and if results could not be printed.
    pub fn print_summary(&self) {
        if self.rows.format == Format::Text || self.unprinted.is_some() {
            self.sums().iter().for_each(output::answer);
        }
    }

    fn sums(&self) -> Vec<String> {
        let [changed, unchanged, failed, not_done] = self.counts;
        let commands = output::counted(self.counts.iter().sum::<usize>() as u64, "command");
        let not_done = if not_done == 0 { String::new() } else { format!(", {not_done} not done") };
        let mut sums =
            vec![format!("{commands}: {changed} changed, {unchanged} unchanged, {failed} failed{not_done}")];
        if !self.written_at.is_empty() {
            sums.push(Written::new(&self.written_at, self.elapsed).text());
        }
        if let Some(line) = self.unprinted {
            sums.push(format!("the results from line {line} on were not printed"));
        }
        sums
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use proto::command::v1::WriteError;
    use proto::graph::v1::Relationship;

    use super::*;
    use crate::commands::pair::BatchLine;

    fn line(text: &str) -> Line<Item> {
        let command = BatchLine::try_parse_from(text.split_whitespace()).unwrap().command;
        Line { number: 3, content: Item { command, text: text.to_owned() } }
    }

    #[test]
    fn a_failed_line_has_a_reason_and_no_state() {
        let line = line("follow 1 2");
        let error = WriteError {
            code: Code::FailedPrecondition.into(),
            reason: Reason::Blocked.into(),
            message: "target_id has blocked actor_id".to_owned(),
            field: "writes[0].follow.target_id".to_owned(),
            metadata: [("limit".to_owned(), "7".to_owned())].into(),
        };
        let row = Row::of_result(&line, &WriteResult { error: Some(error), ..Default::default() });
        assert_eq!(row.words(), "BLOCKED: target_id has blocked actor_id");
        let json = serde_json::to_value(&row).unwrap();
        assert_eq!(json["result"], "failed");
        assert_eq!(json["error"]["code"], "FailedPrecondition");
        assert_eq!(json["error"]["reason"], "BLOCKED");
        assert_eq!(json["error"]["metadata"]["limit"], "7");
        assert!(json.get("following").is_none());
    }

    #[test]
    fn an_executed_line_has_the_state_of_its_pair() {
        let line = line("accept-request 1 2");
        let relationship = Relationship { followed_by: true, ..Default::default() };
        let result =
            WriteResult { changed: true, relationship: Some(relationship), ..WriteResult::default() };
        let row = Row::of_result(&line, &result);
        assert_eq!(row.words(), "2 follows 1");
        let json = serde_json::to_value(&row).unwrap();
        assert_eq!((&json["line"], &json["followed_by"]), (&3.into(), &true.into()));
    }
}
