//! `import --from-legacy-postgres`: the older system's blocks, mutes and follows, in this order, so that follows across a
//! block are refused.
//!
//! Each kind has a progress file. All of them are removed when all kinds are imported.

mod builder;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use proto::graph::v1::EdgeKind;
use tokio_util::sync::CancellationToken;

use super::args::ImportArgs;
use super::bar::Bar;
use super::header::kind_name;
use super::ledger::Ledger;
use super::paths::{in_state_dir, with_suffix};
use super::progress::{self, Done, Found, Identity};
use super::reader::Total;
use super::resume::{cannot_write, open_refused, resume};
use super::stream::{End, Import, stop_on_signal};
use super::summary::rounded;
use crate::client::{CommandClient, Service};
use crate::error::Mistakes;
use crate::global::{GlobalArgs, Outcome};
use crate::older::{self, Snapshot, Users};
use crate::output::{self, json_row};

/// In the order of the import.
const KINDS: [EdgeKind; 3] = [EdgeKind::Block, EdgeKind::Mute, EdgeKind::Follow];
/// Prefix of the files.
const NAME: &str = "legacy";

/// A kind that was imported, its result, and its file of refused rows.
type Imported = (EdgeKind, Done, PathBuf);

json_row! {
    struct Summary from complete: bool, users: Users, kinds: &[Imported] {
        complete: bool = complete,
        users: u64 = users.total,
        soft_deleted_users: u64 = users.soft_deleted,
        kinds: Vec<Kind> = kinds.iter().map(|(kind, done, refused)| Kind::new(*kind, done, refused)).collect(),
        seconds: f64 = rounded(kinds.iter().map(|(_, done, _)| done.elapsed.as_secs_f64()).sum()),
        written_at: Option<String> = newest(kinds).map(str::to_owned),
        revision: Option<u64> = newest(kinds).and_then(output::revision),
    }
}

json_row! {
    /// Edges of one kind, over all runs.
    struct Kind from kind: EdgeKind, done: &Done, refused: &Path {
        kind: &'static str = kind_name(kind),
        read: u64 = done.lines,
        accepted: u64 = done.accepted,
        unchanged: u64 = done.unchanged,
        refused: u64 = done.refused,
        /// Edges of accounts that are marked as deleted.
        left_out: u64 = done.left_out,
        /// Imported edges of accounts that are not in the table of users.
        without_user: u64 = done.unknown,
        refused_file: Option<String> = (done.refused > 0).then(|| refused.display().to_string()),
    }
}

/// Token of the last write; tokens of one history have the order of their texts.
fn newest(kinds: &[Imported]) -> Option<&str> {
    kinds.iter().map(|(_, done, _)| done.written_at.as_str()).max().filter(|token| !token.is_empty())
}

pub async fn run(global: &GlobalArgs, args: &ImportArgs, url: &str) -> anyhow::Result<Outcome> {
    let connection = &global.connection;
    let mut mistakes = Mistakes::default();
    connection.check(&[Service::Command], &mut mistakes);
    mistakes.note(older::check_address(url));
    mistakes.finish()?;
    let client = connection.command_client().await?;
    let mut source = Snapshot::open(url, connection.timeout).await?;
    let name = source.identity().await?;
    let users = source.users().await?;
    let mut run = Run {
        client,
        args,
        command_addr: &connection.command_addr,
        name,
        stop: stop_on_signal()?,
        kinds: Vec::new(),
    };
    run.warn_unless_empty().await;
    let mut end = Ok(End::Complete);
    for kind in KINDS {
        match run.kind(source, kind).await? {
            ControlFlow::Continue(back) => source = back,
            ControlFlow::Break(how) => {
                end = how;
                break;
            }
        }
    }
    let complete = matches!(end, Ok(End::Complete));
    if complete {
        run.remove_progress()?;
    } else {
        output::note(format!("repeat the command to resume there ({}.KIND.progress)", run.base().display()));
    }
    let summary = Summary::new(complete, users, &run.kinds);
    if end.is_ok() {
        global.output.answer(&summary, || summary.text())?;
    }
    match end? {
        End::Interrupted => Ok(Outcome::Failed),
        End::Complete => Ok(Outcome::from(summary.kinds.iter().all(|kind| kind.refused == 0))),
    }
}

struct Run<'a> {
    client: CommandClient,
    args: &'a ImportArgs,
    command_addr: &'a str,
    /// Identity of the older database.
    name: String,
    stop: CancellationToken,
    kinds: Vec<Imported>,
}

