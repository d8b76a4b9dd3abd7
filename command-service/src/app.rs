//! How the parts are wired: the only file that sees them all.

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
use crate::committer::{Committer, Pulse, Queue, Settings as Committing, Signals};
use crate::config::Config;
use crate::grpc::{
    Access, COMMANDS, Door, LEGACY_WRITES, Legacy, LegacyAccess, Replacer, Service, WriteLimit,
};
use crate::jobs::Worker;
use crate::maintenance::{Upkeep, make_partitions};
use crate::projectors::Projectors;
use crate::relay::{Acknowledged, Recent, Relay, Standing, Wiring};
use crate::store::is_transient;
use crate::{beacon, health, metrics};

/// How often a database that is away is asked again at the start.
const RETRY: Duration = Duration::from_secs(1);

/// Starts the service. It answers GetStatus and health checks at once, and returns when it commits: a database that is away,
/// or that it must not use, is waited for, and other calls are refused until then.
pub async fn start(config: Config, process: Process) -> anyhow::Result<()> {
    let lifecycle = &process.lifecycle;
    let stop = lifecycle.stop_token();
    let server = grpc::Server::bind(config.grpc.clone(), process.readiness.clone()).await?;

    let pool = postgres::connect_lazy_writer(&config.database, "command-service")?;
    postgres::export_pool_metrics(&process.telemetry, "general", &pool);
    let database = process.readiness.latch(health::POSTGRES);
    let nats = nats::connect(&config.nats, "command-service", "command-service").await?;

    // The committer tells the exchange of each commit, the exchange wakes the relay.
    let nothing = Token::new(Epoch(1), Revision::ZERO);
    let (committed, committed_here) = watch::channel(nothing);
    let (wake, woken) = watch::channel(nothing);
    let clock = DatabaseClock::new(SystemClock::shared());
    let clock_check = process.readiness.observed_latch(health::CLOCK);
    let partitions = Arc::new(Notify::new());
    let (queue, waiting) = Queue::bounded(config.queue_capacity);
    let (started, recent, pulse) = (Arc::new(Notify::new()), Recent::default(), Pulse::default());
    let signals = Signals {
        recent: recent.clone(),
        committed: committed.clone(),
        jobs: Arc::clone(&started),
        partitions: Arc::clone(&partitions),
        pulse: pulse.clone(),
    };
    let commits = process.readiness.latch(health::COMMITS);
    let committer =
        Committer::new(committer_pool(&config.database)?, config.committer, clock.clone(), signals);
    let depth = queue.clone();
    process
        .telemetry
        .on_scrape(move || ::metrics::gauge!(metrics::QUEUED_COMMANDS).set(depth.waiting() as f64));

    let (standing, shown) = watch::channel(Standing::default());
    let wiring = Wiring {
        standing,
        latch: process.readiness.latch(health::STREAM),
        limits: process.readiness.observed_latch(health::MESSAGE_SIZE),
        committed: woken,
        recent,
        clock: clock.clone(),
    };
    let relay = Relay::new(pool.clone(), nats.client.clone(), config.stream, wiring);
    let acknowledged = Acknowledged::new(shown.clone(), nats.client.clone());
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
    let upkeep = Upkeep {
        pool: pool.clone(),
        outbox_kept: config.stream.max_age,
        standing: shown.clone(),
        clock: clock.clone(),
        partitions: Arc::clone(&partitions),
    };

    let legacy_access = LegacyAccess::new(config.legacy_tokens, config.tokens.clone());
    let access = Access::new(config.tokens);
    let (checked, seen_checked) = watch::channel(false);
    let Committing { patience, follow_cap, .. } = config.committer;
    let door = Door {
        checked: seen_checked,
        patience,
        limit: WriteLimit::per_second(config.actor_writes),
        standing: shown.clone(),
        queue,
    };
    let legacy = Legacy { door: door.clone(), acknowledged, patience: config.legacy_patience };
    let service = Service {
        door,
        replacer: Replacer::new(pool.clone(), follow_cap, patience),
        pool: pool.clone(),
        standing: shown.clone(),
        projectors: projectors.clone(),
        import_max_lag: config.import_max_lag,
        readiness: process.readiness.clone(),
        clock: clock.clone(),
    };
    lifecycle.spawn("checks", service.clone().watch_checks(stop.clone()));
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

    // Commands wait meanwhile, and are refused after a while: see `Door::checked`.
    wait_for_schema(&pool, &database).await?;
    checked.send_replace(true);
    lifecycle.spawn("exchange", beacon::exchange(nats.clone(), committed_here, wake, stop.clone()));
    lifecycle.spawn("clock", clock.watch(pool.clone(), clock_check, stop.clone()));
    lifecycle.spawn("pulse", pulse.watch(pool.clone(), commits, partitions, stop.clone()));
    lifecycle.spawn("committer", committer.run(waiting, stop.clone()));
    lifecycle.spawn("heartbeats", relay.heartbeats().listen(nats.client.clone(), stop.clone()));
    lifecycle.spawn("relay", relay.run(stop.clone()));
    lifecycle.spawn("projectors", projectors.listen(nats.client.clone(), pool.clone(), stop.clone()));
    lifecycle.spawn("worker", worker.run(stop.clone()));
    lifecycle.spawn("beacon", beacon::run(pool, nats, shown, database, stop.clone()));
    lifecycle.spawn("maintenance", upkeep.run(stop));
    Ok(())
}

/// Waits for the database, and for a schema that is new enough.
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
    // A write needs today's partitions.
    while let Err(error) = make_partitions(pool).await {
        let cause = error.cause();
        if !is_transient(cause) && !postgres::says_misconfigured(cause) {
            return Err(error).context("cannot make partitions");
        }
        tracing::warn!(error = %chain(&error), "waiting for partitions");
        latch.not_ready(&format!("{error}: {}", postgres::problem(cause)));
        tokio::time::sleep(RETRY).await;
    }
    Ok(())
}

/// Whether the database is ours and new enough, and its sessions are our own.
async fn check_database(pool: &PgPool) -> Result<(), migrations::Error> {
    // First: what is asked in prepared statements fails in sessions that are not.
    postgres::check_sessions(pool).await?;
    migrations::check_postgres(pool).await
}

/// Two connections: one works, one clears up a commit in doubt (of the worker: one for
/// jobs, one for expiries). Every statement of theirs finds a few hundred rows by their keys among millions; left to its
/// statistics, which lag behind an import, the planner now and then reads a table.
fn committer_pool(settings: &postgres::Settings) -> Result<PgPool, sqlx::Error> {
    let by_keys_only = [
        ("enable_seqscan", "off"),
        ("enable_hashjoin", "off"),
        ("enable_mergejoin", "off"),
        // A bitmap would read all that is left of an account for the next few edges of it.
        ("enable_bitmapscan", "off"),
        ("plan_cache_mode", "force_generic_plan"),
    ];
    postgres::connect_lazy_pair(settings, "command-service", &by_keys_only)
}
