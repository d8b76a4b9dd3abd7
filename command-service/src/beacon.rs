//! Sends the heartbeat of the head twice a second, and signals of commits.
//!
//! Heartbeats distinguish an idle system from a relay that is down. Reading the head is also the readiness check
//! `postgres`.

use std::time::Duration;

use event_log::heartbeat::{self, Heartbeat};
use prost::Message as _;
use proto::events::v1::Committed;
use proto::{Revision, Token, subjects, timestamp};
use service_kit::postgres::{SharedSession, check_sessions, is_shared_session, problem};
use service_kit::telemetry::chain;
use service_kit::{Latch, nats::Nats};
use sqlx::PgPool;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::metrics;
use crate::relay::StreamStatus;
use crate::store::head::{self, Head};

const PERIOD: Duration = Duration::from_millis(500);
/// After this timeout the check fails. It may exceed the period: heartbeats are skipped meanwhile.
const READ_TIMEOUT: Duration = Duration::from_secs(2);

/// Sends heartbeats until `stop`, and updates the check `postgres`.
pub async fn run(
    pool: PgPool,
    nats: Nats,
    stream: watch::Receiver<StreamStatus>,
    latch: Latch,
    stop: CancellationToken,
) -> sqlx::Result<()> {
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // Sessions were checked before the start. After an outage, another pooler may answer.
    let mut doubted = false;
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = stop.cancelled() => return Ok(()),
        }
        let outcome = tokio::time::timeout(READ_TIMEOUT, read(&pool)).await;
        let answers = matches!(outcome, Ok(Ok(_)));
        if answers && doubted {
            doubted = !sessions_are_kept(&pool).await;
        }
        doubted |= !answers;
        match outcome {
            Ok(Ok(_)) if doubted => latch.not_ready(&SharedSession.to_string()),
            Ok(Ok(head)) => {
                latch.ready();
                ::metrics::gauge!(metrics::HEAD_REVISION).set(head.revision.0 as f64);
                // A copy of a database must not speak for its epoch on the NATS of the original: readers there would
                // take it for the newer history.
                let speaks = stream.borrow().speaks_for == Some(head.epoch);
                let announced =
                    if speaks { head.token() } else { Token::new(heartbeat::PROBE, Revision::ZERO) };
                let sent_at = timestamp::to_proto(head.now);
                heartbeat::send(&nats, &Heartbeat { head: announced, sent_at }).await;
            }
            Ok(Err(error)) => {
                tracing::debug!(error = %chain(&error), "cannot read the head");
                latch.not_ready(&problem(&error));
            }
            Err(_) => latch.not_ready("PostgreSQL does not answer in time"),
        }
    }
}

/// Whether connections keep their sessions; with a pooler in transaction mode they do not. Any other error counts as
/// yes: reading the head reports outages.
async fn sessions_are_kept(pool: &PgPool) -> bool {
    !check_sessions(pool).await.is_err_and(|error| is_shared_session(&error))
}

async fn read(pool: &PgPool) -> sqlx::Result<Head> {
    head::get(&mut *service_kit::postgres::acquire(pool).await?).await
}

/// Signals each commit of this process to all others, for the relay's leader; wakes the relay of this process on
/// commits of any process.
pub async fn exchange(
    nats: Nats,
    mut ours: watch::Receiver<Token>,
    wake: watch::Sender<Token>,
    stop: CancellationToken,
) -> Result<(), async_nats::SubscribeError> {
    use futures::StreamExt as _;
    let mut theirs = nats.client.subscribe(subjects::COMMITTED).await?;
    loop {
        tokio::select! {
            changed = ours.changed() => {
                if changed.is_err() { break }
                let token = *ours.borrow_and_update();
                wake.send_replace(token);
                let committed = Committed { epoch: token.epoch.0, revision: token.revision.0 };
                // The leader polls as well. While disconnected, the client would buffer signals, and block when the
                // buffer is full.
                if nats.is_connected() {
                    let _ = nats.client.publish(subjects::COMMITTED, committed.encode_to_vec().into()).await;
                }
            }
            Some(message) = theirs.next() => {
                if let Ok(committed) = Committed::decode(message.payload) {
                    wake.send_replace(Token::new(proto::Epoch(committed.epoch), proto::Revision(committed.revision)));
                }
            }
            () = stop.cancelled() => break,
        }
    }
    Ok(())
}
