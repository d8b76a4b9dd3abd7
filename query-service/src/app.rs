//! Wires the parts together; the only file that sees them all.
//!
//! Owns: the order of construction and who shares what. It must not hold any rule of its own.
//! What can go wrong: the port is taken, or a setting does not fit a driver. Stores that are away are no reason not to
//! start: the probes find them when they come.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use service_kit::process::Process;
use service_kit::{grpc, nats, neo4j, postgres};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::grpc::{Access, Legacy, Queries, Watches};
use crate::page_token::Codec;
use crate::pipeline::{Follower, Horizon, Outbox, Recent, Replica, Roster, Signals, Sources};
use crate::reader::{
    Breaker, Budget, Coalescing, Exporter, Neo4jProbe, Neo4jReader, Overlaid, Policy, PostgresProbe,
    PostgresReader, Settings, Store, StoresWatch,
};

const NAME: &str = "query-service";
/// Longest wait for a PostgreSQL connection: there is one for every read that is let through.
const LONGEST_CONNECT: Duration = Duration::from_secs(1);
/// Exports at a time.
const EXPORTS: u32 = 2;

/// Opens the port and starts all tasks.
pub async fn start(config: Config, process: Process) -> anyhow::Result<()> {
    let lifecycle = &process.lifecycle;
    let server = grpc::Server::bind(config.grpc.clone(), process.readiness.clone()).await?;
    let nats = nats::connect(&config.nats, NAME).await?;
    let graph = neo4j::connect(&config.neo4j).context("cannot set up Neo4j (NEO4J_URI)")?;
    let probe_graph =
        neo4j::connect(&probe_pool(&config.neo4j)).context("cannot set up Neo4j (NEO4J_URI)")?;
    let pool = pool(&config.postgres, config.fallback.concurrency, NAME)?;
    // More connections than exports, so that they never keep the probe and the events waiting.
    let background_pool = self::pool(&config.postgres, EXPORTS + 2, "query-service-background")?;
    postgres::export_pool_metrics(&process.telemetry, "fallback", &pool);
    postgres::export_pool_metrics(&process.telemetry, "background", &background_pool);

    let now = Instant::now();
    let horizon = Arc::new(Horizon::default());
    let replica = Arc::new(Replica::new(config.projector.clone()));
    let roster = Arc::new(Roster::default());
    let neo4j_reader = Neo4jReader::new(graph);
    let postgres_reader = PostgresReader::new(pool);
    let sources = Sources {
        nats: nats.clone(),
        outbox: Outbox::new(background_pool.clone()),
        horizon: Arc::clone(&horizon),
    };
    let background_reader = postgres_reader.over(background_pool);
    let recent = Arc::new(Recent::new(config.overlay));
    let shared_reader = Coalescing::new(neo4j_reader.clone(), config.coalescing_lanes);
    let exact_reader = Overlaid::new(shared_reader.clone(), Arc::clone(&recent), config.freshness_wait);
    let neo4j_breaker = Arc::new(Breaker::new(now));
    let postgres_breaker = Arc::new(Breaker::new(now));
    let policy = Arc::new(Policy {
        neo4j: Store { reader: Arc::new(exact_reader), breaker: Arc::clone(&neo4j_breaker) },
        postgres: Store { reader: Arc::new(postgres_reader), breaker: Arc::clone(&postgres_breaker) },
        replica: Arc::clone(&replica),
        recent: Arc::clone(&recent),
        horizon: Arc::clone(&horizon),
        budget: Budget::new(config.fallback.per_second, places(config.fallback.concurrency), now),
        settings: Settings {
            neo4j_timeout: config.neo4j_read_timeout,
            freshness_wait: config.freshness_wait,
            max_staleness: config.max_staleness,
            read_source: config.read_source,
        },
    });

    let signals =
        Signals { horizon: Arc::clone(&horizon), replica: Arc::clone(&replica), roster: Arc::clone(&roster) };
    lifecycle.spawn("signals", signals.listen(nats.client, lifecycle.stop_token()));

    let follower = Follower { sources: sources.clone(), recent: Arc::clone(&recent) };
    spawn(&process, "lanes", |stop| shared_reader.run(stop));
    spawn(&process, "events", |stop| follower.run(stop));
    let watch = StoresWatch { policy: Arc::clone(&policy), latch: process.readiness.latch("stores") };
    let neo4j_probe = Neo4jProbe {
        reader: Neo4jReader::new(probe_graph),
        callers: neo4j_reader,
        breaker: neo4j_breaker,
        replica,
        horizon: Arc::clone(&horizon),
        timeout: config.neo4j_read_timeout,
    };
    let postgres_probe = PostgresProbe {
        reader: background_reader.clone(),
        breaker: postgres_breaker,
        horizon: Arc::clone(&horizon),
    };
    spawn(&process, "neo4j probe", |stop| neo4j_probe.run(watch.clone(), stop));
    spawn(&process, "postgres probe", |stop| postgres_probe.run(watch, stop));

    let legacy = Legacy::new(Arc::clone(&policy), sources.clone(), Arc::clone(&recent), config.legacy);
    let codec = codec(&config)?;
    let queries = Queries::new(
        policy,
        Exporter::new(background_reader),
        places(EXPORTS),
        codec,
        Access::new(config.tokens.clone()),
        roster,
        Watches::new(recent, sources, config.watch_limit, lifecycle.drain().begin),
    );
    let server = server
        .descriptors(proto::FILE_DESCRIPTOR_SET)
        .add_service(queries.service(config.grpc.max_request_bytes))
        .add_service(legacy.service(config.grpc.max_request_bytes));
    lifecycle.spawn_server("grpc", server.serve(lifecycle.drain()));
    Ok(())
}

fn spawn<F>(process: &Process, name: &str, task: impl FnOnce(CancellationToken) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let task = task(process.lifecycle.stop_token());
    process.lifecycle.spawn(name, async move {
        task.await;
        anyhow::Ok(())
    });
}

fn codec(config: &Config) -> anyhow::Result<Codec> {
    match Codec::new(&config.page_token_keys) {
        Some(codec) => Ok(codec),
        None => {
            tracing::warn!(
                "PAGE_TOKEN_KEYS is not set: page tokens are good in this process only, until it ends"
            );
            Ok(Codec::random()?)
        }
    }
}

/// Two are enough: one for the probe, one for an exchange that hangs.
fn probe_pool(settings: &neo4j::Settings) -> neo4j::Settings {
    neo4j::Settings { max_connections: 2, ..settings.clone() }
}

fn pool(settings: &postgres::Settings, connections: u32, name: &str) -> anyhow::Result<sqlx::PgPool> {
    let settings = postgres::Settings {
        max_connections: connections,
        // The pool goes on knocking at a dead server until this time is over.
        acquire_timeout: settings.acquire_timeout.min(LONGEST_CONNECT),
        ..settings.clone()
    };
    postgres::connect_lazy(&settings, name).context("cannot set up PostgreSQL (DATABASE_URL)")
}

fn places(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
