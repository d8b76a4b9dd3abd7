//! Wires the parts of the process and starts them.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use proto::command::v1::command_service_server::CommandServiceServer;
use proto::legacy::v2::graph_service_server::GraphServiceServer;
use proto::{Epoch, Revision, Token};
use service_kit::clock::SystemClock;
use service_kit::process::Process;
use service_kit::telemetry::chain;
use service_kit::{Latch, grpc, nats, postgres};
use sqlx::PgPool;
use tokio::sync::{Notify, watch};

use crate::clock::DatabaseClock;
use crate::committer::{CommitProbe, Committer, Queue, Settings as Committing};
use crate::config::Config;
use crate::grpc::{
    Access, COMMANDS, CommandGateway, Importer, LEGACY_WRITES, Legacy, LegacyAccess, Replacer, Service,
    StatusReader, WriteLimit,
};
use crate::jobs::Worker;
use crate::maintenance::{Maintenance, make_partitions};
use crate::projectors::Projectors;
use crate::relay::{Acknowledged, Relay, StreamStatus, Wiring};
use crate::store::is_transient;
use crate::store::recent::Recent;
use crate::{beacon, health, metrics};

/// Interval of attempts at the start while the database is down or not usable.
const RETRY: Duration = Duration::from_secs(1);

/// Starts the service. GetStatus and health checks are served at once. Returns when commands are executed: until then
/// the start waits for a database that is down or not usable, and other calls wait or fail.
pub async fn start(config: Config, process: Process) -> anyhow::Result<()> {
    let lifecycle = &process.lifecycle;
    let stop = lifecycle.stop_token();
    let server = grpc::Server::bind(config.grpc.clone(), process.readiness.clone()).await?;

    let pool = postgres::connect_lazy_writer(&config.database, "command-service")?;
    postgres::export_pool_metrics(&process.telemetry, "general", &pool);
    let database = process.readiness.latch(health::POSTGRES);
    let nats = nats::connect(&config.nats, "command-service", "command-service").await?;

    // The committer signals each commit to the exchange, which wakes the relay.
    let nothing = Token::new(Epoch(1), Revision::ZERO);
    let (committed, committed_here) = watch::channel(nothing);
    let (wake, woken) = watch::channel(nothing);
    let clock = DatabaseClock::new(SystemClock::shared());
    let clock_check = process.readiness.observed_latch(health::CLOCK);
    let partitions = Arc::new(Notify::new());
    let (queue, waiting) = Queue::bounded(config.queue_capacity);
    let (started, recent, commit_probe) =
        (Arc::new(Notify::new()), Recent::default(), CommitProbe::default());
    let committer = Committer {
        pool: committer_pool(&config.database)?,
        settings: config.committer,
        clock: clock.clone(),
        recent: recent.clone(),
        committed: committed.clone(),
        jobs: Arc::clone(&started),
        partitions: Arc::clone(&partitions),
        commit_probe: commit_probe.clone(),
    };
    let commits = process.readiness.latch(health::COMMITS);
    let depth = queue.clone();
    process
        .telemetry
        .on_scrape(move || ::metrics::gauge!(metrics::QUEUED_COMMANDS).set(depth.waiting() as f64));

    let (status, stream) = watch::channel(StreamStatus::unseen(Epoch(1)));
    let wiring = Wiring {
        status,
        latch: process.readiness.latch(health::STREAM),
        limits: process.readiness.observed_latch(health::MESSAGE_SIZE),
        committed: woken,
        recent,
        clock: clock.clone(),
    };
    let relay = Relay::new(pool.clone(), nats.client.clone(), config.stream, wiring);
    let acknowledged = Acknowledged::new(stream.clone(), nats.client.clone());
    let projectors = Projectors::default();
    let worker = Worker {
        pool: committer_pool(&config.database)?,
        settings: config.jobs,
        committed,
        started,
        clock: clock.clone(),
        partitions: Arc::clone(&partitions),
        projectors: projectors.clone(),
    };
    let maintenance = Maintenance {
        pool: pool.clone(),
        outbox_kept: config.stream.max_age,
        stream: stream.clone(),
        clock: clock.clone(),
        partitions: Arc::clone(&partitions),
    };

    let legacy_access = LegacyAccess::new(config.legacy_tokens, config.tokens.clone());
    let access = Access::new(config.tokens);
    let (checked, seen_checked) = watch::channel(false);
    let Committing { timeout, follow_cap, .. } = config.committer;
    let gateway = CommandGateway {
        checked: seen_checked,
        check_timeout: timeout,
        limit: WriteLimit::per_second(config.actor_writes),
        stream: stream.clone(),
        queue,
    };
    let legacy =
        Legacy { gateway: gateway.clone(), acknowledged, stream_timeout: config.legacy_stream_timeout };
    let importer = Importer {
        gateway: gateway.clone(),
        projectors: projectors.clone(),
        max_lag: config.import_max_lag,
        clock: clock.clone(),
    };
    let status = StatusReader {
        pool: pool.clone(),
        stream: stream.clone(),
        projectors: projectors.clone(),
        readiness: process.readiness.clone(),
        clock: clock.clone(),
        gateway: gateway.clone(),
    };
    lifecycle.spawn("checks", status.clone().watch_checks(stop.clone()));
    let replacer = Replacer::new(pool.clone(), follow_cap, timeout);
    let service = Service { gateway, replacer, importer, status, pool: pool.clone() };
    let server = server
        .descriptors(proto::FILE_DESCRIPTOR_SET)
        .add_service(grpc::Rules::new(&COMMANDS, access), |limit| {
            CommandServiceServer::new(service.clone())
                .accept_compressed(grpc::REQUEST_ENCODING)
                .max_decoding_message_size(limit)
        })
        .add_service(grpc::Rules::new(&LEGACY_WRITES, legacy_access), |limit| {
            GraphServiceServer::new(legacy.clone())
                .accept_compressed(grpc::REQUEST_ENCODING)
                .max_decoding_message_size(limit)
        });
    lifecycle.spawn_server("grpc", server.serve(lifecycle.drain()));

    // Commands wait meanwhile, and fail after a timeout: see `CommandGateway::checked`.
    wait_for_schema(&pool, &database).await?;
    while let Err(error) = clock.read(&pool).await {
        tracing::warn!(error = %chain(&error), "waiting for PostgreSQL's clock");
        database.not_ready(&postgres::problem(&error));
        tokio::time::sleep(RETRY).await;
    }
    checked.send_replace(true);
    lifecycle.spawn("exchange", beacon::exchange(nats.clone(), committed_here, wake, stop.clone()));
    lifecycle.spawn("clock", clock.watch(pool.clone(), clock_check, stop.clone()));
    lifecycle.spawn("commit-probe", commit_probe.run(pool.clone(), commits, partitions, stop.clone()));
    lifecycle.spawn("committer", committer.run(waiting, stop.clone()));
    lifecycle.spawn("heartbeats", relay.heartbeats().listen(nats.client.clone(), stop.clone()));
    lifecycle.spawn("relay", relay.run(stop.clone()));
    lifecycle.spawn("projectors", projectors.listen(nats.client.clone(), pool.clone(), stop.clone()));
    lifecycle.spawn("worker", worker.run(stop.clone()));
    lifecycle.spawn("beacon", beacon::run(pool, nats, stream, database, stop.clone()));
    lifecycle.spawn("maintenance", maintenance.run(stop));
    Ok(())
}

