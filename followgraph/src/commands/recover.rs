//! `recover`: opens a new epoch after a fork or a restore.

use serde::Serialize;

use crate::global::{GlobalArgs, Outcome};
use crate::stores::{DatabaseArgs, connect_postgres};

/// How to open a new epoch.
#[derive(Debug, clap::Args)]
pub struct RecoverArgs {
    /// PostgreSQL.
    #[command(flatten)]
    pub database: DatabaseArgs,
    /// Open the epoch. Without this flag, nothing is changed
    #[arg(long)]
    pub yes: bool,
    /// Allow the relay to delete the streams of earlier epochs, 30 seconds after their last heartbeat
    ///
    /// Use it only if no other database publishes to them: not for a copy on the NATS of the original.
    #[arg(long)]
    pub replace_stream: bool,
    /// Keep the current epoch, and only record --replace-stream for it
    #[arg(long, requires = "replace_stream")]
    pub keep_epoch: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    before: i64,
    revision: i64,
    /// The new or kept epoch; `None` if nothing was changed.
    epoch: Option<i64>,
    /// Whether the relay may delete the streams of earlier epochs.
    replace_stream: bool,
}

/// Opens a new epoch; without `--yes`, changes nothing.
pub async fn run(global: &GlobalArgs, args: &RecoverArgs) -> anyhow::Result<Outcome> {
    let replace_stream = args.replace_stream;
    let pool = connect_postgres(&args.database.database_url, global.connection.timeout).await?;
    let (before, revision) = migrations::head(&pool).await?;
    let epoch = match (args.yes, args.keep_epoch) {
        (false, _) => None,
        (true, true) => Some(migrations::give_up_streams(&pool).await?),
        (true, false) => Some(migrations::open_epoch(&pool, replace_stream).await?),
    };
    global.output.answer(&Report { before, revision, epoch, replace_stream }, || match epoch {
        Some(epoch) => done(epoch, args),
        None => format!(
            "nothing was changed. PostgreSQL is at revision {revision} of epoch {before}. With --yes this state becomes \
             the truth under a new epoch: projectors sweep the read models, services refuse tokens of epoch {before}, and \
             subscribers start again with an export. With --replace-stream the relay deletes the stream of epoch \
             {before} and creates a new one; without it, the relay waits while that stream exists"
        ),
    })?;
    Ok(Outcome::from(epoch.is_some()))
}

fn done(epoch: i64, args: &RecoverArgs) -> String {
    let streams = if args.replace_stream {
        "the relay deletes the streams of earlier epochs 30 s after their last heartbeat, and creates its own"
    } else {
        "the relay creates its stream when no other one has the subjects (--replace-stream deletes earlier ones)"
    };
    if args.keep_epoch {
        format!("kept epoch {epoch}; {streams}")
    } else {
        format!("opened epoch {epoch}, projectors sweep the read models; {streams}")
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn no_documented_block_shows_and_recovers() {
        let guide = include_str!("../../../docs/operations.md");
        let blocks: Vec<_> = guide.split("```").skip(1).step_by(2).collect();
        let calls = |block: &str| block.lines().filter(|line| line.contains("followgraph recover")).count();
        assert!(blocks.iter().any(|block| block.trim() == "followgraph recover"), "{blocks:?}");
        assert!(blocks.iter().all(|block| calls(block) <= 1), "{blocks:?}");
    }
}
