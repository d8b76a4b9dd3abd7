//! `import --from-legacy-postgres`: the older system's blocks, mutes and follows, in this order, so that follows across a
//! block are refused.
//!
//! Each kind has a progress file. All of them are removed when all kinds are imported.

mod builder;

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use proto::graph::v1::EdgeKind;
use serde::Serialize;
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
use crate::output;

/// In the order of the import.
const KINDS: [EdgeKind; 3] = [EdgeKind::Block, EdgeKind::Mute, EdgeKind::Follow];
/// Prefix of the files.
const NAME: &str = "legacy";

#[derive(Debug, Serialize)]
struct Summary {
    complete: bool,
    users: u64,
    soft_deleted_users: u64,
    kinds: Vec<Kind>,
    seconds: f64,
    written_at: Option<String>,
    revision: Option<u64>,
}

/// Edges of one kind, over all runs.
#[derive(Debug, Serialize)]
struct Kind {
    kind: &'static str,
    read: u64,
    accepted: u64,
    unchanged: u64,
    refused: u64,
    /// Edges of accounts that are marked as deleted.
    left_out: u64,
    /// Imported edges of accounts that are not in the table of users.
    without_user: u64,
    refused_file: Option<String>,
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
            Ended::Complete(back) => source = back,
            Ended::Early(how) => {
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
    let summary = Summary::new(complete, users, run.kinds);
    if end.is_ok() {
        global.output.answer(&summary, || summary.text())?;
    }
    match end? {
        End::Interrupted => Ok(Outcome::Failed),
        End::Complete => Ok(Outcome::from(summary.kinds.iter().all(|kind| kind.refused == 0))),
    }
}

enum Ended {
    /// All edges are imported; returns the snapshot.
    Complete(Snapshot),
    Early(anyhow::Result<End>),
}

struct Run<'a> {
    client: CommandClient,
    args: &'a ImportArgs,
    command_addr: &'a str,
    /// Identity of the older database.
    name: String,
    stop: CancellationToken,
    kinds: Vec<(EdgeKind, Done, PathBuf)>,
}

impl Run<'_> {
    /// Imports the rest of one kind.
    async fn kind(&mut self, mut source: Snapshot, kind: EdgeKind) -> anyhow::Result<Ended> {
        let file = progress::File::new(&self.path(kind, ""), self.identity(kind));
        let refused_path = self.path(kind, ".refused.tsv");
        let done = resume(&file, &refused_path, self.args.restart, &mut self.client).await?;
        let total = source.count(kind).await?;
        output::note(format!("importing {total} {}s", kind_name(kind)));
        let bar = Bar::start(&Total::Lines(total), done.lines, &self.client);
        let refused = open_refused(&refused_path, &done, kind)?;
        file.save(&done).map_err(|source| cannot_write(file.path(), source))?;
        let (chunks, reading) = builder::read(source, kind, &done);
        let import = Import {
            client: self.client.clone(),
            kind,
            on_conflict: self.args.on_conflict.into(),
            chunks,
            ledger: Ledger::new(done, refused, Some(file), bar),
            retry_for: self.args.retry_for,
            stop: self.stop.clone(),
        };
        let (ledger, end) = import.run().await;
        // The progress file stays until all kinds are imported.
        let (done, _) = ledger.close(false)?;
        self.kinds.push((kind, done, refused_path));
        if !matches!(end, Ok(End::Complete)) {
            // The reader may still wait for the first row of a large table.
            reading.abort();
            return Ok(Ended::Early(end));
        }
        let source = reading.await.context("the reader of the older system's database failed")?;
        Ok(Ended::Complete(source))
    }

    /// Warns before a new import into a graph with edges, because an import removes none. A service that is down is not
    /// an error.
    async fn warn_unless_empty(&mut self) {
        let begins = |kind: &EdgeKind| {
            let file = progress::File::new(&self.path(*kind, ""), self.identity(*kind));
            matches!(file.load(), Ok(Found::Nothing))
        };
        if !KINDS.iter().all(begins) {
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
            let file = progress::File::new(&self.path(kind, ""), self.identity(kind));
            file.remove().with_context(|| format!("cannot remove {}", file.path().display()))?;
        }
        Ok(())
    }

    fn identity(&self, kind: EdgeKind) -> Identity {
        Identity {
            size: 0,
            modified_nanos: 0,
            command_addr: self.command_addr.to_owned(),
            arguments: format!("{} of {} {:?}", kind_name(kind), self.name, self.args.on_conflict),
        }
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
    fn new(complete: bool, users: Users, kinds: Vec<(EdgeKind, Done, PathBuf)>) -> Self {
        let seconds = kinds.iter().map(|(_, done, _)| done.elapsed.as_secs_f64()).sum();
        // Tokens of one history have the order of their texts.
        let newest = kinds.iter().map(|(_, done, _)| &done.written_at).max().filter(|t| !t.is_empty());
        Self {
            complete,
            users: users.total,
            soft_deleted_users: users.soft_deleted,
            seconds: rounded(seconds),
            revision: newest.and_then(|token| output::revision(token)),
            written_at: newest.cloned(),
            kinds: kinds.into_iter().map(|(kind, done, refused)| Kind::new(kind, &done, &refused)).collect(),
        }
    }

    fn text(&self) -> String {
        let mut facts = output::headless_table();
        facts.add_row(["users", &format!("{}   {} soft-deleted", self.users, self.soft_deleted_users)]);
        facts.add_row(["seconds", &format!("{:.1}", self.seconds)]);
        if let Some(token) = &self.written_at {
            facts.add_row(["token", token]);
        }
        let mut kinds = output::table(&[
            "KIND",
            "READ",
            "ACCEPTED",
            "UNCHANGED",
            "REFUSED",
            "LEFT OUT",
            "WITHOUT USER",
            "REFUSED ROWS",
        ]);
        for kind in &self.kinds {
            kinds.add_row(kind.row());
        }
        format!("{}\n\n{}", output::table_text(facts), output::table_text(kinds))
    }
}

impl Kind {
    fn new(kind: EdgeKind, done: &Done, refused: &Path) -> Self {
        Self {
            kind: kind_name(kind),
            read: done.lines,
            accepted: done.accepted,
            unchanged: done.unchanged,
            refused: done.refused,
            left_out: done.left_out,
            without_user: done.unknown,
            refused_file: (done.refused > 0).then(|| refused.display().to_string()),
        }
    }

    fn row(&self) -> Vec<String> {
        let numbers =
            [self.read, self.accepted, self.unchanged, self.refused, self.left_out, self.without_user];
        let mut row = vec![self.kind.to_owned()];
        row.extend(numbers.map(|number| number.to_string()));
        row.push(self.refused_file.clone().unwrap_or_default());
        row
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
        let summary = Summary::new(true, Users { total: 9, soft_deleted: 2 }, kinds);
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
