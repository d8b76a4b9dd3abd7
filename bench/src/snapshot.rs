//! Effect of an open snapshot (`pg_dump`, a standby with feedback) on commits: PostgreSQL cannot remove row versions that
//! are newer than the snapshot.

use std::time::Duration;

use anyhow::Result;
use tests::{Endpoints, truth};

use crate::report::Report;
use crate::{load, writes};

/// Follows per second, far below capacity: a queue of the load would hide the latency of commits.
const PER_SECOND: f64 = 300.0;
/// Number of followed accounts.
const ACCOUNTS: u64 = 10_000;
/// Limit of the ratio between the median at the end and that before the snapshot.
const LARGEST_RATIO: f64 = 1.3;

/// Follows in an open loop before a snapshot, and after it was open for `hold` under the same load.
pub async fn held(endpoints: &Endpoints, hold: Duration, each: Duration, report: &mut Report) -> Result<()> {
    let of_many = |round: u64| round % ACCOUNTS + 1;
    let of_one = |_| u64::MAX;
    let many = measure(endpoints, of_many, each, "follows of 10,000 accounts", report).await?;
    let one = measure(endpoints, of_one, each, "follows of one account", report).await?;

    let pool = endpoints.postgres().await;
    let mut snapshot = pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ").await?;
    sqlx::query("SELECT count(*) FROM accounts").execute(&mut *snapshot).await?;
    load::open(PER_SECOND, load::pause(hold), writes::shared(endpoints, of_many)).await?;
    let name = "the same beside a snapshot that was held open";
    let many_late = measure(endpoints, of_many, each, name, report).await?;
    let one_late = measure(endpoints, of_one, each, "the same of one account", report).await?;
    snapshot.rollback().await?;
    truth::wait_caught_up(endpoints).await;

    let held = format!("after {} s of an open snapshot", hold.as_secs());
    report.at_most(
        &format!("median of follows of 10,000 accounts {held}, ratio"),
        many_late / many,
        LARGEST_RATIO,
    );
    // Without a target: each follow changes the same row.
    eprintln!("median of follows of one account {held}, ratio: {:.2}", one_late / one);
    Ok(())
}

/// Reports a measurement. Returns its median in milliseconds.
async fn measure(
    endpoints: &Endpoints,
    target: impl Fn(u64) -> u64 + Copy + Send + 'static,
    time: Duration,
    name: &str,
    report: &mut Report,
) -> Result<f64> {
    let outcome = load::open(PER_SECOND, load::pause(time), writes::shared(endpoints, target)).await?;
    report.add(name, 8, &outcome, None);
    Ok(outcome.millis(0.5))
}
