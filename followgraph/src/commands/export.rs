//! `export`: all edges of one kind, into a file or to stdout.
//!
//! Owns the way of the rows: a message is written as a whole before its resume
//! token is kept, so that a resumed export repeats and misses nothing.

use std::time::Instant;

use proto::graph::v1::EdgeKind;
use proto::query::v1::{ExportEdgesRequest, ExportEdgesResponse};
use serde::Serialize;
use tonic::{Request, Status};

use self::sink::Sink;
use crate::args::{ConnectionArgs, ExportArgs, ExportKind, Format};
use crate::client::{self, QueryClient};
use crate::commands::Outcome;
use crate::error;
use crate::output;
use crate::retry::Patience;

mod sink;

/// What was exported, for programs.
#[derive(Debug, Serialize)]
struct Summary {
    file: String,
    rows: u64,
    from_revision: u64,
    epoch: u64,
    seconds: f64,
}

/// Exports edges.
pub async fn run(connection: &ConnectionArgs, format: Format, args: &ExportArgs) -> anyhow::Result<Outcome> {
    let client = client::query(connection).await?;
    let may_expire = matches!(args.kind, ExportKind::Mute | ExportKind::Block);
    let form = sink::Form { rows: sink::rows(args, format), may_expire };
    let started = Instant::now();
    let mut export = Export {
        client,
        kind: args.kind,
        sink: Sink::open(&args.file, form)?,
        bar: progress_bar(),
        patience: Patience::new(args.retry_for),
        resume_token: String::new(),
        last: None,
        rows: 0,
    };
    export.pull().await?;
    export.bar.finish_and_clear();
    let (from_revision, epoch) = export.last.unwrap_or_default();
    let to_stdout = export.sink.is_stdout();
    export.sink.finish()?;
    let summary = Summary {
        file: args.file.display().to_string(),
        rows: export.rows,
        from_revision,
        epoch,
        seconds: started.elapsed().as_secs_f64(),
    };
    match format {
        // Stdout carries the rows.
        Format::Json if to_stdout => output::note(serde_json::to_string(&summary)?),
        Format::Text if to_stdout => output::note(summary.text()),
        Format::Json => output::json_answer(&summary)?,
        Format::Text => output::answer(summary.text()),
    }
    Ok(Outcome::Done)
}

impl Summary {
    fn text(&self) -> String {
        let rows = if self.rows == 1 { "row" } else { "rows" };
        format!(
            "{} {rows} in {:.1} s   for subscribers: apply the events after from_revision {} of epoch {}",
            self.rows, self.seconds, self.from_revision, self.epoch
        )
    }
}

/// An export under way.
struct Export {
    client: QueryClient,
    kind: ExportKind,
    sink: Sink,
    bar: indicatif::ProgressBar,
    patience: Patience,
    resume_token: String,
    last: Option<(u64, u64)>,
    rows: u64,
}

/// Why a stream ended early.
enum Broken {
    Call(Status),
    Other(anyhow::Error),
}

impl Export {
    /// Streams to the end, over as many connections as it takes.
    async fn pull(&mut self) -> anyhow::Result<()> {
        loop {
            let status = match self.stream().await {
                Ok(()) => return Ok(()),
                Err(Broken::Other(error)) => return Err(error),
                Err(Broken::Call(status)) => status,
            };
            let Some(wait) = self.patience.next_wait(&status, Instant::now()) else {
                return Err(self.client.failed(status).into());
            };
            let failed = self.client.failed(status);
            self.bar.suspend(|| output::note(format!("{}; trying again", error::message(&failed))));
            tokio::time::sleep(wait).await;
        }
    }

    async fn stream(&mut self) -> Result<(), Broken> {
        let request =
            ExportEdgesRequest { kind: kind(self.kind).into(), resume_token: self.resume_token.clone() };
        // No deadline: an export takes as long as it takes.
        let answer = self.client.rpc.export_edges(Request::new(request)).await;
        let mut messages = answer.map_err(Broken::Call)?.into_inner();
        while let Some(message) = messages.message().await.map_err(Broken::Call)? {
            self.take(message).map_err(Broken::Other)?;
        }
        Ok(())
    }

    fn take(&mut self, message: ExportEdgesResponse) -> anyhow::Result<()> {
        self.sink.write(&message.edges)?;
        self.rows += message.edges.len() as u64;
        self.bar.set_position(self.rows);
        self.last = Some((message.from_revision, message.epoch));
        self.resume_token = message.resume_token;
        self.patience.progressed();
        Ok(())
    }
}

fn kind(kind: ExportKind) -> EdgeKind {
    match kind {
        ExportKind::Follow => EdgeKind::Follow,
        ExportKind::Mute => EdgeKind::Mute,
        ExportKind::Block => EdgeKind::Block,
        ExportKind::FollowRequest => EdgeKind::FollowRequest,
    }
}

fn progress_bar() -> indicatif::ProgressBar {
    let bar = indicatif::ProgressBar::new_spinner();
    if let Ok(style) =
        indicatif::ProgressStyle::with_template("{spinner} {human_pos} rows   {rate} rows/s   {elapsed}")
    {
        let rate = |state: &indicatif::ProgressState, out: &mut dyn std::fmt::Write| {
            // The bar cannot pass an error of `write!` on; a piece of it would be missing.
            let _ = write!(out, "{:.0}", state.per_sec());
        };
        bar.set_style(style.with_key("rate", rate));
    }
    bar
}