impl Run<'_> {
    /// Imports the rest of one kind. Returns the snapshot if all its edges are imported, else how the import ended.
    async fn kind(
        &mut self,
        mut source: Snapshot,
        kind: EdgeKind,
    ) -> anyhow::Result<ControlFlow<anyhow::Result<End>, Snapshot>> {
        let file = self.file(kind);
        let refused_path = self.path(kind, ".refused.tsv");
        let done = resume(&file, &refused_path, self.args.restart, &mut self.client).await?;
        let total = source.count(kind).await?;
        output::note(format!("importing {total} {}s", kind_name(kind)));
        let bar = Bar::start(&Total::Lines(total), done.lines, &self.client);
        let refused = open_refused(&refused_path, &done, kind)?;
        file.save(&done).map_err(|source| cannot_write(file.path(), source))?;
        let (chunks, reading) = builder::read(source, kind, &done);
        let ledger = Ledger::new(done, refused, Some(file), bar);
        let import = Import::new(self.client.clone(), kind, self.args, chunks, ledger, self.stop.clone());
        let (ledger, end) = import.run().await;
        // The progress file stays until all kinds are imported.
        let (done, _) = ledger.close(false)?;
        self.kinds.push((kind, done, refused_path));
        if !matches!(end, Ok(End::Complete)) {
            // The reader may still wait for the first row of a large table.
            reading.abort();
            return Ok(ControlFlow::Break(end));
        }
        let source = reading.await.context("the reader of the older system's database failed")?;
        Ok(ControlFlow::Continue(source))
    }

    /// Warns before a new import into a graph with edges, because an import removes none. A service that is down is not
    /// an error.
    async fn warn_unless_empty(&mut self) {
        if !KINDS.iter().all(|kind| matches!(self.file(*kind).load(), Ok(Found::Nothing))) {
            return;
        }
        let head = self.client.status().await.ok().and_then(|status| status.head);
        if let Some(head) = head.filter(|head| head.revision > 0) {
            output::note(format!(
                "followgraph is not empty (revision {}): edges of an earlier import stay even if the older system has \
                 removed them since. Start the final import with an empty database; `followgraph legacy verify \
                 --from-legacy-postgres` shows such edges",
                head.revision
            ));
        }
    }

    /// Makes the next import start from the first row.
    fn remove_progress(&self) -> anyhow::Result<()> {
        for kind in KINDS {
            let file = self.file(kind);
            file.remove().with_context(|| format!("cannot remove {}", file.path().display()))?;
        }
        Ok(())
    }

    /// The progress file of a kind.
    fn file(&self, kind: EdgeKind) -> progress::File {
        let identity = Identity {
            size: 0,
            modified_nanos: 0,
            command_addr: self.command_addr.to_owned(),
            arguments: format!("{} of {} {:?}", kind_name(kind), self.name, self.args.on_conflict),
        };
        progress::File::new(&self.path(kind, ""), identity)
    }

    fn path(&self, kind: EdgeKind, suffix: &str) -> PathBuf {
        with_suffix(&self.base(), &format!(".{}{suffix}", kind_name(kind)))
    }

    /// Prefix of all files.
    fn base(&self) -> PathBuf {
        self.args.refused.clone().unwrap_or_else(|| in_state_dir(self.args, Path::new(NAME)))
    }
}

impl Summary {
    fn text(&self) -> String {
        let mut facts = vec![
            ("users", format!("{}   {} soft-deleted", self.users, self.soft_deleted_users)),
            ("seconds", format!("{:.1}", self.seconds)),
        ];
        facts.extend(self.written_at.iter().map(|token| ("token", token.clone())));
        let header =
            ["KIND", "READ", "ACCEPTED", "UNCHANGED", "REFUSED", "LEFT OUT", "WITHOUT USER", "REFUSED ROWS"];
        format!("{}\n\n{}", output::facts(facts), output::table(&header, self.kinds.iter().map(Kind::cells)))
    }
}

impl Kind {
    fn cells(&self) -> Vec<String> {
        let Self { read, accepted, unchanged, refused, left_out, without_user, .. } = *self;
        let mut cells =
            output::numbers(self.kind, [read, accepted, unchanged, refused, left_out, without_user]);
        cells.extend(self.refused_file.clone());
        cells
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_summary_has_a_row_per_kind() {
        let done = Done {
            lines: 10,
            accepted: 5,
            unchanged: 1,
            refused: 1,
            left_out: 3,
            unknown: 2,
            written_at: "1.0000000000000001.0000000000000385".to_owned(),
            elapsed: Duration::from_millis(1_500),
            ..Done::default()
        };
        let kinds = vec![
            (EdgeKind::Block, Done::default(), PathBuf::from("legacy.block.refused.tsv")),
            (EdgeKind::Follow, done, PathBuf::from("legacy.follow.refused.tsv")),
        ];
        let summary = Summary::new(true, Users { total: 9, soft_deleted: 2 }, &kinds);
        assert_eq!(
            summary.text(),
            "users    9   2 soft-deleted\n\
             seconds  1.5\n\
             token    1.0000000000000001.0000000000000385\n\n\
             KIND    READ  ACCEPTED  UNCHANGED  REFUSED  LEFT OUT  WITHOUT USER  REFUSED ROWS\n\
             block   0     0         0          0        0         0\n\
             follow  10    5         1          1        3         2             legacy.follow.refused.tsv"
        );
        assert_eq!(summary.revision, Some(901));
    }
}
