//! The progress bar of an import: rows, rows per second, the time left, and the lag of the read models.

use std::fmt::Write;
use std::time::{Duration, Instant};

use indicatif::{HumanDuration, ProgressBar, ProgressState};
use proto::command::v1::GetStatusResponse;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use super::reader::{self, Total};
use crate::client::CommandClient;
use crate::output;

const LAG_INTERVAL: Duration = Duration::from_secs(1);

const KNOWN: &str = "{bar:20} {percent:>3} %  {human_pos} rows  {rate} rows/s  {left} left  {prefix}";
const UNKNOWN: &str = "{spinner} {human_pos} rows  {rate} rows/s  {elapsed}  {prefix}";

/// A progress bar, and the task that polls the lag.
pub struct Bar {
    bar: ProgressBar,
    lag: Option<JoinHandle<()>>,
}

impl Bar {
    pub fn start(total: &Total, rows: u64, client: &CommandClient) -> Self {
        let (bar, template) = match total {
            Total::Lines(lines) => (ProgressBar::new(*lines), KNOWN),
            Total::Uncounted(_) => (ProgressBar::no_length(), KNOWN),
            Total::Unknown => (ProgressBar::no_length(), UNKNOWN),
        };
        let pace = Pace { from: rows, since: Instant::now() };
        // The bar cannot pass on an error of `write!`; a piece of it would be missing.
        let rate = move |state: &ProgressState, out: &mut dyn Write| {
            let _ = write!(out, "{:.0}", pace.rate(state.pos(), pace.since.elapsed()));
        };
        let left = move |state: &ProgressState, out: &mut dyn Write| {
            let left = pace.left(state.pos(), state.len().unwrap_or(0), pace.since.elapsed());
            let _ =
                write!(out, "{}", left.map_or("?".to_owned(), |left| format!("{:#}", HumanDuration(left))));
        };
        output::style(&bar, template, |style| style.with_key("rate", rate).with_key("left", left));
        let mut lag = None;
        if !bar.is_hidden() {
            lag = Some(tokio::spawn(poll_lag(client.clone(), bar.clone())));
            if let Total::Uncounted(path) = total {
                let (path, bar) = (path.clone(), bar.clone());
                // On a thread of its own, so that it does not delay the import.
                std::thread::spawn(move || reader::count(&path).map(|lines| bar.set_length(lines)));
            }
        }
        bar.set_position(rows);
        Self { bar, lag }
    }

    pub fn advance(&self, rows: u64) {
        self.bar.inc(rows);
    }

    /// Prints a note above the bar.
    pub fn note(&self, text: &str) {
        self.bar.suspend(|| output::note(text));
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Some(task) = &self.lag {
            task.abort();
        }
        self.bar.finish_and_clear();
    }
}

/// Mean rate of this run. The rate of the bar favours the past, and an import starts slowly.
#[derive(Clone, Copy)]
struct Pace {
    from: u64,
    since: Instant,
}

impl Pace {
    fn rate(self, rows: u64, elapsed: Duration) -> f64 {
        rows.saturating_sub(self.from) as f64 / elapsed.as_secs_f64().max(0.001)
    }

    fn left(self, rows: u64, total: u64, elapsed: Duration) -> Option<Duration> {
        let seconds = total.saturating_sub(rows) as f64 / self.rate(rows, elapsed);
        Duration::try_from_secs_f64(seconds.round()).ok()
    }
}

/// Shows the lag while command-service reports it.
async fn poll_lag(mut client: CommandClient, bar: ProgressBar) {
    let mut ticks = tokio::time::interval(LAG_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let status = client.status().await;
        bar.set_prefix(status.map(|status| lag_text(&status)).unwrap_or_default());
    }
}

/// Lag of the slowest read model.
fn lag_text(status: &GetStatusResponse) -> String {
    let slowest = status.replicas.iter().max_by_key(|r| r.lag_revisions);
    let Some(replica) = slowest else { return String::new() };
    // The lag in time is that of the last applied event; it means nothing without missing revisions.
    let lag = output::proto_ms(replica.lag.filter(|_| replica.lag_revisions > 0));
    let time = lag.map(|ms| format!(", {}", output::millis(ms))).unwrap_or_default();
    format!("lag {} revisions{time}", replica.lag_revisions)
}

#[cfg(test)]
mod tests {
    use proto::graph::v1::ReplicaStatus;

    use super::*;

    #[test]
    fn the_lag_is_that_of_the_slowest_read_model() {
        let lag = |lag_revisions| ReplicaStatus { lag_revisions, ..Default::default() };
        let mut status = GetStatusResponse::default();
        assert_eq!(lag_text(&status), "");
        status.replicas = vec![lag(3), lag(40)];
        status.replicas[1].lag = Some(prost_types::Duration { seconds: 0, nanos: 568_000_000 });
        assert_eq!(lag_text(&status), "lag 40 revisions, 568.00 ms");
    }

    #[test]
    fn the_rate_is_that_of_this_run() {
        let pace = Pace { from: 1_000, since: Instant::now() };
        let elapsed = Duration::from_secs(2);
        assert_eq!(pace.rate(5_000, elapsed), 2_000.0);
        assert_eq!(pace.left(5_000, 11_000, elapsed), Some(Duration::from_secs(3)));
        assert_eq!(pace.left(1_000, 11_000, elapsed), None);
    }
}
