//! Wires the parts; the only file that sees them all. Everything connects at its first use, so servers that are down do
//! not fail the start.

use std::sync::Arc;

use event_log::Outbox;
use event_log::heartbeat::{self, HeardHead};
use service_kit::clock::SystemClock;
use service_kit::process::Process;
use service_kit::{ids, nats, neo4j, postgres};
use tokio::time::Instant;

use crate::announce::Announcer;
use crate::config::Config;
use crate::engine::{Engine, Latches};
use crate::feed::{self, FeedMonitor, Sources};
use crate::graph::Replica;
use crate::health;
use crate::status::StatusBoard;
use crate::truth::Truth;

/// Starts the projector's tasks.
pub async fn start(config: Config, process: Process) -> anyhow::Result<()> {
    let Process { lifecycle, readiness, telemetry } = process;
    let pool = postgres::connect_lazy(&config.database, "projector")?;
    postgres::export_pool_metrics(&telemetry, "truth", &pool);
    let nats = nats::connect(&config.nats, "projector", &config.name).await?;
    let graph = neo4j::connect(&config.neo4j)?;
    let clock = SystemClock::shared();
    let (board, repaired) = StatusBoard::new();
    let heard = Arc::new(HeardHead::default());
    let latch = readiness.latch(health::STREAM);
    let stop = lifecycle.stop_token();

    let log = event_log::Sources {
        nats: nats.clone(),
        outbox: Outbox::new(pool.clone()),
        head: Arc::clone(&heard) as _,
        monitor: Arc::new(FeedMonitor { latch: latch.clone(), board: board.clone() }),
        consumer: "projector",
        batch: feed::BATCH,
        buffer_bytes: feed::BUFFER_BYTES,
    };
    let sources =
        Sources { truth: Truth::new(pool), log, heard: Arc::clone(&heard), latch, board: board.clone() };
    let replica = Replica::new(graph, ids::random(), &config.name);
    let latches =
        Latches { model: readiness.latch(health::READ_MODEL), complete: readiness.latch(health::COMPLETE) };
    let engine = Engine::new(replica, sources, latches, clock.clone(), config.sweep_edges_per_second);
    let announcer = Announcer {
        name: config.name,
        nats: nats.clone(),
        clock,
        status: board.follow(),
        repaired,
        heard: Arc::clone(&heard),
    };

    lifecycle.spawn("announcer", announcer.run(stop.clone()));
    let note = move |received| match received {
        Ok(heartbeat) => heard.note(&heartbeat, Instant::now()),
        Err(error) => tracing::debug!(error = &error as &dyn std::error::Error, "a heartbeat cannot be read"),
    };
    lifecycle.spawn("heartbeats", heartbeat::listen(nats.client, note, stop.clone()));
    lifecycle.spawn("projection", engine.run(stop));
    Ok(())
}
