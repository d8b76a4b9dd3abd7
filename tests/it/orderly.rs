//! The contract with an orchestrator: `/readyz` is false exactly while a process cannot serve, and SIGTERM under load
//! loses nothing.

mod streams;

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use devstack::env_file::Env;
use devstack::services::Service;
use devstack::{Server as _, http};
use proto::query::v1::Source;
use proto::{Epoch, Revision, Token};
use tests::clients::{check, consistent, follow, fresh, was_never_sent};
use tests::own::{Victim, binaries};
use tests::{Act, Ask, Commands, Own, Queries, new_user, truth, until, users};
use time::OffsetDateTime;
use tokio::sync::watch;
use tokio::task::block_in_place;
use tonic::{Code, Status};

/// Set when the load must end.
type Over = Arc<AtomicBool>;

/// Number of successful calls.
type Answered = Arc<AtomicUsize>;

/// `DATABASE_LOCK_TIMEOUT_MILLIS` and `COMMIT_RETRY_TIMEOUT_MILLIS` of the set that loses its servers: shorter than the
/// defaults, for which it would wait several times.
const LOCK_TIMEOUT: Duration = Duration::from_secs(2);
/// Longer than `SHUTDOWN_DEADLINE_SECONDS`: a busy machine needs more.
const STOP: Duration = Duration::from_secs(30);
/// Minimum number of answered writes, and of reads, between two stops.
const BETWEEN_STOPS: usize = 50;

#[tokio::test(flavor = "multi_thread")]
async fn ready_is_exactly_what_can_serve() {
    let millis = LOCK_TIMEOUT.as_millis().to_string();
    let settings = Env::default()
        .with("DATABASE_LOCK_TIMEOUT_MILLIS", &millis)
        .with("COMMIT_RETRY_TIMEOUT_MILLIS", &millis);
    let mut own = Own::light().start_with(settings).await;
    let endpoints = own.endpoints.clone();
    let (mut commands, mut queries) = (endpoints.commands(), endpoints.queries());
    let (a, b) = (new_user(), new_user());
    let written = follow(&mut commands, &a, &b).await.expect("a follow").written_at;
    truth::wait_caught_up(&endpoints).await;
    truth::wait_answering(&endpoints).await;

    // Without NATS all three serve: commits wait in the outbox, from which they are read.
    own.kill(Victim::Nats);
    let c = new_user();
    assert!(follow(&mut commands, &a, &c).await.expect("a commit").changed);
    own.kill(Victim::Command);
    own.revive(Victim::Command);
    becomes(&own.pipeline.command, true, "").await;
    let last = tests::importing::retried(|| {
        let (mut commands, a) = (commands.clone(), a.clone());
        async move { follow(&mut commands, &a, &new_user()).await }
    })
    .await
    .written_at;
    stays(&own.pipeline.projector, true);
    assert!(check(&mut queries, &a, &c, fresh(&last)).await.expect("an answer").following);
    stays(&own.pipeline.query, true);

    // Without PostgreSQL there are no commits; Neo4j still answers.
    own.kill(Victim::Postgres);
    becomes(&own.pipeline.command, false, "postgres").await;
    assert!(follow(&mut commands, &a, &new_user()).await.is_err(), "and a write is refused");
    until("an answer of the read model", || answer(queries.clone(), &a, &b, Source::Neo4j)).await;
    stays(&own.pipeline.query, true);
    stays(&own.pipeline.projector, true);
    // Also a projector that starts meanwhile: its read model is as complete as before.
    own.kill(Victim::Projector);
    own.revive(Victim::Projector);
    becomes(&own.pipeline.projector, true, "").await;
    until("an answer of the read model", || answer(queries.clone(), &a, &b, Source::Neo4j)).await;

    // Without both, no store can answer.
    own.kill(Victim::Neo4j);
    becomes(&own.pipeline.query, false, "stores").await;
    assert!(check(&mut queries, &a, &b, None).await.is_err(), "and a read is refused");
    becomes(&own.pipeline.projector, false, "complete").await;

    // With PostgreSQL alone, writes and reads continue; a lost read model is not complete.
    own.revive(Victim::Postgres);
    becomes(&own.pipeline.command, true, "").await;
    becomes(&own.pipeline.query, true, "").await;
    until("an answer of PostgreSQL", || answer(queries.clone(), &a, &b, Source::Postgres)).await;
    stays(&own.pipeline.projector, false);

    // An empty read model is incomplete until the sweep has read all of PostgreSQL.
    block_in_place(|| own.servers.neo4j.wipe()).expect("its data is removed");
    own.kill(Victim::Postgres);
    own.revive(Victim::Neo4j);
    becomes(&own.pipeline.projector, false, "complete").await;
    own.revive(Victim::Postgres);
    becomes(&own.pipeline.projector, true, "").await;
    own.revive(Victim::Nats);
    own.wait_ready();
    a_lock_that_is_not_given_back(&mut own).await;
    a_schema_that_is_not_there_yet(&mut own).await;
    a_migration_waits(&mut own).await;
    assert!(check(&mut queries, &a, &b, fresh(&written)).await.expect("an answer").following);
    truth::assert_agreement(&endpoints, 2).await;
}

