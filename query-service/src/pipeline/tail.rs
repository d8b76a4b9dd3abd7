//! Wanted events after a point, one after the other, for somebody who watches.
//!
//! Owns: reading them from the recent events, and older ones from a feed of its own until the recent ones reach back far
//! enough. It must not know who watches.
//! What can go wrong: see [`Stop`].

use std::collections::VecDeque;
use std::sync::Arc;

use proto::{Revision, Token};
use tokio::sync::watch;

use super::feed::{Feed, Mark, Sources, Stop};
use super::{Filter, Recent};

/// Recent events looked at under one lock.
const LOOKED_AT: usize = 256;

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
    /// Reads what the recent events do not have.
    past: Option<Feed>,
}

impl Tail {
    /// Reads the events after a token.
    pub fn after(after: Token, filter: Filter, recent: Arc<Recent>, sources: Sources) -> Self {
        let follow = recent.subscribe();
        Self {
            recent,
            sources,
            filter: filter.sorted(),
            follow,
            read: after,
            waiting: VecDeque::new(),
            past: None,
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
        self.past.is_none()
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
        let feed = self.past.get_or_insert_with(|| Feed::after(Mark::at(self.read), self.sources.clone()));
        let arrival = feed.next().await?;
        let event = &arrival.event;
        self.read = Token::new(event.epoch, event.revision);
        if self.filter.wants(event.verb, event.actor, event.edges.iter().map(|change| change.key.target)) {
            self.waiting.push_back((event.revision, arrival.payload));
        }
        Ok(())
    }

    async fn changed(&mut self) {
        // The sender lives as long as `recent`.
        let _ = self.follow.changed().await;
    }
}
