//! Wires the parts together; the only file that sees them all.
//!
//! The process starts while a store is down; a probe finds the store later.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use event_log::Outbox;
use event_log::projectors::ProjectorRegistry;
use proto::legacy::v2::graph_service_server::GraphServiceServer;
use proto::query::v1::query_service_server::QueryServiceServer;
use service_kit::clock::SystemClock;
use service_kit::process::Process;
use service_kit::shares::{Holders, Places};
use service_kit::{grpc, nats, neo4j, postgres};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::batching::Batched;
use crate::config::{AccessSettings, Config, ReplicaSettings};
use crate::grpc::{Access, LEGACY_READS, Legacy, LegacyAccess, PipelineStatus, QUERIES, Queries, Watches};
use crate::health;
use crate::hot::Generations;
use crate::hot::load::Load;
use crate::loading::{self, Filling, Loader, Loading};
use crate::memory::Memory;
use crate::neo4j::{Admission, Neo4jReader};
use crate::overlay::Overlaid;
use crate::page_token::Codec;
use crate::postgres::{Exporter, PostgresReader};
use crate::queries::Source;
use crate::recent::{FeedMonitor, Follower, HeadTracker, Recent, Sources};
use crate::replicas::{
    Breaker, Dates, Neo4jProbe, PostgresProbe, ReadModel, Replica, Replicas, SettingsCheck, Signals,
};
use crate::router::{
    Budget, Handles, PagesOfThePast, ReadModelReader, ReadSource, Router, Settings, Store, StoresWatch,
};

const NAME: &str = "query-service";
/// Timeout of a wait for a PostgreSQL connection. The pool has one for every read that the budget admits.
const LONGEST_CONNECT: Duration = Duration::from_secs(1);
/// Events of the stream that the follower requests at once.
const EVENTS_AT_ONCE: i64 = 128;
/// Bytes of events that the follower reads ahead of the ring.
const READ_AHEAD: usize = 1024 * 1024;
/// PostgreSQL connections of the probe and of the event follower.
const LOG_CONNECTIONS: u32 = 2;
/// Maximum number of concurrent exports. They share as many connections with watches of older events.
const EXPORTS: u32 = 2;

