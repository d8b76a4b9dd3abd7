//! `clock accept`: an operator confirms that PostgreSQL's clock is right.

use clap::Subcommand;
use serde::Serialize;

use crate::dates;
use crate::global::{GlobalArgs, Outcome};
use crate::stores::{DatabaseArgs, connect_postgres};

/// Commands about PostgreSQL's clock.
#[derive(Debug, Subcommand)]
pub enum ClockVerb {
    /// Confirm that PostgreSQL's clock is right, so that expiry and partition drops resume
    ///
    /// First compare `SELECT clock_timestamp()` with a clock that you trust. Mutes and blocks that have expired by this
    /// clock end at once and cannot be restored. Partition drops resume after the clock has been trusted for the
    /// partitions' retention time.
    Accept(DatabaseArgs),
}

#[derive(Debug, Serialize)]
struct Report {
    /// Time of PostgreSQL's clock.
    accepted_at: String,
}

pub async fn accept(global: &GlobalArgs, args: &DatabaseArgs) -> anyhow::Result<Outcome> {
    let pool = connect_postgres(&args.database_url, global.connection.timeout).await?;
    let accepted_at = dates::format(migrations::accept_clock(&pool).await?);
    let text = format!(
        "accepted PostgreSQL's clock, which shows {accepted_at}; expiry and partition drops resume within seconds"
    );
    global.output.answer(&Report { accepted_at }, || text)?;
    Ok(Outcome::Done)
}
