//! `export`: writes all edges of one kind to a file or stdout.
//!
//! A message is written completely before its resume token is stored, so a resumed export neither repeats nor skips rows.

mod sink;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressState};
use proto::graph::v1::EdgeKind;
use proto::query::v1::{ExportEdgesRequest, ExportEdgesResponse};
use serde::Serialize;
use tonic::Request;

use self::sink::{Rows, Sink};
use crate::client::{CallFailed, QueryClient};
use crate::global::{GlobalArgs, Outcome};
use crate::output::{self, Format};
use crate::retry::Backoff;
use crate::{files, text};

/// Text after the help of `export`.
pub const EXPORT_HELP: &str = "\
tsv and csv rows have two ids and the date, for mutes and blocks also the expiry time, under a header that `import`
understands. ndjson rows are objects with source_id, target_id, created_at, expires_at and position. A file whose
name ends in .gz is compressed.

The rows and the events after `from_revision`, which is printed at the end, give the exact graph. A broken connection
is resumed. A file gets its name when it is complete; devices and pipes are written in place.";

const PROGRESS: &str = "{spinner} {human_pos} rows   {rate} rows/s   {elapsed}";

/// Edges to export.
#[derive(Debug, clap::Args)]
pub struct ExportArgs {
    /// Output file; - for stdout
    #[arg(default_value = "-")]
    pub file: PathBuf,
    /// Kind of edges
    #[arg(long, value_enum, default_value_t)]
    pub kind: ExportKind,
    /// Format of the rows [default: by the name of the file, else ndjson with -o json and tsv without]
    #[arg(long, value_enum)]
    pub format: Option<Rows>,
    /// Give up after this many seconds of failed connections
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = text::seconds)]
    pub retry_for: Duration,
}

impl ExportArgs {
    pub fn to_stdout(&self) -> bool {
        files::is_stdout(&self.file)
    }
}

/// Kinds that can be exported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ExportKind {
    /// The first id follows the second
    #[default]
    Follow,
    /// The first id mutes the second
    Mute,
    /// The first id blocks the second
    Block,
    /// The first id requests to follow the second
    FollowRequest,
}

#[derive(Debug, Serialize)]
struct Summary {
    file: String,
    rows: u64,
    from_revision: u64,
    epoch: u64,
    seconds: f64,
}

pub async fn run(global: &GlobalArgs, args: &ExportArgs) -> anyhow::Result<Outcome> {
    let client = global.connection.query_client().await?;
    let may_expire = matches!(args.kind, ExportKind::Mute | ExportKind::Block);
    let rows = args.format.unwrap_or_else(|| Rows::by_default(&args.file, global.output));
    let started = Instant::now();
    let mut export = Export {
        client,
        kind: kind(args.kind),
        sink: Sink::open(&args.file, sink::RowFormat { rows, may_expire })?,
        bar: progress_bar(),
        backoff: Backoff::new(args.retry_for),
        resume_token: String::new(),
        from_revision: 0,
        epoch: 0,
        rows: 0,
    };
    export.run().await?;
    export.bar.finish_and_clear();
    let Export { sink, rows, from_revision, epoch, .. } = export;
    let to_stdout = sink.is_stdout();
    sink.finish()?;
    let (file, seconds) = (args.file.display().to_string(), started.elapsed().as_secs_f64());
    let summary = Summary { file, rows, from_revision, epoch, seconds };
    match global.output {
        // Stdout has the rows.
        Format::Json if to_stdout => output::note(serde_json::to_string(&summary)?),
        Format::Text if to_stdout => output::note(summary.text()),
        format => format.answer(&summary, || summary.text())?,
    }
    Ok(Outcome::Done)
}

impl Summary {
    fn text(&self) -> String {
        format!(
            "{} in {:.1} s   for subscribers: apply the events after from_revision {} of epoch {}",
            output::counted(self.rows, "row"),
            self.seconds,
            self.from_revision,
            self.epoch
        )
    }
}

struct Export {
    client: QueryClient,
    kind: EdgeKind,
    sink: Sink,
    bar: ProgressBar,
    backoff: Backoff,
    resume_token: String,
    from_revision: u64,
    epoch: u64,
    rows: u64,
}

impl Export {
    /// Reads the stream to its end, over as many connections as necessary.
    async fn run(&mut self) -> anyhow::Result<()> {
        loop {
            let Err(error) = self.stream().await else { return Ok(()) };
            let failed = error.downcast::<CallFailed>()?;
            let delay = self.backoff.after(failed, |text| self.bar.suspend(|| output::note(text)))?;
            tokio::time::sleep(delay).await;
        }
    }

    async fn stream(&mut self) -> anyhow::Result<()> {
        let request = ExportEdgesRequest { kind: self.kind.into(), resume_token: self.resume_token.clone() };
        // Without a deadline: an export may take hours.
        let answer = self.client.rpc.export_edges(Request::new(request)).await;
        let mut messages = answer.map_err(|status| self.client.failed(status))?.into_inner();
        while let Some(message) = messages.message().await.map_err(|status| self.client.failed(status))? {
            self.write(message)?;
        }
        Ok(())
    }

    fn write(&mut self, message: ExportEdgesResponse) -> anyhow::Result<()> {
        self.sink.write(&message.edges)?;
        self.rows += message.edges.len() as u64;
        self.bar.set_position(self.rows);
        (self.from_revision, self.epoch) = (message.from_revision, message.epoch);
        self.resume_token = message.resume_token;
        self.backoff.reset();
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

fn progress_bar() -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    let rate = |state: &ProgressState, out: &mut dyn std::fmt::Write| {
        // The bar cannot pass on an error of `write!`; a piece of it would be missing.
        let _ = write!(out, "{:.0}", state.per_sec());
    };
    output::style(&bar, PROGRESS, |style| style.with_key("rate", rate));
    bar
}
