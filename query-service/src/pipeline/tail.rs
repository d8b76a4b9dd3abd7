//! Wanted events after a point, one after the other, for somebody who watches.
//!
//! Owns: reading them from the recent events, and older ones from a feed of its own until the recent ones reach back far
//! enough. It must not know who watches.
//! What can go wrong: see [`Stop`].

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use proto::{Revision, Token};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;

use super::feed::{Feed, Mark, Sources, Stop};
use super::{Filter, Recent};

/// Recent events looked at under one lock.
const LOOKED_AT: usize = 256;
/// How many read the past at a time. Each has some of its events in memory, and an event of an import may have 200 kB.
pub const TURNS: usize = 8;
/// How long one reads before it is the next one's turn.
const TURN: Duration = Duration::from_secs(10);

/// Reads what the recent events do not have.
#[derive(Debug)]
struct Past {
    feed: Feed,
    until: Instant,
    _turn: OwnedSemaphorePermit,
}

/// Wanted events after a point.
#[derive(Debug)]
pub struct Tail {
    recent: Arc<Recent>,
    sources: Sources,
    filter: Filter,
    follow: watch::Receiver<Option<Token>>,
    /// All events up to here were given out, are waiting, or were not wanted.
    read: Token,
    waiting: VecDeque<(Revision, Arc<[u8]>)>,
    /// What is next is not among the recent events.
    is_behind: bool,
    /// There while it is its turn to read that.
    past: Option<Past>,
    turns: Arc<Semaphore>,
}

impl Tail {
    /// Reads the events after a token; `turns` are shared by all of them, see [`TURNS`].
    pub fn after(
        after: Token,
        filter: Filter,
        recent: Arc<Recent>,
        sources: Sources,
        turns: Arc<Semaphore>,
    ) -> Self {
        let follow = recent.subscribe();
        Self {
            recent,
            sources,
            filter: filter.sorted(),
            follow,
            read: after,
            waiting: VecDeque::new(),
            is_behind: false,
            past: None,
            turns,
        }
    }

    /// All events up to here were given out or were not wanted.
    pub fn done(&self) -> Token {
        match self.waiting.front() {
            Some((next, _)) => Token::new(self.read.epoch, Revision(next.0 - 1)),
            None => self.read,
        }
    }

    /// True while events come from memory.
    pub fn is_live(&self) -> bool {
        !self.is_behind
    }

    /// Waits for the next event that is wanted. Nothing is lost if this is given up.
    pub async fn next(&mut self) -> Result<(Token, Arc<[u8]>), Stop> {
        loop {
            if let Some((revision, payload)) = self.waiting.pop_front() {
                return Ok((Token::new(self.read.epoch, revision), payload));
            }
            if self.recent.position().is_some_and(|position| position.epoch > self.read.epoch) {
                return Err(Stop::OtherEpoch);
            }
            // Seen before the look, so that what comes after it wakes us.
            self.follow.mark_unchanged();
            let excerpt = self.recent.ring().excerpt(self.read, &self.filter, LOOKED_AT);
            match excerpt {
                Some(excerpt) => {
                    self.is_behind = false;
                    self.past = None;
                    if excerpt.upto > self.read.revision {
                        self.read.revision = excerpt.upto;
                        self.waiting.extend(excerpt.events);
                    } else {
                        self.changed().await;
                    }
                }
                // It has read less than we have, or nothing yet.
                None if self.recent.position().is_none_or(|position| position < self.read) => {
                    self.changed().await;
                }
                None => self.read_past().await?,
            }
        }
    }

    /// Takes the next event of the past.
    async fn read_past(&mut self) -> Result<(), Stop> {
        self.is_behind = true;
        let arrival = self.turn().await.next().await?;
        let event = &arrival.event;
        self.read = Token::new(event.epoch, event.revision);
        if self.filter.wants(event.verb, event.actor, event.edges.iter().map(|change| change.key.target)) {
            self.waiting.push_back((event.revision, arrival.payload));
        }
        Ok(())
    }

    /// The feed, once it is its turn.
    async fn turn(&mut self) -> &mut Feed {
        let past = match self.past.take().filter(|past| Instant::now() < past.until) {
            Some(past) => past,
            None => {
                let Ok(turn) = Arc::clone(&self.turns).acquire_owned().await else {
                    // Nobody closes it.
                    return std::future::pending().await;
                };
                let feed = Feed::after(Mark::at(self.read), self.sources.clone());
                Past { feed, until: Instant::now() + TURN, _turn: turn }
            }
        };
        &mut self.past.insert(past).feed
    }

    async fn changed(&mut self) {
        // The sender lives as long as `recent`.
        let _ = self.follow.changed().await;
    }
}
