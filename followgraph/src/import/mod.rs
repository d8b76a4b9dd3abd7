//! `import`: edges from a file, or from the older system's database, into the graph.
//!
//! Wires the parts: [`reader`] makes lines, [`chunks`] cuts them, [`stream`] sends them, [`ledger`] keeps the books in
//! [`progress`] and [`refused`], [`bar`] shows them. Owns the decision to resume. [`legacy`] does the same with tables in
//! place of lines.

mod bar;
mod chunks;
mod dry_run;
mod header;
mod ledger;
pub mod legacy;
mod paths;
mod progress;
mod reader;
mod refused;
mod row;
mod stream;
mod summary;

use std::io;
use std::path::Path;

use anyhow::{Context as _, bail};
use proto::Token;
use proto::command::v1::{GetStatusRequest, OnConflict as WireOnConflict};
use proto::graph::v1::EdgeKind;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use self::bar::Bar;
use self::chunks::{Chunk, Chunks};
use self::ledger::Ledger;
use self::paths::{beside, notes_at, notes_on, refused_path};
use self::progress::{Done, Found, Identity};
use self::refused::RefusedFile;
use self::stream::{End, Import};
use self::summary::{Summary, print, rounded};
use crate::args::{ConnectionArgs, Format, ImportArgs, ImportKind, OnConflict};
use crate::client::{self, CommandClient};
use crate::commands::Outcome;
use crate::error::Advised;
use crate::{files, output};

/// Chunks that are read ahead of the window.
const READ_AHEAD: usize = 16;

/// Imports a file, or the older system's database.
pub async fn run(connection: &ConnectionArgs, format: Format, args: ImportArgs) -> anyhow::Result<Outcome> {
    match (&args.from_legacy_postgres, &args.file) {
        (Some(url), _) => legacy::run(connection, format, &args, url).await,
        (None, Some(input)) => from_file(connection, format, &args, input).await,
        (None, None) => bail!("nothing to import: name a file, or --from-legacy-postgres"),
    }
}

async fn from_file(
    connection: &ConnectionArgs,
    format: Format,
    args: &ImportArgs,
    input: &Path,
) -> anyhow::Result<Outcome> {
    let refused_path = refused_path(args, input);
    if files::same_file(&refused_path, input) {
        bail!("--refused must be another file than the input");
    }
    let kind = kind(args.kind);
    if kind == EdgeKind::Follow && args.columns.is_some_and(|numbers| numbers.get().3.is_some()) {
        bail!("--columns names a column for the end of an edge, but follows do not end by themselves");
    }
    let form = reader::Form { delimited: args.format, columns: args.columns, kind };
    if args.dry_run {
        return dry_run::run(format, input.to_owned(), form).await;
    }
    let file = if files::is_stream(input) {
        None
    } else {
        let identity = Identity::of(input, &connection.command_addr, arguments(args));
        let identity = identity.with_context(|| format!("cannot open {}", input.display()))?;
        Some(progress::File::new(&notes_on(args, input), identity))
    };
    let mut client = client::command(connection).await?;
    let done = match &file {
        Some(file) => resume(file, &refused_path, args.restart, &mut client).await?,
        None => from_the_start(&mut client).await,
    };
    let resumed = done.chunks > 0;

    let refused = open_refused(&refused_path, &done, kind)?;
    let (path, keep_order) = (input.to_owned(), args.no_sort);
    let input = tokio::task::spawn_blocking(move || reader::open(&path, form, keep_order));
    let input = input.await??;
    if let Some(words) = &input.words {
        output::note(words);
    }
    if let Some(file) = &file {
        // What cannot be noted must be known before the first chunk is sent.
        file.save(&done).map_err(|source| cannot_write(file.path(), source))?;
    }
    let bar = Bar::start(&input.total, done.lines, &client);
    let import = Import {
        client,
        kind,
        on_conflict: on_conflict(args.on_conflict),
        chunks: read_ahead(Chunks::new(input.lines, chunks::size(kind)), done.chunks),
        ledger: Ledger::new(done, refused, file.clone(), bar),
        retry_for: args.retry_for,
        stop: stop_on_signal()?,
    };
    let (ledger, end) = import.run().await;
    let complete = matches!(end, Ok(End::Complete));
    let (done, refused) = ledger.close(complete)?;
    if complete || end.is_ok() {
        print(format, &Summary::new(&done, &refused, complete, resumed))?;
    }
    if let (false, Some(file)) = (complete || done.chunks == 0, &file) {
        output::note(how_to_go_on(&done, file.path()));
    }
    match end? {
        End::Interrupted => Ok(Outcome::Failed),
        End::Complete => Ok(Outcome::from(done.refused == 0)),
    }
}