/// A PostgreSQL that answers but does not commit is not enough.
async fn a_lock_that_is_not_given_back(own: &mut Own) {
    let pool = own.endpoints.postgres().await;
    let soon = OffsetDateTime::now_utc() + Duration::from_secs(1);
    let [a, b] = users();
    Ask::new(Act::Mute, a, b).until(soon).done(&own.endpoints.commands()).await;
    let mut lock = pool.begin().await.expect("a transaction");
    sqlx::query("SELECT FROM log_head FOR UPDATE").execute(&mut *lock).await.expect("the lock");
    becomes(&own.pipeline.command, false, "commits").await;
    // Longer than the statement's lock timeout, so that waits fail and are not only slow.
    let mut commands = own.endpoints.commands();
    let begun = Instant::now();
    while begun.elapsed() < LOCK_TIMEOUT * 2 {
        let refused =
            follow(&mut commands, &new_user(), &new_user()).await.expect_err("nothing is committed");
        assert!(matches!(refused.code(), Code::Unavailable | Code::DeadlineExceeded), "{refused:?}");
    }
    lock.rollback().await.expect("it is given back");
    becomes(&own.pipeline.command, true, "").await;
    // None of its connections is left in a transaction: neither those of commands nor those of the worker.
    for _ in 0..5 {
        assert!(follow(&mut commands, &new_user(), &new_user()).await.expect("a commit").changed);
    }
    until("the mute to run out", || async {
        let left: i64 =
            sqlx::query_scalar("SELECT count(*) FROM mutes").fetch_one(&pool).await.expect("a number");
        if left == 0 { Ok(()) } else { Err(format!("{left} left")) }
    })
    .await;
}

/// Services that start before the schema is migrated wait for it.
async fn a_schema_that_is_not_there_yet(own: &mut Own) {
    let pool = own.endpoints.postgres().await;
    let rename = "ALTER TABLE _sqlx_migrations RENAME TO elsewhere";
    sqlx::query(rename).execute(&pool).await.expect("no version is known");
    for victim in [Victim::Command, Victim::Projector] {
        own.kill(victim);
        own.revive(victim);
    }
    becomes(&own.pipeline.command, false, "postgres").await;
    becomes(&own.pipeline.projector, false, "read model").await;
    let back = "ALTER TABLE elsewhere RENAME TO _sqlx_migrations";
    sqlx::query(back).execute(&pool).await.expect("the version is known");
    own.wait_ready();
}

