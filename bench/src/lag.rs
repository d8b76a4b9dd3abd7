//! Lag from the answer of a write until Neo4j shows it, at 200 follows per second.
//!
//! Measured from outside, as the time between the answer and the projector's announcement of the revision.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use futures::StreamExt as _;
use prost::Message as _;
use proto::events::v1::ProjectorAnnouncement;
use proto::{Token, subjects};
use tests::{Endpoints, clients};
use tokio::sync::mpsc;

use crate::load;
use crate::report::Report;

const PER_SECOND: u32 = 200;

/// An open loop: a write every 5 ms, whether or not the previous one is visible.
pub async fn at_200_per_second(endpoints: &Endpoints, time: Duration, report: &mut Report) -> Result<()> {
    let mut announcements = endpoints.nats().await.subscribe(subjects::PROJECTORS_WILDCARD).await?;
    let (written, mut waiting) = mpsc::unbounded_channel();
    let total = PER_SECOND * time.as_secs() as u32;
    let writer = tokio::spawn({
        let commands = endpoints.commands();
        async move {
            let mut ticks = tokio::time::interval(Duration::from_secs(1) / PER_SECOND);
            for _ in 0..total {
                ticks.tick().await;
                let (mut commands, written) = (commands.clone(), written.clone());
                tokio::spawn(async move {
                    let answer = clients::follow(&mut commands, &tests::new_user(), &tests::new_user()).await;
                    let revision =
                        answer.ok().and_then(|a| Token::parse(&a.written_at).ok()).map(|t| t.revision);
                    // The reader ends only when all writers have.
                    let _ = written.send((revision, Instant::now()));
                });
            }
        }
    });
    let mut latencies = load::histogram();
    let mut open: Vec<(u64, Instant)> = Vec::new();
    let mut visible = 0;
    while latencies.len() < u64::from(total) {
        tokio::select! {
            Some((revision, at)) = waiting.recv() => {
                let revision = revision.context("a follow failed")?.0;
                // The announcement arrived before the answer: no lag.
                if revision <= visible { latencies.record(0)? } else { open.push((revision, at)) }
            }
            Some(message) = announcements.next() => {
                visible = visible.max(ProjectorAnnouncement::decode(message.payload)?.visible);
                for (_, at) in open.extract_if(.., |(revision, _)| *revision <= visible) {
                    latencies.record(at.elapsed().as_micros() as u64)?;
                }
            }
        }
    }
    writer.await?;
    let outcome = load::Outcome { rate: f64::from(PER_SECOND), latencies };
    report.add("lag: written to visible, 200 follows/s", 1, &outcome, None);
    Ok(())
}