/// Opens the port and starts all tasks.
pub async fn start(config: Config, process: Process) -> anyhow::Result<()> {
    let lifecycle = &process.lifecycle;
    let server = grpc::Server::bind(config.grpc.clone(), process.readiness.clone()).await?;
    let nats = nats::connect(&config.nats, NAME, NAME).await?;
    let pool = pool(&config.postgres, config.fallback.concurrency, NAME)?;
    // A pool of its own, so that exports and watches of older events cannot block the probe and the event follower.
    let log_pool = self::pool(&config.postgres, LOG_CONNECTIONS, "query-service-log")?;
    let background_pool = self::pool(&config.postgres, EXPORTS, "query-service-background")?;
    postgres::export_pool_metrics(&process.telemetry, "fallback", &pool);
    postgres::export_pool_metrics(&process.telemetry, "log", &log_pool);
    postgres::export_pool_metrics(&process.telemetry, "background", &background_pool);

    let now = Instant::now();
    let heads = Arc::new(HeadTracker::default());
    let projectors = ProjectorRegistry::default();
    let postgres_reader = PostgresReader::new(pool);
    let log = event_log::Sources {
        nats: nats.clone(),
        outbox: Outbox::new(log_pool.clone()),
        head: Arc::clone(&heads) as _,
        monitor: Arc::new(FeedMonitor),
        consumer: NAME,
        batch: EVENTS_AT_ONCE,
        buffer_bytes: READ_AHEAD,
    };
    let sources = Sources { log, heads: Arc::clone(&heads) };
    let probe_reader = postgres_reader.over(log_pool);
    let background_reader = postgres_reader.over(background_pool.clone());
    let read = config.read_source.allows(Source::Neo4j);
    // Nothing fills or asks the hot set otherwise, see `Router`.
    let hot_set_bytes = if config.read_source == ReadSource::Auto { config.hot_set_bytes } else { 0 };
    if hot_set_bytes < config.hot_set_bytes {
        tracing::warn!(
            read_source = config.read_source.name(),
            "HOT_SET_BYTES has no effect: it needs READ_SOURCE=auto"
        );
    }
    let generations = Generations::new(config.replicas.len());
    let recent = Arc::new(Recent::new(config.overlay, hot_set_bytes, generations.clone()));
    let (loads, loaded) = mpsc::channel(loading::MOST_WAITING);
    let hot = (hot_set_bytes > 0).then_some(loads);
    let names = config.replicas.iter().filter(|_| read).map(|one| Arc::from(one.projector.as_str()));
    let settings = SettingsCheck::new(process.readiness.latch(health::SETTINGS), names);
    let common = Common {
        config: &config,
        heads: &heads,
        recent: &recent,
        check: &settings,
        hot,
        generations: &generations,
        now,
    };
    let replicas = config.replicas.iter().enumerate().map(|(number, one)| replica(number, one, &common));
    let (read_models, replicas): (Vec<_>, Vec<_>) =
        replicas.collect::<anyhow::Result<Vec<_>>>()?.into_iter().unzip();
    let known: Vec<_> = replicas.iter().map(|one| Arc::clone(&one.probe.replica)).collect();
    let list_places = config.replicas.iter().map(|one| places_of_lists(one, config.coalescing_lanes));
    // Sized as for a single replica: the others may be down.
    let list_places = list_places.min().unwrap_or(1);
    let postgres_breaker = Arc::new(Breaker::new(now));
    let router = Arc::new(Router {
        replicas: Replicas::new(read_models, Arc::clone(&heads), Arc::clone(&recent), config.tolerance),
        postgres: Store { reader: postgres_reader, breaker: Arc::clone(&postgres_breaker) },
        memory: Memory { recent: Arc::clone(&recent) },
        heads: Arc::clone(&heads),
        budget: Budget::new(config.fallback.per_second, places(config.fallback.concurrency), now),
        lists: Holders::new(list_places, Arc::default()),
        handles: Handles::default(),
        settings: Settings {
            neo4j_timeout: config.neo4j_read_timeout,
            postgres_timeout: config.postgres.statement_timeout,
            freshness_wait: config.freshness_wait,
            memory_max_lag: config.tolerance.max_lag,
            read_source: config.read_source,
        },
    });

    let dates = Dates { sources: sources.clone(), replicas: known.clone(), clock: SystemClock::shared() };
    spawn(&process, "dates", |stop| dates.run(stop));
    let signals =
        Signals { heads: Arc::clone(&heads), replicas: known, generations, projectors: projectors.clone() };
    lifecycle.spawn("signals", signals.listen(nats.client, lifecycle.stop_token()));

    let follower = Follower { sources: sources.clone(), recent: Arc::clone(&recent), loads: loaded };
    spawn(&process, "events", |stop| follower.run(stop));
    let watch = StoresWatch::new(Arc::clone(&router), process.readiness.latch(health::STORES), now);
    let postgres_probe = PostgresProbe {
        reader: probe_reader,
        breaker: postgres_breaker,
        heads: Arc::clone(&heads),
        settings,
    };
    for replica in replicas {
        spawn(&process, "lanes", |stop| replica.shared.run(stop));
        if let Some(loader) = replica.loader {
            spawn(&process, "loads", |stop| loader.run(stop));
        }
        let watch = watch.clone();
        spawn(&process, "neo4j probe", |stop| replica.probe.run(move || watch.update(), stop));
    }
    spawn(&process, "postgres probe", |stop| postgres_probe.run(move || watch.update(), stop));

    let legacy = Legacy::new(Arc::clone(&router), sources.clone(), Arc::clone(&recent), config.legacy);
    let status =
        PipelineStatus { router: Arc::clone(&router), projectors, readiness: process.readiness.clone() };
    spawn(&process, "checks", |stop| status.clone().run(stop));
    let mut watched = sources;
    watched.log.outbox =
        Outbox::new(background_pool).admitted_by(Arc::new(PagesOfThePast(Arc::clone(&router))));
    let queries = Queries {
        router,
        exporter: Exporter::new(background_reader),
        exports: Places::new(places(EXPORTS)),
        codec: Arc::new(codec(&config)?),
        pipeline: status,
        watches: Watches::new(recent, watched, config.watch_limit, lifecycle.drain().begin),
    };
    let (queries, legacy) = (Arc::new(queries), Arc::new(legacy));
    let AccessSettings { tokens, legacy_reads, internal } = config.access;
    let legacy_access = LegacyAccess::new(legacy_reads, tokens.clone(), internal);
    let access = Access::new(tokens);
    let server = server
        .descriptors(proto::FILE_DESCRIPTOR_SET)
        .add_service(grpc::Rules::new(&QUERIES, access), |limit| {
            QueryServiceServer::from_arc(Arc::clone(&queries))
                .accept_compressed(grpc::REQUEST_ENCODING)
                .max_decoding_message_size(limit)
        })
        .add_service(grpc::Rules::new(&LEGACY_READS, legacy_access), |limit| {
            GraphServiceServer::from_arc(Arc::clone(&legacy))
                .accept_compressed(grpc::REQUEST_ENCODING)
                .max_decoding_message_size(limit)
        });
    lifecycle.spawn_server("grpc", server.serve(lifecycle.drain()));
    Ok(())
}

