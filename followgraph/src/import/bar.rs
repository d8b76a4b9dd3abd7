//! The progress bar of an import, on stderr and only on a terminal.
//!
//! Owns what it shows: rows, rows a second, the time left, and how far the read
//! models are behind.

use std::sync::atomic::Ordering;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use proto::command::v1::{GetStatusRequest, GetStatusResponse};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use super::reader::Total;
use crate::client::CommandClient;

const LAG_INTERVAL: Duration = Duration::from_secs(1);

/// A bar, and the task that asks for the lag.
pub struct Bar {
    bar: ProgressBar,
    total: Total,
    rows: u64,
    lag: Option<JoinHandle<()>>,
}

impl Bar {
    /// Starts at `rows`.
    pub fn start(total: Total, rows: u64, client: &CommandClient) -> Self {
        let (bar, template) = match &total {
            Total::Lines(lines) => (
                ProgressBar::new(*lines),
                "{bar:30} {percent:>3} %   {human_pos} of {human_len} rows   {per_sec}   {eta} left   {prefix}",
            ),
            Total::Bytes(bytes, _) => (
                ProgressBar::new(*bytes),
                "{bar:30} {percent:>3} %   {msg} rows   {bytes_per_sec}   {eta} left   {prefix}",
            ),
            Total::Unknown => {
                (ProgressBar::new_spinner(), "{spinner} {human_pos} rows   {per_sec}   {elapsed}   {prefix}")
            }
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        let lag = (!bar.is_hidden()).then(|| tokio::spawn(watch_lag(client.clone(), bar.clone())));
        let mut started = Self { bar, total, rows: 0, lag };
        started.advance(rows);
        started.bar.reset_eta();
        started
    }

    /// That many more rows are done.
    pub fn advance(&mut self, rows: u64) {
        self.rows += rows;
        if let Total::Bytes(_, read) = &self.total {
            self.bar.set_message(self.rows.to_string());
            self.bar.set_position(read.load(Ordering::Relaxed));
        } else {
            self.bar.set_position(self.rows);
        }
    }

    /// Tells something without tearing the bar.
    pub fn say(&self, text: &str) {
        self.bar.suspend(|| eprintln!("{text}"));
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
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

/// The lag is an extra: where it cannot be had, it is not shown.
async fn watch_lag(mut client: CommandClient, bar: ProgressBar) {
    let mut ticks = tokio::time::interval(LAG_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let request = client.request(GetStatusRequest {});
        let lag = match client.rpc.get_status(request).await {
            Ok(status) => lag_text(status.get_ref()),
            Err(_) => String::new(),
        };
        bar.set_prefix(lag);
    }
}

/// How far the slowest read model is behind.
fn lag_text(status: &GetStatusResponse) -> String {
    let slowest = status.replicas.iter().max_by_key(|r| r.lag_revisions);
    slowest.map_or_else(String::new, |replica| {
        format!("{} is {} revisions behind", replica.name, replica.lag_revisions)
    })
}

#[cfg(test)]
mod tests {
    use proto::graph::v1::ReplicaStatus;

    use super::*;

    #[test]
    fn the_lag_is_that_of_the_slowest() {
        let replica = |name: &str, lag_revisions| ReplicaStatus {
            name: name.to_owned(),
            lag_revisions,
            ..Default::default()
        };
        let mut status = GetStatusResponse::default();
        assert_eq!(lag_text(&status), "");
        status.replicas = vec![replica("projector-0", 3), replica("projector-1", 40)];
        assert_eq!(lag_text(&status), "projector-1 is 40 revisions behind");
    }
}
