//! `recover`: opens a new epoch after a fork or a restore.

use std::time::Duration;

use serde::Serialize;

use crate::args::{Format, RecoverArgs};
use crate::commands::Outcome;
use crate::output;
use crate::stores::connect_postgres;

/// What was found and done, for programs.
#[derive(Debug, Serialize)]
struct Report {
    before: i64,
    revision: i64,
    /// The epoch that was opened, or kept.
    epoch: Option<i64>,
    /// The relay may delete the streams of earlier epochs.
    replace_stream: bool,
}

/// Opens a new epoch, if the operator means it.
pub async fn run(format: Format, timeout: Duration, args: RecoverArgs) -> anyhow::Result<Outcome> {
    let RecoverArgs { yes, replace_stream, keep_epoch, .. } = args;
    let pool = connect_postgres(&args.database_url, timeout).await?;
    let (before, revision) = migrations::head(&pool).await?;
    let epoch = match (yes, keep_epoch) {
        (false, _) => None,
        (true, true) => Some(migrations::give_up_streams(&pool).await?),
        (true, false) => Some(migrations::open_epoch(&pool, replace_stream).await?),
    };
    match (format, epoch) {
        (Format::Json, epoch) => output::json_answer(&Report { before, revision, epoch, replace_stream })?,
        (Format::Text, Some(epoch)) => output::answer(done(epoch, &args)),
        (Format::Text, None) => output::answer(format!(
            "nothing was changed. PostgreSQL is at revision {revision} of epoch {before}. With --yes that becomes the \
             truth under a new epoch: read models are swept, tokens of epoch {before} are refused, and subscribers begin \
             again with an export. With --replace-stream the relay deletes the stream of epoch {before} and makes a new \
             one; without it, the relay waits while that stream exists"
        )),
    }
    Ok(if epoch.is_some() { Outcome::Done } else { Outcome::No })
}

fn done(epoch: i64, args: &RecoverArgs) -> String {
    let streams = if args.replace_stream {
        "the relay deletes the streams of earlier epochs 30 s after their last heartbeat, and makes its own"
    } else {
        "the relay makes its stream once no other holds the subjects (--replace-stream gives up earlier ones)"
    };
    if args.keep_epoch {
        format!("kept epoch {epoch}; {streams}")
    } else {
        format!("opened epoch {epoch}, read models sweep; {streams}")
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn no_documented_block_looks_and_recovers_at_once() {
        let guide = include_str!("../../../docs/operations.md");
        let blocks: Vec<_> = guide.split("```").skip(1).step_by(2).collect();
        let calls = |block: &str| block.lines().filter(|line| line.contains("followgraph recover")).count();
        assert!(blocks.iter().any(|block| block.trim() == "followgraph recover"), "{blocks:?}");
        assert!(blocks.iter().all(|block| calls(block) <= 1), "{blocks:?}");
    }
}