/// Background tasks of one replica of the read model.
struct Background {
    shared: Batched<Neo4jReader>,
    probe: Neo4jProbe,
    /// `None` without a hot set.
    loader: Option<Loader>,
}

/// What the replicas have in common.
struct Common<'a> {
    config: &'a Config,
    heads: &'a Arc<HeadTracker>,
    recent: &'a Arc<Recent>,
    check: &'a SettingsCheck,
    /// Where loads of the hot set go, if there is one.
    hot: Option<mpsc::Sender<Load>>,
    generations: &'a Generations,
    now: Instant,
}

fn replica(
    number: usize,
    settings: &ReplicaSettings,
    common: &Common<'_>,
) -> anyhow::Result<(ReadModel<ReadModelReader>, Background)> {
    let Common { config, heads, recent, check, now, .. } = *common;
    let reader = |settings: &neo4j::Settings| {
        let graph = neo4j::connect(settings);
        graph.map(Neo4jReader::new).with_context(|| format!("cannot set up Neo4j at {}", settings.uri))
    };
    let connections = settings.neo4j.max_connections;
    let shared = connections - places_of_lists(settings, config.coalescing_lanes);
    let callers = reader(&settings.neo4j)?.admitted(Admission::new(connections, shared));
    let probe = Neo4jProbe {
        reader: reader(&probe_pool(&settings.neo4j))?,
        callers: callers.clone(),
        breaker: Arc::new(Breaker::new(now)),
        replica: Arc::new(Replica::new(settings.projector.as_str())),
        number,
        generations: common.generations.clone(),
        heads: Arc::clone(heads),
        timeout: config.neo4j_read_timeout,
        settings: check.clone(),
    };
    let shared = Batched::new(callers.clone(), &callers.shared(), config.coalescing_lanes);
    let (filling, loader) = common
        .hot
        .clone()
        .map(|loads| {
            let (wanted, queue) = mpsc::channel(loading::MOST_WAITING);
            let loader = Loader {
                reader: callers.clone(),
                number,
                replica: Arc::clone(&probe.replica),
                breaker: Arc::clone(&probe.breaker),
                recent: Arc::clone(recent),
                wanted: queue,
                loads: loads.clone(),
            };
            (Filling::new(number, loads, wanted), loader)
        })
        .unzip();
    let inner = Loading::new(shared.clone(), filling);
    // One overlay per replica: replicas differ in revision and in the rows that recent events remove.
    let exact = Overlaid::new(inner, Arc::clone(recent), Arc::clone(&probe.replica), config.freshness_wait);
    let read_model = ReadModel::new(exact, Arc::clone(&probe.breaker), Arc::clone(&probe.replica));
    Ok((read_model, Background { shared, probe, loader }))
}

/// Connections that are not reserved for shared statements.
fn places_of_lists(settings: &ReplicaSettings, lanes: usize) -> usize {
    let connections = settings.neo4j.max_connections;
    connections - lanes.min(connections / 2)
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

/// Two are enough: one for the probe, one for a stalled exchange.
fn probe_pool(settings: &neo4j::Settings) -> neo4j::Settings {
    neo4j::Settings { max_connections: 2, ..settings.clone() }
}

fn pool(settings: &postgres::Settings, connections: u32, name: &str) -> anyhow::Result<sqlx::PgPool> {
    let settings = postgres::Settings {
        max_connections: connections,
        // The pool retries an unreachable server until this timeout.
        acquire_timeout: settings.acquire_timeout.min(LONGEST_CONNECT),
        ..settings.clone()
    };
    postgres::connect_lazy(&settings, name).context("cannot set up PostgreSQL (DATABASE_URL)")
}

fn places(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
