//! Closed-loop load: so many clients, each with one call at a time.

use std::time::{Duration, Instant};

use anyhow::Result;
use hdrhistogram::Histogram;

/// Not measured: connections, caches, the JVM's compiler.
const WARM_UP: Duration = Duration::from_millis(800);

/// What a load came to.
pub struct Outcome {
    /// Calls a second, all clients together.
    pub rate: f64,
    /// Latencies in microseconds.
    pub latencies: Histogram<u64>,
}

/// An empty histogram of microseconds.
pub fn histogram() -> Histogram<u64> {
    Histogram::new(3).expect("three digits are allowed")
}

/// Runs `call` in a loop on every client; `client` makes one.
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