/// A migration that starts before its server waits for it.
async fn a_migration_waits(own: &mut Own) {
    own.kill(Victim::Postgres);
    let mut cli = devstack::services::cli(&binaries(), &own.pipeline.client_env);
    let migrate = cli.args(["migrate", "--wait", "60"]).stderr(Stdio::piped()).stdout(Stdio::null());
    let mut migrate = migrate.spawn().expect("the CLI runs");
    let mut first = String::new();
    let mut said = BufReader::new(migrate.stderr.take().expect("a pipe"));
    block_in_place(|| said.read_line(&mut first)).expect("it says why it waits");
    assert!(first.starts_with("waiting: cannot connect to PostgreSQL"), "{first}");
    own.revive(Victim::Postgres);
    let ended = block_in_place(|| {
        std::io::copy(&mut said, &mut std::io::sink())?;
        migrate.wait()
    });
    assert!(ended.expect("it ends").success());
    own.wait_ready();
}

/// Waits until `/readyz` has this status and, if it is false, this failed check.
async fn becomes(service: &Service, ready: bool, because: &str) {
    until(&format!("{} to be ready: {ready}", service.name()), || async {
        let answer =
            block_in_place(|| http::get(service.admin_addr(), "/readyz")).map_err(|e| e.to_string())?;
        let wanted =
            if ready { answer.status == 200 } else { answer.status == 503 && names(&answer.body, because) };
        if wanted { Ok(()) } else { Err(format!("{}: {}", answer.status, answer.body)) }
    })
    .await;
}

/// True if this check fails.
fn names(body: &str, check: &str) -> bool {
    let report: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
    let checks = report["checks"].as_array().cloned().unwrap_or_default();
    checks.iter().any(|found| found["name"] == check && found["ready"] == false)
}

fn stays(service: &Service, ready: bool) {
    let answer =
        block_in_place(|| http::get(service.admin_addr(), "/readyz")).expect("the admin port answers");
    assert_eq!(answer.status == 200, ready, "{}: {}", service.name(), answer.body);
}

