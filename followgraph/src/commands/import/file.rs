//! The import of a file: wires the reader, the stream and the ledger.

use std::path::Path;

use anyhow::{Context as _, bail};
use proto::graph::v1::EdgeKind;
use tokio::sync::mpsc;

use super::args::ImportArgs;
use super::bar::Bar;
use super::chunks::{self, Chunk};
use super::dry_run;
use super::ledger::Ledger;
use super::paths::{refused_path, state_prefix};
use super::progress::{self, Identity};
use super::reader;
use super::resume::{cannot_write, open_refused, resume, start};
use super::stream::{End, Import, stop_on_signal};
use super::summary::Summary;
use crate::global::{GlobalArgs, Outcome};
use crate::{files, output};

pub async fn run(global: &GlobalArgs, args: &ImportArgs, input: &Path) -> anyhow::Result<Outcome> {
    let refused_path = refused_path(args, input);
    if files::same_file(&refused_path, input) {
        bail!("--refused must be another file than the input");
    }
    let kind = EdgeKind::from(args.kind);
    if kind == EdgeKind::Follow && args.columns.is_some_and(|numbers| numbers.get().3.is_some()) {
        bail!("--columns has a column for the expiry time, but follows do not expire");
    }
    let format = reader::InputFormat { delimited: args.format, columns: args.columns, kind };
    if args.dry_run {
        return dry_run::run(global, input.to_owned(), format).await;
    }
    let file = if files::is_stream(input) {
        None
    } else {
        let identity = Identity::of(input, &global.connection.command_addr, arguments(args));
        let identity = identity.with_context(|| format!("cannot open {}", input.display()))?;
        Some(progress::File::new(&state_prefix(args, input), identity))
    };
    let mut client = global.connection.command_client().await?;
    let done = match &file {
        Some(file) => resume(file, &refused_path, args.restart, &mut client).await?,
        None => start(&mut client).await,
    };
    let resumed = done.chunks > 0;

    let refused = open_refused(&refused_path, &done, kind)?;
    let (path, keep_order) = (input.to_owned(), args.no_sort);
    let input = tokio::task::spawn_blocking(move || reader::open(&path, format, keep_order)).await??;
    input.words.iter().for_each(output::note);
    if let Some(file) = &file {
        // Report a progress file that cannot be written before the first chunk is sent.
        file.save(&done).map_err(|source| cannot_write(file.path(), source))?;
    }
    let bar = Bar::start(&input.total, done.lines, &client);
    let chunks = read_ahead(input.lines, chunks::size(kind), done.chunks);
    let ledger = Ledger::new(done, refused, file.clone(), bar);
    let import = Import::new(client, kind, args, chunks, ledger, stop_on_signal()?);
    let (ledger, end) = import.run().await;
    let complete = matches!(end, Ok(End::Complete));
    let (done, refused) = ledger.close(complete)?;
    if end.is_ok() {
        let summary = Summary::new(&done, &refused, complete, resumed);
        global.output.answer(&summary, || summary.text())?;
    }
    if let (false, Some(file)) = (complete || done.chunks == 0, &file) {
        let (rows, progress) = (done.lines, file.path().display());
        output::note(format!("{rows} rows are imported; repeat the command to resume there ({progress})"));
    }
    match end? {
        End::Interrupted => Ok(Outcome::Failed),
        End::Complete => Ok(Outcome::from(done.refused == 0)),
    }
}

/// Reads chunks on a separate thread: files and gzip block, and a pipe may block without limit.
fn read_ahead(lines: reader::Lines, size: usize, skip: u64) -> mpsc::Receiver<anyhow::Result<Chunk>> {
    let (sender, receiver) = mpsc::channel(chunks::READ_AHEAD);
    std::thread::spawn(move || {
        for chunk in chunks::chunks(lines, size) {
            let skipped = matches!(&chunk, Ok(chunk) if chunk.number < skip);
            let failed = chunk.is_err();
            if !skipped && (sender.blocking_send(chunk).is_err() || failed) {
                return;
            }
        }
    });
    receiver
}

/// The arguments that decide which chunks are sent.
fn arguments(args: &ImportArgs) -> String {
    let columns = args.columns.map(|columns| format!(" columns={:?}", columns.get())).unwrap_or_default();
    format!(
        "{:?} {:?} {:?} no_sort={} lines={}{columns} reader={}",
        args.kind,
        args.format,
        args.on_conflict,
        args.no_sort,
        chunks::size(args.kind.into()),
        reader::VERSION
    )
}