/// Waits for the database, for a schema that is new enough, and for today's partitions.
async fn wait_for_schema(pool: &PgPool, latch: &Latch) -> anyhow::Result<()> {
    while let Err(error) = check_database(pool).await {
        match error {
            migrations::Error::Postgres(error) => {
                tracing::warn!(error = %chain(&error), "waiting for PostgreSQL");
                latch.not_ready(&postgres::problem(&error));
            }
            error => {
                tracing::warn!(%error, "waiting for the schema");
                latch.not_ready(&error.to_string());
            }
        }
        tokio::time::sleep(RETRY).await;
    }
    while let Err(error) = make_partitions(pool).await {
        let cause = error.cause();
        if !is_transient(cause) && !postgres::is_misconfiguration(cause) {
            return Err(error).context("cannot make partitions");
        }
        tracing::warn!(error = %chain(&error), "waiting for partitions");
        latch.not_ready(&format!("{error}: {}", postgres::problem(cause)));
        tokio::time::sleep(RETRY).await;
    }
    Ok(())
}

/// Checks that the schema is ours and new enough, and that connections keep their sessions.
async fn check_database(pool: &PgPool) -> Result<(), migrations::Error> {
    // First: prepared statements fail if a pooler shares sessions.
    postgres::check_sessions(pool).await?;
    migrations::check_postgres(pool).await
}

/// Two connections, for the committer or for the worker. Their statements find a few hundred rows by keys among
/// millions. With statistics that lag behind an import, the planner would sometimes scan a table.
fn committer_pool(settings: &postgres::Settings) -> sqlx::Result<PgPool> {
    let by_keys_only = [
        ("enable_seqscan", "off"),
        ("enable_hashjoin", "off"),
        ("enable_mergejoin", "off"),
        // A bitmap scan would read all remaining edges of an account to return the next few.
        ("enable_bitmapscan", "off"),
        ("plan_cache_mode", "force_generic_plan"),
    ];
    postgres::connect_lazy_pair(settings, "command-service", &by_keys_only)
}
