//! `clock accept`: an operator states that PostgreSQL's clock is right.

use std::time::Duration;

use serde::Serialize;

use crate::args::{ClockArgs, Format};
use crate::commands::Outcome;
use crate::stores::connect_postgres;
use crate::{dates, output};

/// What was done, for programs.
#[derive(Debug, Serialize)]
struct Report {
    /// PostgreSQL's clock then.
    accepted_at: String,
}

/// Accepts the clock.
pub async fn accept(format: Format, timeout: Duration, args: ClockArgs) -> anyhow::Result<Outcome> {
    let pool = connect_postgres(&args.database_url, timeout).await?;
    let accepted_at = dates::format(migrations::accept_clock(&pool).await?);
    match format {
        Format::Json => output::json_answer(&Report { accepted_at })?,
        Format::Text => output::answer(format!(
            "accepted PostgreSQL's clock, which shows {accepted_at}; expiry and partition drops resume within seconds"
        )),
    }
    Ok(Outcome::Done)
}
