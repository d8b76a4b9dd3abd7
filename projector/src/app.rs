//! Wires the parts; the only file that sees them all.
//!
//! Owns: pools, connections, readiness checks and tasks. Must not know: what the parts do with them.
//! What can go wrong: a setting that no library accepts. Servers that are away do not matter here: everything connects
//! when it is first used.

use service_kit::clock::SystemClock;
use service_kit::process::Process;
use service_kit::{nats, neo4j, postgres};
use tokio::sync::watch;
use uuid::Uuid;

use crate::announce::Announcer;
use crate::config::Config;
use crate::consumer::{self, Sources};
use crate::engine::{Engine, Latches};
use crate::graph::Replica;
use crate::status::Board;
use crate::truth::Truth;

/// Starts the projector's tasks.
pub async fn start(config: Config, process: Process) -> anyhow::Result<()> {
    let Process { lifecycle, readiness, telemetry } = process;
    let pool = postgres::connect_lazy(&config.database, "projector")?;
    postgres::export_pool_metrics(&telemetry, "truth", &pool);
    let nats = nats::connect(&config.nats, "projector", &config.name).await?;
    let graph = neo4j::connect(&config.neo4j)?;
    let clock = SystemClock::shared();
    let truth = Truth::new(pool);
    let (board, repaired) = Board::new();
    let (heard, beacon) = watch::channel(None);
    let stop = lifecycle.stop_token();

    let engine = Engine {
        replica: Replica::new(graph, Uuid::new_v4(), &config.name),
        sources: Sources {
            truth,
            nats: nats.clone(),
            beacon: beacon.clone(),
            latch: readiness.latch("stream"),
            board: board.clone(),
        },
        latches: Latches { model: readiness.latch("read model"), complete: readiness.latch("complete") },
        clock: clock.clone(),
        audit_rows_per_second: config.audit_rows_per_second,
    };
    let announcer =
        Announcer { name: config.name, nats: nats.clone(), clock, status: board.follow(), repaired, beacon };

    lifecycle.spawn("announcer", announcer.run(stop.clone()));
    lifecycle.spawn("beacon", consumer::listen(nats, heard, stop.clone()));
    lifecycle.spawn("projection", engine.run(stop));
    Ok(())
}