async fn answer(mut queries: Queries, a: &str, b: &str, wanted: Source) -> Result<(), String> {
    let seen = check(&mut queries, a, b, None).await.map_err(|status| status.to_string())?;
    if !seen.following {
        return Err("it has not seen the follow".to_owned());
    }
    if seen.source() == wanted { Ok(()) } else { Err(format!("{:?} answered", seen.source())) }
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_under_load_loses_nothing() {
    let mut own = Own::start().await;
    let over = Arc::new(AtomicBool::new(false));
    let (written, read) = (Answered::default(), Answered::default());
    let write = |_| tokio::spawn(write_until(own.endpoints.commands(), over.clone(), written.clone()));
    let writers: Vec<_> = (0..4).map(write).collect();
    let reader = |_| tokio::spawn(read_until(own.endpoints.queries(), over.clone(), read.clone()));
    let readers: Vec<_> = (0..2).map(reader).collect();
    let imported = streams::Imported::default();
    let (commands, queries) = (own.endpoints.commands(), own.endpoints.queries());
    let importer = tokio::spawn(streams::import_until(commands, over.clone(), imported.clone()));
    let exporter = tokio::spawn(streams::export_until(queries.clone(), over.clone(), imported.clone()));
    let (end, ends) = watch::channel(None);
    let watcher = tokio::spawn(streams::watch_until(queries, Token::new(Epoch(1), Revision::ZERO), ends));

    for _ in 0..2 {
        for victim in [Victim::Command, Victim::Query, Victim::Projector] {
            let answered = || [&written, &read].map(|count| count.load(Ordering::SeqCst));
            let before = answered();
            until("calls to be under way", || async {
                let now = answered();
                let enough = now.iter().zip(before).all(|(now, before)| *now >= before + BETWEEN_STOPS);
                if enough { Ok(()) } else { Err(format!("{now:?} writes and reads after {before:?}")) }
            })
            .await;
            stop(&mut own, victim);
            own.revive(victim);
            own.wait_ready();
        }
    }
    over.store(true, Ordering::SeqCst);
    let mut outcomes = Outcomes::default();
    for writer in writers {
        outcomes.extend(writer.await.expect("a writer succeeds"));
    }
    let mut answered = 0;
    for reader in readers {
        answered += reader.await.expect("a reader succeeds");
    }
    importer.await.expect("an import succeeds");
    let exports = exporter.await.expect("exports succeed");

    let follows = truth::assert_agreement(&own.endpoints, 20).await;
    let head = truth::head(&own.endpoints).await;
    end.send_replace(Some(head));
    let watched = watcher.await.expect("a watch continues");
    assert_eq!(watched, (1..=head.0).map(Revision).collect::<Vec<_>>(), "every event once and in order");
    let imported = std::mem::take(&mut *imported.lock());
    assert!(imported.len() > 100 && exports > 1, "{} imported edges and {exports} exports", imported.len());
    for pair in &imported {
        assert!(follows.contains_key(pair), "{pair:?} was imported");
    }
    let (done, refused): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(|(_, done)| *done);
    assert!(done.len() > 100 && answered > 100, "{} writes and {answered} reads", done.len());
    for (pair, _) in &done {
        assert!(follows.contains_key(pair), "{pair:?} was acknowledged");
    }
    // A stop that lets calls finish leaves no outcome unknown.
    for (pair, _) in &refused {
        assert!(!follows.contains_key(pair), "{pair:?} was done and never answered");
    }
    assert_eq!(follows.len(), done.len() + imported.len(), "the acknowledged follows, and no others");
    println!(
        "{} writes, {} refused, {answered} reads, {} imported edges, {exports} exports, {} events watched",
        done.len(),
        refused.len(),
        imported.len(),
        watched.len()
    );
}

/// Sends SIGTERM. The process must end in time, with exit code 0.
fn stop(own: &mut Own, victim: Victim) {
    let service = match victim {
        Victim::Command => &mut own.pipeline.command,
        Victim::Query => &mut own.pipeline.query,
        Victim::Projector => &mut own.pipeline.projector,
        server => unreachable!("{server:?} is no service"),
    };
    let ended = block_in_place(|| {
        service.sigterm()?;
        service.wait_exit(STOP)
    });
    let status =
        ended.expect("its status is readable").unwrap_or_else(|| panic!("{victim:?} does not stop in time"));
    assert!(status.success(), "{victim:?} stops with {status}\n{}", service.log_tail(20));
}

/// Pairs, and whether their follow was acknowledged.
type Outcomes = BTreeMap<(String, String), bool>;

/// Sends follows without a request_id, each once.
async fn write_until(mut commands: Commands, over: Over, written: Answered) -> Outcomes {
    let mut outcomes = Outcomes::new();
    let actor = new_user();
    while !over.load(Ordering::SeqCst) {
        let target = new_user();
        let done = match follow(&mut commands, &actor, &target).await {
            Ok(answer) => {
                assert!(answer.changed, "a follow of a new pair");
                written.fetch_add(1, Ordering::SeqCst);
                true
            }
            Err(status) => {
                assert!(is_away(&status), "{status:?}");
                tokio::time::sleep(Duration::from_millis(10)).await;
                false
            }
        };
        outcomes.insert((actor.clone(), target), done);
    }
    outcomes
}

/// True if the error shows that the service stops or has stopped.
fn is_away(status: &Status) -> bool {
    was_never_sent(status) || status.code() == Code::Unavailable
}

/// Reads, some from the read model and some from PostgreSQL; returns the number of answered ones.
async fn read_until(mut queries: Queries, over: Over, read: Answered) -> usize {
    let (a, b) = (new_user(), new_user());
    let mut answered = 0;
    while !over.load(Ordering::SeqCst) {
        let consistency = if answered % 8 == 0 { consistent() } else { None };
        match check(&mut queries, &a, &b, consistency).await {
            Ok(answer) => {
                assert!(!answer.following, "the accounts are new");
                answered += 1;
                read.fetch_add(1, Ordering::SeqCst);
            }
            Err(status) => {
                // Beyond the budget of PostgreSQL a read is rejected, too, and may be retried.
                let refused = status.code() == Code::ResourceExhausted;
                assert!(refused || is_away(&status), "{status:?}");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
    answered
}
