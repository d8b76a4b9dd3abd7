//! Loads whom frequent viewers follow, in parts, from one replica.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use proto::UserId;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::not_loaded;
use crate::hot::load::{Content, Load};
use crate::hot::{Key, Origin};
use crate::neo4j::Neo4jReader;
use crate::queries::{Error, Versioned};
use crate::recent::{LoadOutcome, Recent};
use crate::replicas::{Breaker, Replica};

/// Ids of one statement: as many rows as one place at the replica stands for.
const PART: usize = 1_000;
/// Ids per second, so that the loader takes a small part of the replica's time.
const IDS_PER_SECOND: u32 = 20_000;
/// A statement of few ids costs as much as this number of ids.
const STATEMENT: usize = 100;
/// Timeout of a statement.
const TIMEOUT: Duration = Duration::from_secs(2);
/// A set that is too large is not tried again for this time.
const TOO_LARGE: Duration = Duration::from_secs(600);
/// The same after a load, which may be refused.
const SENT: Duration = Duration::from_secs(10);
/// The same after an error.
const FAILED: Duration = Duration::from_secs(10);
/// Maximum number of accounts that are remembered for that.
const MOST_DECLINED: usize = 10_000;

/// Loads sets of accounts from one replica.
pub struct Loader {
    pub reader: Neo4jReader,
    /// Number of the replica.
    pub number: usize,
    pub replica: Arc<Replica>,
    pub breaker: Arc<Breaker>,
    pub recent: Arc<Recent>,
    pub wanted: mpsc::Receiver<UserId>,
    pub loads: mpsc::Sender<Load>,
}

impl Loader {
    /// Loads until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.load() => {}
        }
    }

    async fn load(&mut self) {
        let mut declined: HashMap<UserId, Instant> = HashMap::new();
        while let Some(user) = self.wanted.recv().await {
            let now = Instant::now();
            if declined.get(&user).is_some_and(|until| now < *until) || !self.is_worthwhile(user) {
                continue;
            }
            let pause = match self.followed(user).await {
                Ok(Some(load)) => {
                    // The receiver counts the outcome.
                    let _ = self.loads.send(load).await;
                    SENT
                }
                Ok(None) => {
                    not_loaded(LoadOutcome::TooLarge.name());
                    TOO_LARGE
                }
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::debug!(error, replica = &**self.replica.projector(), "a load failed");
                    not_loaded("failed");
                    FAILED
                }
            };
            if declined.len() >= MOST_DECLINED {
                declined.retain(|_, until| now < *until);
            }
            if declined.len() < MOST_DECLINED {
                declined.insert(user, now + pause);
            }
        }
    }

    /// False if the set is there already, or the load would be refused.
    fn is_worthwhile(&self, user: UserId) -> bool {
        let world = self.recent.world();
        let is_there = world.hot().is_none_or(|(_, hot)| hot.has(Key::Ids(user)));
        let covers = self.replica.visible().is_some_and(|visible| world.covers(visible));
        !is_there && covers && self.breaker.open().is_none()
    }

    /// The accounts that an account follows; `None` if they are too many.
    async fn followed(&self, user: UserId) -> Result<Option<Load>, Error> {
        let max_ids = self.recent.world().hot().map_or(0, |(_, hot)| hot.max_ids());
        let (mut ids, mut whole) = (Vec::new(), None);
        loop {
            let after = ids.last().copied();
            let (part, bounds) = self.reader.followed(user, after, PART, TIMEOUT).await?.split();
            whole = Some(Versioned::joined(whole, bounds)?);
            ids.extend_from_slice(&part);
            let cost = u32::try_from(part.len().max(STATEMENT)).unwrap_or(u32::MAX);
            tokio::time::sleep(Duration::from_secs(1) * cost / IDS_PER_SECOND).await;
            if ids.len() > max_ids {
                return Ok(None);
            }
            if part.len() < PART {
                break;
            }
        }
        let load = whole.and_then(|whole| {
            let origin = Origin { replica: self.number, generation: whole.origin.generation? };
            Some(Load { content: Content::Ids(user, ids), as_of: whole.as_of, target: whole.target, origin })
        });
        load.map(Some).ok_or_else(|| Error::failed("the replica was repaired meanwhile"))
    }
}
