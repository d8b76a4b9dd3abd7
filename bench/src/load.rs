//! Load in closed loops (a number of clients with one call at a time each) and open loops (a number of calls per second,
//! however long each takes).

use std::time::{Duration, Instant};

use anyhow::Result;
use hdrhistogram::Histogram;

/// Numbers of concurrent clients.
pub const CLIENTS: [usize; 3] = [1, 8, 64];

/// Time without measurement, for connections, caches and the JVM's compiler.
const WARM_UP: Duration = Duration::from_millis(800);

/// Result of a load.
pub struct Outcome {
    /// Calls per second of all clients.
    pub rate: f64,
    /// Latencies in microseconds.
    pub latencies: Histogram<u64>,
}

impl Outcome {
    /// A latency in milliseconds.
    pub fn millis(&self, quantile: f64) -> f64 {
        self.latencies.value_at_quantile(quantile) as f64 / 1_000.0
    }
}

/// An empty histogram of microseconds.
pub fn histogram() -> Histogram<u64> {
    Histogram::new(3).expect("three digits are allowed")
}

/// Runs `call` in a loop on every client that `client` creates.
pub async fn closed<C, F>(
    clients: usize,
    time: Duration,
    client: impl Fn(usize) -> C,
    call: impl Fn(C, u64) -> F + Clone + Send + 'static,
) -> Result<Outcome>
where
    C: Clone + Send + 'static,
    F: Future<Output = Result<()>> + Send,
{
    let from = Instant::now() + WARM_UP;
    let until = from + time;
    let tasks: Vec<_> = (0..clients)
        .map(|number| {
            let (client, call) = (client(number), call.clone());
            tokio::spawn(async move {
                let mut latencies = histogram();
                for round in 0.. {
                    let begun = Instant::now();
                    if begun >= until {
                        break;
                    }
                    call(client.clone(), ((number as u64) << 40) | round).await?;
                    if begun >= from {
                        latencies.record(begun.elapsed().as_micros() as u64)?;
                    }
                }
                anyhow::Ok(latencies)
            })
        })
        .collect();
    let mut latencies = histogram();
    for task in tasks {
        latencies.add(task.await??)?;
    }
    Ok(Outcome { rate: latencies.len() as f64 / time.as_secs_f64(), latencies })
}

/// The end of an open loop after this time.
pub async fn pause(time: Duration) -> Result<()> {
    tokio::time::sleep(time).await;
    Ok(())
}

/// Makes `per_second` calls per second until `until` is done. Latencies start when a call is due, so waits count.
pub async fn open<F>(
    per_second: f64,
    until: impl Future<Output = Result<()>>,
    call: impl Fn(u64) -> F + Clone + Send + 'static,
) -> Result<Outcome>
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    let mut until = std::pin::pin!(until);
    let begun = tokio::time::Instant::now();
    let mut calls = tokio::task::JoinSet::new();
    for round in 0.. {
        let due = begun + Duration::from_secs_f64(round as f64 / per_second);
        tokio::select! {
            biased;
            over = &mut until => {
                over?;
                break;
            }
            () = tokio::time::sleep_until(due) => {}
        }
        let call = call(round);
        calls.spawn(async move {
            call.await?;
            anyhow::Ok(due.elapsed())
        });
    }
    let time = begun.elapsed();
    let mut latencies = histogram();
    while let Some(latency) = calls.join_next().await {
        latencies.record(latency??.as_micros() as u64)?;
    }
    Ok(Outcome { rate: latencies.len() as f64 / time.as_secs_f64(), latencies })
}