/// What was done by an earlier run of the same import into the same history; nothing with `restart`.
async fn resume(
    file: &progress::File,
    refused: &Path,
    restart: bool,
    client: &mut CommandClient,
) -> anyhow::Result<Done> {
    let path = file.path().display();
    // Before a restart, too: a file of somebody else must not be replaced.
    let found = file.load().with_context(|| format!("cannot read {path}"))?;
    let done = match found {
        _ if restart => return Ok(from_the_start(client).await),
        Found::Nothing => return Ok(from_the_start(client).await),
        Found::Resume(done) if done.chunks == 0 => return Ok(from_the_start(client).await),
        Found::Foreign => {
            output::note(format!(
                "{path} is of another file, service, version or other arguments: starting over"
            ));
            return Ok(from_the_start(client).await);
        }
        Found::Resume(done) if !done.goes_on_in(&paths::noted(refused)) => {
            let earlier = &done.refused_file;
            output::note(format!("the refused rows of {path} are in {earlier}: starting over"));
            return Ok(from_the_start(client).await);
        }
        Found::Resume(done) => *done,
    };
    if !is_known(&done, client).await? {
        output::note(format!("{path} tells of writes that this service does not know: starting over"));
        return Ok(from_the_start(client).await);
    }
    output::note(format!("going on after row {}, as {path} says", done.lines));
    Ok(done)
}

/// Nothing was done yet. A service that is away now is no reason not to begin: the import waits for it.
async fn from_the_start(client: &mut CommandClient) -> Done {
    let request = client.request(GetStatusRequest {});
    let status = client.rpc.get_status(request).await;
    Done {
        database_id: status.map(|status| status.into_inner().database_id).unwrap_or_default(),
        ..Done::default()
    }
}

/// Whether it was done there: the same database, whose history contains the token. One that was restored in between has
/// another epoch or an older head.
async fn is_known(done: &Done, client: &mut CommandClient) -> anyhow::Result<bool> {
    let Ok(token) = Token::parse(&done.written_at) else {
        // Nothing was written yet, only rows refused.
        return Ok(done.written_at.is_empty());
    };
    let request = client.request(GetStatusRequest {});
    let status = client.rpc.get_status(request).await;
    let status = status.map_err(|s| client.failed(s))?.into_inner();
    let head = status.head.unwrap_or_default();
    // Older versions did not note it, or do not tell it.
    let unknown = done.database_id.is_empty() || status.database_id.is_empty();
    let same = unknown || status.database_id == done.database_id;
    Ok(same && head.epoch == token.epoch.0 && head.revision >= token.revision.0)
}

fn kind(kind: ImportKind) -> EdgeKind {
    match kind {
        ImportKind::Follow => EdgeKind::Follow,
        ImportKind::Mute => EdgeKind::Mute,
        ImportKind::Block => EdgeKind::Block,
    }
}

fn on_conflict(on_conflict: OnConflict) -> WireOnConflict {
    match on_conflict {
        OnConflict::Skip => WireOnConflict::Skip,
        OnConflict::Fail => WireOnConflict::Fail,
    }
}

/// Reads on a thread of its own: files and gzip block, and a pipe may block for ever.
fn read_ahead(chunks: Chunks, skip: u64) -> mpsc::Receiver<anyhow::Result<Chunk>> {
    let (sender, receiver) = mpsc::channel(READ_AHEAD);
    std::thread::spawn(move || {
        for chunk in chunks {
            let skipped = matches!(&chunk, Ok(chunk) if chunk.number < skip);
            let failed = chunk.is_err();
            if !skipped && (sender.blocking_send(chunk.map_err(Into::into)).is_err() || failed) {
                return;
            }
        }
    });
    receiver
}

/// The first signal stops gently, the second at once.
fn stop_on_signal() -> anyhow::Result<CancellationToken> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let stop = CancellationToken::new();
    let token = stop.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if token.is_cancelled() {
                std::process::exit(2);
            }
            token.cancel();
        }
    });
    Ok(stop)
}

fn arguments(args: &ImportArgs) -> String {
    let columns = args.columns.map(|columns| format!(" columns={:?}", columns.get())).unwrap_or_default();
    format!(
        "{:?} {:?} {:?} no_sort={} lines={}{columns} reader={}",
        args.kind,
        args.format,
        args.on_conflict,
        args.no_sort,
        chunks::size(kind(args.kind)),
        reader::VERSION
    )
}

fn open_refused(path: &Path, done: &Done, kind: EdgeKind) -> anyhow::Result<RefusedFile> {
    RefusedFile::open(path.to_owned(), done.refused_bytes, header::may_expire(kind))
        .map_err(|source| cannot_write(path, source))
}

fn cannot_write(path: &Path, source: io::Error) -> anyhow::Error {
    Advised {
        message: format!("cannot write {}", path.display()),
        hint: "--state-dir FOLDER puts the notes of progress and the refused rows elsewhere, \
               --refused FILE the refused rows"
            .to_owned(),
        source: Some(source.into()),
    }
    .into()
}

fn how_to_go_on(done: &Done, progress: &Path) -> String {
    format!("{} rows are in; the same command goes on from there ({})", done.lines, progress.display())
}
