//! Records the answers of an import in the files of progress and refused rows.
//!
//! Refused rows are written before the progress, so that a kill between both repeats a chunk and never loses a refused
//! row. The files are small and local, so writing blocks.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use proto::command::v1::ImportEdgesResponse;

use super::bar::Bar;
use super::chunks::Chunk;
use super::paths;
use super::progress::{self, Done};
use super::refused::RefusedFile;
use super::row::Refused;

/// The record of an import.
pub struct Ledger {
    done: Done,
    refused: RefusedFile,
    /// `None` for a stream, which cannot be resumed.
    file: Option<progress::File>,
    bar: Bar,
    started: Instant,
    before: Duration,
    /// Whether the note about dates without a time zone was printed.
    zone_reported: bool,
}

impl Ledger {
    /// Continues after `done`.
    pub fn new(done: Done, refused: RefusedFile, file: Option<progress::File>, bar: Bar) -> Self {
        Self { before: done.elapsed, done, refused, file, bar, started: Instant::now(), zone_reported: false }
    }

    /// Records a chunk and its answer; a chunk without edges has no answer.
    pub fn enter(&mut self, chunk: &Chunk, answer: Option<ImportEdgesResponse>) -> anyhow::Result<()> {
        let lines = chunk.lines();
        let mut refused = chunk.refused.clone();
        if let Some(answer) = answer {
            refused.extend(refused_by_service(chunk, &answer)?);
            self.done.accepted += u64::from(answer.accepted);
            self.done.unchanged += u64::from(answer.unchanged);
            self.done.written_at = answer.written_at;
        }
        refused.sort_by_key(|r| r.line);
        if self.done.refused == 0
            && let Some(first) = refused.first()
        {
            self.bar.note(&format!("{first}\nall refused rows go to {}", self.refused.path().display()));
        }
        if !self.zone_reported
            && let Some(row) = chunk.edges.iter().find(|row| row.without_zone)
        {
            self.bar.note(&format!(
                "line {} has a date without a time zone: such dates are taken as UTC",
                row.line
            ));
            self.zone_reported = true;
        }
        for row in &refused {
            *self.done.reasons.entry(row.reason.to_owned()).or_default() += 1;
        }
        let added = self.refused.add(&refused);
        added.with_context(|| format!("cannot write {}", self.refused.path().display()))?;
        self.done.refused += refused.len() as u64;
        self.done.refused_bytes = self.refused.bytes();
        if !refused.is_empty() {
            self.done.refused_file = paths::absolute(self.refused.path());
        }
        self.done.left_out += chunk.left_out;
        self.done.unknown += chunk.unknown;
        self.done.mark = chunk.mark;
        self.done.chunks += 1;
        self.done.lines += lines;
        self.done.elapsed = self.before + self.started.elapsed();
        if let Some(file) = &self.file {
            file.save(&self.done).with_context(|| format!("cannot write {}", file.path().display()))?;
        }
        self.bar.advance(lines);
        Ok(())
    }

    /// Prints a note on stderr.
    pub fn note(&self, text: &str) {
        self.bar.note(text);
    }

    /// Ends the progress bar, and removes the progress file of a complete import.
    pub fn close(self, complete: bool) -> anyhow::Result<(Done, RefusedFile)> {
        drop(self.bar);
        // A progress file without progress is useless.
        if let (true, Some(file)) = (complete || self.done.chunks == 0, &self.file) {
            file.remove().with_context(|| format!("cannot remove {}", file.path().display()))?;
        }
        let mut done = self.done;
        done.elapsed = self.before + self.started.elapsed();
        Ok((done, self.refused))
    }
}

fn refused_by_service(chunk: &Chunk, answer: &ImportEdgesResponse) -> anyhow::Result<Vec<Refused>> {
    let mut refused = Vec::with_capacity(answer.refused.len());
    for edge in &answer.refused {
        let Some(row) = chunk.edges.get(edge.index as usize) else {
            bail!("the service refused edge {} of chunk {}, which does not exist", edge.index, chunk.number);
        };
        refused.push(row.refused(edge.reason(), edge.message.clone()));
    }
    let answered = answer.accepted as usize + answer.unchanged as usize + refused.len();
    if answered != chunk.edges.len() {
        bail!(
            "the service answered for {answered} edges of chunk {}, which has {}",
            chunk.number,
            chunk.edges.len()
        );
    }
    Ok(refused)
}

#[cfg(test)]
mod tests {
    use csv::ByteRecord;
    use proto::command::v1::RefusedEdge;
    use proto::graph::v1::{EdgeKind, ErrorReason};

    use super::super::header::Columns;
    use super::super::row::{self, Line};
    use super::*;

    fn chunk() -> Chunk {
        let mut chunk = Chunk::default();
        for (line, target) in [(5, "20"), (6, "30")] {
            let columns = Columns::in_place(EdgeKind::Follow);
            match row::parse(line, &ByteRecord::from(vec!["1", target]), &columns) {
                Line::Edge(row) => chunk.edges.push(row),
                Line::Refused(refused) => panic!("{refused:?}"),
            }
        }
        chunk
    }

    fn answer(index: u32) -> ImportEdgesResponse {
        ImportEdgesResponse {
            accepted: 1,
            refused: vec![RefusedEdge {
                index,
                reason: ErrorReason::Blocked.into(),
                message: "no".to_owned(),
            }],
            ..Default::default()
        }
    }

    #[test]
    fn refusals_find_their_lines() {
        let refused = refused_by_service(&chunk(), &answer(1)).unwrap();
        assert_eq!(refused.len(), 1);
        assert_eq!((refused[0].line, refused[0].reason), (6, "BLOCKED"));
        assert_eq!(refused[0].row, "1\t30");
    }

    #[test]
    fn answers_that_do_not_add_up_are_errors() {
        assert!(refused_by_service(&chunk(), &answer(2)).is_err());
        let mut short = answer(0);
        short.accepted = 0;
        assert!(refused_by_service(&chunk(), &short).is_err());
    }
}
