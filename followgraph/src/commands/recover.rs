//! `recover`: opens a new epoch after a fork.

use std::time::Duration;

use serde::Serialize;

use super::migrate::connect_postgres;
use crate::args::{Format, RecoverArgs};
use crate::commands::Outcome;
use crate::output;

/// What was found and done, for programs.
#[derive(Debug, Serialize)]
struct Report {
    before: i64,
    revision: i64,
    epoch: Option<i64>,
}

/// Opens a new epoch, if the operator means it.
pub async fn run(format: Format, timeout: Duration, args: RecoverArgs) -> anyhow::Result<Outcome> {
    let pool = connect_postgres(&args.database_url, timeout).await?;
    let (before, revision) = migrations::head(&pool).await?;
    let epoch = if args.yes { Some(migrations::open_epoch(&pool).await?) } else { None };
    match (format, epoch) {
        (Format::Json, epoch) => output::json(&Report { before, revision, epoch })?,
        (Format::Text, Some(epoch)) => {
            output::line(format!("opened epoch {epoch}; the relay makes its stream, read models sweep"))?;
        }
        (Format::Text, None) => output::line(format!(
            "nothing was changed. PostgreSQL is at revision {revision} of epoch {before}. With --yes that becomes the \
             truth under a new epoch: the stream begins anew, read models are swept, tokens of epoch {before} are \
             refused, and subscribers begin again with an export"
        ))?,
    }
    Ok(if epoch.is_some() { Outcome::Done } else { Outcome::No })
}
