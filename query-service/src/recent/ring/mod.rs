//! The recent events in memory: a contiguous part of the history, limited in number and bytes, that returns the changes
//! of an account since a revision.
//!
//! An event that is not the next one is rejected: a ring with a gap would give wrong answers.
//!
//! The changes of one account form a chain: each contains the number of the previous one, and a map contains the
//! newest. So a change costs the same no matter how many its account has, and dropping the oldest event costs only its
//! own changes.

mod filter;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use event_log::LoggedEvent;
use proto::event::{AccountCounts, EdgeChange, EdgeKey, EdgeKind, EdgeOp, Verb};
use proto::{Position, Revision, Token, UserId, timestamp};
use time::OffsetDateTime;

pub use self::filter::Filter;
use crate::queries::{Link, Side};

/// A change of one edge, from the side of one of its ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Touched {
    /// The account at the other end.
    pub other: UserId,
    /// The edge after the change; `None` if it was removed.
    pub left: Option<Link>,
}

/// The account has too many changes to apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany;

/// Limits of a ring. The oldest events are dropped first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Number of events.
    pub events: usize,
    /// Approximate number of bytes.
    pub bytes: usize,
}

/// Limits of an excerpt. Its first event may exceed them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExcerptLimits {
    /// Number of events checked.
    pub events: usize,
    /// Number of changes in the events checked: a filter looks at the target of each.
    pub changes: usize,
    /// Number of bytes of the wanted events.
    pub bytes: usize,
}

/// The event does not follow the newest one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("revision {0} is not the next one")]
pub struct NotNext(Revision);

/// A result of reading the ring in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Excerpt {
    /// The wanted events.
    pub events: Vec<(Revision, Arc<[u8]>)>,
    /// All events up to here were checked.
    pub upto: Revision,
}

/// Approximate size of an event without its changes, in bytes.
const EVENT_BYTES: usize = size_of::<Record>() + 32;
/// Size of a change in bytes: itself, and its two entries in the map of ends, which is never quite full.
const CHANGE_BYTES: usize = size_of::<Change>() + 2 * 48;
/// Size of an account's counts in bytes, in a map that is never quite full.
const COUNTS_BYTES: usize = 2 * size_of::<AccountCounts>() + size_of::<UserId>();

/// The number of a change; never reused. 0 stands for none.
type Number = u64;

#[derive(Debug)]
struct Record {
    revision: Revision,
    verb: Verb,
    actor: Option<UserId>,
    committed_at: OffsetDateTime,
    payload: Arc<[u8]>,
    /// Number of its first change.
    first: Number,
    changes: usize,
    counted: Box<[UserId]>,
    bytes: usize,
}

#[derive(Debug)]
struct Change {
    source: UserId,
    target: UserId,
    kind: EdgeKind,
    revision: Revision,
    left: Option<(Position, i64, Option<i64>)>,
    /// The previous change on the source's side.
    before_at_source: Number,
    /// The previous change on the target's side.
    before_at_target: Number,
}

/// The recent events.
#[derive(Debug)]
pub struct Ring {
    limits: Limits,
    /// False while an event is being added: after a panic half-way the ring has no position, and answers nothing.
    whole: bool,
    /// The newest event that the ring contains or has contained.
    position: Option<Token>,
    /// All events after this revision are in the ring.
    floor: Revision,
    records: VecDeque<Record>,
    changes: VecDeque<Change>,
    /// The number of the oldest change in the ring, or of the next one.
    first: Number,
    newest: HashMap<(UserId, Side), Number>,
    counts: HashMap<UserId, (Revision, AccountCounts)>,
    bytes: usize,
}

