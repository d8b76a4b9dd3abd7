//! Sends the heartbeat of the head twice a second, and the signals of commits.
//!
//! Listeners tell an idle system from a dead relay by it. Reading the head is also how this process knows that the
//! database answers.

use std::time::Duration;

use event_log::heartbeat::{self, Heartbeat};
use prost::Message as _;
use proto::events::v1::Committed;
use proto::{Revision, Token, subjects, timestamp};
use service_kit::postgres::{NoSession, check_sessions, problem, says_no_session};
use service_kit::telemetry::chain;
use service_kit::{Latch, nats::Nats};
use sqlx::PgPool;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::metrics;
use crate::relay::Standing;
use crate::store::head::{self, Head};

const PERIOD: Duration = Duration::from_millis(500);
/// Shorter than the period is not needed: what takes longer is as good as down.
const PATIENCE: Duration = Duration::from_secs(2);

/// Sends beacons until `stop`.
pub async fn run(
    pool: PgPool,
    nats: Nats,
    standing: watch::Receiver<Standing>,
    latch: Latch,
    stop: CancellationToken,
) -> Result<(), sqlx::Error> {
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The sessions were looked at before the start. What comes back after an outage may be another pooler.
    let mut doubted = false;
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = stop.cancelled() => return Ok(()),
        }
        let outcome = tokio::time::timeout(PATIENCE, read(&pool)).await;
        let answers = matches!(outcome, Ok(Ok(_)));
        if answers && doubted {
            doubted = !sessions_are_kept(&pool).await;
        }
        doubted |= !answers;
        match outcome {
            Ok(Ok(_)) if doubted => latch.not_ready(&NoSession.to_string()),
            Ok(Ok(head)) => {
                latch.ready();
                ::metrics::gauge!(metrics::HEAD_REVISION).set(head.revision.0 as f64);
                // A copy of a database must not speak for its epoch on the NATS of the original: readers there would
                // take that for the newer history.
                let speaks = standing.borrow().speaks_for == Some(head.epoch);
                let said = if speaks { head.token() } else { Token::new(heartbeat::PROBE, Revision::ZERO) };
                let sent_at = timestamp::to_proto(head.now);
                heartbeat::send(&nats, &Heartbeat { head: said, sent_at }).await;
            }
            Ok(Err(error)) => {
                tracing::debug!(error = %chain(&error), "cannot read the head");
                latch.not_ready(&problem(&error));
            }
            Err(_) => latch.not_ready("PostgreSQL does not answer in time"),
        }
    }
}

/// Whether each connection keeps its session (a pooler in transaction mode does not). An error counts as yes: reading the
/// head reports an outage.
async fn sessions_are_kept(pool: &PgPool) -> bool {
    !check_sessions(pool).await.is_err_and(|error| says_no_session(&error))
}

/// Reads the head.
async fn read(pool: &PgPool) -> Result<Head, sqlx::Error> {
    head::get(&mut *service_kit::postgres::acquire(pool).await?).await
}

/// Tells the relay's leader, wherever it is, of each commit of this process; wakes
/// the relay of this process on commits of others.
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
                // The leader polls behind this signal. Without a connection the client would keep it, and wait once
                // it holds many.
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