impl Ring {
    /// Has no position until [`Self::begin`].
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            whole: true,
            position: None,
            floor: Revision::ZERO,
            records: VecDeque::new(),
            changes: VecDeque::new(),
            first: 1,
            newest: HashMap::new(),
            counts: HashMap::new(),
            bytes: 0,
        }
    }

    /// Clears the ring and restarts after this position.
    pub fn begin(&mut self, at: Token) {
        *self = Self { position: Some(at), floor: at.revision, ..Self::new(self.limits) };
    }

    /// Clears the ring and its position.
    pub fn forget(&mut self) {
        *self = Self::new(self.limits);
    }

    /// The newest revision.
    pub fn position(&self) -> Option<Token> {
        self.position.filter(|_| self.whole)
    }

    /// Number of events in the ring.
    pub fn events(&self) -> usize {
        self.records.len()
    }

    /// Approximate memory of the events, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Time from the oldest to the newest event in the ring, by PostgreSQL's clock.
    pub fn span(&self) -> Duration {
        let span = self
            .records
            .back()
            .zip(self.records.front())
            .map(|(new, old)| new.committed_at - old.committed_at);
        span.and_then(|span| span.try_into().ok()).unwrap_or_default()
    }

    /// All changes after this revision are in the ring.
    pub fn floor(&self) -> Option<Token> {
        self.position().map(|position| Token::new(position.epoch, self.floor))
    }

    /// True if all changes from there to the position are in the ring.
    pub fn covers(&self, since: Token) -> bool {
        self.position().is_some_and(|position| {
            position.epoch == since.epoch && (self.floor..=position.revision).contains(&since.revision)
        })
    }

    /// Appends the next event, and drops old ones above the limits.
    pub fn push(&mut self, logged: &LoggedEvent) -> Result<(), NotNext> {
        let event = &logged.event;
        let next = self.position().map(|position| Token::new(position.epoch, position.revision.next()));
        let here = Token::new(event.epoch, event.revision);
        if next != Some(here) {
            return Err(NotNext(event.revision));
        }
        self.whole = false;
        let first = self.next_number();
        for change in &event.edges {
            self.note(event.revision, change);
        }
        for told in &event.counts {
            self.counts.insert(told.user, (event.revision, *told));
        }
        let record = Record {
            revision: event.revision,
            verb: event.verb,
            actor: event.actor,
            committed_at: event.committed_at,
            payload: Arc::clone(&logged.payload),
            first,
            changes: self.changes.len() - self.place(first),
            counted: event.counts.iter().map(|told| told.user).collect(),
            bytes: EVENT_BYTES
                + logged.payload.len()
                + event.edges.len() * CHANGE_BYTES
                + event.counts.len() * COUNTS_BYTES,
        };
        self.bytes += record.bytes;
        self.records.push_back(record);
        self.position = Some(here);
        while self.records.len() > self.limits.events || self.bytes > self.limits.bytes {
            self.drop_oldest();
        }
        self.whole = true;
        Ok(())
    }

    /// The changes of an account's edges after a revision, newest first; an edge may occur several times.
    pub fn touched(&self, user: UserId, side: Side, since: Revision) -> impl Iterator<Item = Touched> {
        self.chain(user, side, since).map(move |change| Touched {
            other: if side.outgoing { change.target } else { change.source },
            left: change.left.map(|(position, created_at_millis, expires_at_millis)| Link {
                position,
                created_at_millis,
                expires_at_millis,
                revision: change.revision,
            }),
        })
    }

    /// The oldest change of an account's edges after a revision.
    ///
    /// # Errors
    /// If there are more than `most` changes; the search stops then.
    pub fn next_change(
        &self,
        user: UserId,
        side: Side,
        since: Revision,
        most: usize,
    ) -> Result<Option<Revision>, TooMany> {
        let mut oldest = None;
        for (number, change) in self.chain(user, side, since).enumerate() {
            if number == most {
                return Err(TooMany);
            }
            oldest = Some(change.revision);
        }
        Ok(oldest)
    }

    /// Upper bound of the number of edges of an account that were removed after a revision; reads the `newest` newest
    /// changes.
    pub fn removals(&self, user: UserId, side: Side, since: Revision, newest: usize) -> usize {
        self.chain(user, side, since).take(newest).filter(|change| change.left.is_none()).count()
    }

    /// The counts of an account, if they changed after a revision.
    pub fn counts(&self, user: UserId, since: Revision) -> Option<&AccountCounts> {
        self.counts.get(&user).filter(|(revision, _)| *revision > since).map(|(_, counts)| counts)
    }

    /// The wanted events after a revision, within limits. `None` if some are not in the ring, or if it is of another
    /// epoch.
    pub fn excerpt(&self, after: Token, filter: &Filter, limits: ExcerptLimits) -> Option<Excerpt> {
        if !self.covers(after) {
            return None;
        }
        // Dense: the distance from the floor is the number of events to skip.
        let skip = usize::try_from(after.revision.0 - self.floor.0).unwrap_or(usize::MAX);
        let mut excerpt = Excerpt { events: Vec::new(), upto: after.revision };
        let (mut bytes, mut changes) = (0, 0);
        for record in self.records.range(skip.min(self.records.len())..).take(limits.events) {
            changes += record.changes;
            if changes > limits.changes && excerpt.upto > after.revision {
                break;
            }
            let place = self.place(record.first);
            let targets = self.changes.range(place..place + record.changes).map(|change| change.target);
            if filter.wants(record.verb, record.actor, targets) {
                bytes += record.payload.len();
                if bytes > limits.bytes && !excerpt.events.is_empty() {
                    break;
                }
                excerpt.events.push((record.revision, Arc::clone(&record.payload)));
            }
            excerpt.upto = record.revision;
        }
        Some(excerpt)
    }

    fn chain(&self, user: UserId, side: Side, since: Revision) -> impl Iterator<Item = &Change> {
        let before = move |change: &Change| {
            if side.outgoing { change.before_at_source } else { change.before_at_target }
        };
        let newest = self.newest.get(&(user, side)).copied().unwrap_or(0);
        let held = move |number: Number| {
            // A dropped change ends the chain.
            let change = (number >= self.first).then(|| self.changes.get(self.place(number)))??;
            (change.revision > since).then_some(change)
        };
        std::iter::successors(held(newest), move |change| held(before(change)))
    }

    fn note(&mut self, revision: Revision, change: &EdgeChange) {
        let number = self.next_number();
        let EdgeKey { kind, source, target } = change.key;
        let before_at_source = self.newest.insert((source, Side::outgoing(kind)), number).unwrap_or(0);
        let before_at_target = self.newest.insert((target, Side::incoming(kind)), number).unwrap_or(0);
        let left = (change.op != EdgeOp::Removed).then(|| {
            let expires_at = change.expires_at.map(timestamp::to_millis);
            (change.position, timestamp::to_millis(change.created_at), expires_at)
        });
        self.changes.push_back(Change {
            source,
            target,
            kind,
            revision,
            left,
            before_at_source,
            before_at_target,
        });
    }

    fn drop_oldest(&mut self) {
        let Some(record) = self.records.pop_front() else { return };
        self.floor = record.revision;
        self.bytes -= record.bytes;
        for change in self.changes.drain(..record.changes) {
            let kind = change.kind;
            let ends = [(change.source, Side::outgoing(kind)), (change.target, Side::incoming(kind))];
            for end in ends {
                if self.newest.get(&end) == Some(&self.first) {
                    self.newest.remove(&end);
                }
            }
            self.first += 1;
        }
        for user in record.counted {
            if self.counts.get(&user).is_some_and(|(revision, _)| *revision == record.revision) {
                self.counts.remove(&user);
            }
        }
    }

    fn next_number(&self) -> Number {
        // A u64 is large enough for all changes, and a deque's length fits it.
        self.first + self.changes.len() as Number
    }

    /// Index in the deque of a change in the ring, or of the next one.
    fn place(&self, number: Number) -> usize {
        usize::try_from(number - self.first).unwrap_or(usize::MAX)
    }
}

#[cfg(test)]
mod tests;
