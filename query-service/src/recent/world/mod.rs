//! The recent events and the hot set behind one lock: both are of the same position.
//!
//! One task writes, the follower. So between two of its changes the position stands still, and what it prepares outside
//! the lock is still right when it takes the lock.

use std::collections::HashMap;

use event_log::LoggedEvent;
use parking_lot::{MappedRwLockReadGuard, RwLock, RwLockReadGuard};
use proto::{Revision, Token};
use tokio::sync::watch;
use tokio::time::Instant;

use super::{Limits, Ring};
use crate::hot::load::{self, Changes, Content, Load};
use crate::hot::{Entry, Figures, Generations, HotSet, Key, Origin, Refused};

/// Maximum number of changes of an account since a load that are laid over it.
const MOST_LAID: usize = 1_000;
/// Counts that are installed under one lock.
const COUNTS_AT_ONCE: usize = 64;

/// What became of a load, as a label of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadOutcome {
    Installed,
    /// Its replica was repaired meanwhile, or a valid entry reaches down as far.
    Refused,
    /// It may hold events that this process has not read.
    Ahead,
    /// The recent events do not reach back to it.
    TooOld,
    /// Its account has changed too often since.
    TooManyChanges,
    TooLarge,
}

impl LoadOutcome {
    pub fn name(self) -> &'static str {
        match self {
            Self::Installed => "installed",
            Self::Refused => "refused",
            Self::Ahead => "ahead",
            Self::TooOld => "too_old",
            Self::TooManyChanges => "too_many_changes",
            Self::TooLarge => "too_large",
        }
    }
}

impl From<Refused> for LoadOutcome {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Outdated => Self::Refused,
            Refused::TooLarge => Self::TooLarge,
        }
    }
}

#[derive(Debug)]
pub struct World {
    ring: Ring,
    hot: HotSet,
}

impl World {
    /// The hot set, and the position at which it is the truth.
    pub fn hot(&self) -> Option<(Token, &HotSet)> {
        Some((self.ring.position()?, &self.hot))
    }

    /// True if all changes from there to the position are in the ring.
    pub fn covers(&self, since: Token) -> bool {
        self.ring.covers(since)
    }

    /// The changes of a key's list since a revision; `None` if they are too many.
    fn changes(&self, key: Key, since: Revision) -> Option<Changes> {
        let mut changes = HashMap::new();
        let Some((user, side)) = load::side(key) else { return Some(changes) };
        for (number, touched) in self.ring.touched(user, side, since).enumerate() {
            if number == MOST_LAID {
                return None;
            }
            // Newest first, so the first change of an edge is its last.
            changes.entry(touched.other).or_insert(touched.left);
        }
        Some(changes)
    }
}

/// What this process has read. Shared by the follower and the readers.
#[derive(Debug)]
pub struct Recent {
    world: RwLock<World>,
    position: watch::Sender<Option<Token>>,
}

impl Recent {
    /// With a hot set of up to `hot` bytes, whose entries are valid in these generations.
    pub fn new(limits: Limits, hot: usize, generations: Generations) -> Self {
        let world = World { ring: Ring::new(limits), hot: HotSet::new(hot, generations) };
        Self { world: RwLock::new(world), position: watch::channel(None).0 }
    }

    #[cfg(test)]
    pub fn without_hot_set(limits: Limits) -> Self {
        Self::new(limits, 0, Generations::new(0))
    }

    /// Locks the ring. Hold it briefly: new events wait meanwhile.
    pub fn ring(&self) -> MappedRwLockReadGuard<'_, Ring> {
        RwLockReadGuard::map(self.world.read(), |world| &world.ring)
    }

    /// Locks ring and hot set. Hold it briefly.
    pub fn world(&self) -> RwLockReadGuard<'_, World> {
        self.world.read()
    }

    /// Figures of the hot set.
    pub fn hot_figures(&self) -> Figures {
        self.world.read().hot.figures()
    }

    /// The newest revision.
    pub fn position(&self) -> Option<Token> {
        *self.position.borrow()
    }

    /// Subscribes to the position.
    pub fn subscribe(&self) -> watch::Receiver<Option<Token>> {
        self.position.subscribe()
    }

    /// Waits until the position has reached a token; false at `until`.
    pub async fn reach(&self, token: Token, until: Instant) -> bool {
        let reached = |position: &Option<Token>| position.is_some_and(|position| position >= token);
        if reached(&self.position.borrow()) {
            return true;
        }
        let mut follow = self.position.subscribe();
        // The sender lives as long as `self`.
        tokio::time::timeout_at(until, follow.wait_for(reached)).await.is_ok()
    }

    /// Clears the ring and restarts after this position.
    pub fn begin(&self, at: Token) {
        let gone = {
            let mut world = self.world.write();
            world.ring.begin(at);
            world.hot.clear()
        };
        // Freed outside the lock.
        drop(gone);
        self.position.send_replace(Some(at));
    }

    /// Appends the next event; false if it is not the next one.
    pub fn push(&self, logged: &LoggedEvent) -> bool {
        let (position, differences) = {
            let mut world = self.world.write();
            if world.ring.push(logged).is_err() {
                return false;
            }
            let differences = world.hot.apply(&logged.event);
            (world.ring.position(), differences)
        };
        if differences > 0 {
            // Without the accounts: ids stay out of the logs.
            let revision = logged.event.revision.0;
            tracing::warn!(
                revision,
                differences,
                "an event contradicted answers in memory, which were wrong"
            );
        }
        self.position.send_replace(position);
        true
    }

    /// Clears everything, and the position.
    pub fn forget(&self) {
        let gone = {
            let mut world = self.world.write();
            world.ring.forget();
            world.hot.clear()
        };
        drop(gone);
        self.position.send_replace(None);
    }

    /// Brings a load to the position, and installs it. Only the task that pushes events may call it.
    pub fn install(&self, load: Load) -> LoadOutcome {
        let Load { content, as_of, target, origin } = load;
        {
            let world = self.world.read();
            if world.ring.position().is_none_or(|position| position < target) {
                return LoadOutcome::Ahead;
            }
            if !world.ring.covers(as_of) {
                return LoadOutcome::TooOld;
            }
        }
        match content {
            Content::Ids(user, loaded) => {
                self.install_list(Key::Ids(user), as_of, origin, |changes| load::ids(loaded, changes))
            }
            Content::Newest { user, list, rows, is_whole } => {
                self.install_list(Key::Newest(user, list), as_of, origin, |changes| {
                    load::newest(rows, is_whole, changes)
                })
            }
            Content::Counts(counts) => {
                let mut outcome = LoadOutcome::Installed;
                for some in counts.chunks(COUNTS_AT_ONCE) {
                    let mut world = self.world.write();
                    for (user, counts) in some {
                        let told = world.ring.counts(*user, as_of.revision).map(Into::into);
                        let entry = Entry::Counts(Box::new(told.unwrap_or(*counts)));
                        if let Err(refused) = world.hot.install(Key::Counts(*user), entry, origin) {
                            outcome = refused.into();
                        }
                    }
                }
                outcome
            }
        }
    }

    fn install_list(
        &self,
        key: Key,
        as_of: Token,
        origin: Origin,
        entry: impl FnOnce(&Changes) -> Option<Entry>,
    ) -> LoadOutcome {
        let changes = self.world.read().changes(key, as_of.revision);
        let Some(changes) = changes else { return LoadOutcome::TooManyChanges };
        let Some(entry) = entry(&changes) else { return LoadOutcome::TooLarge };
        let outcome = self.world.write().hot.install(key, entry, origin);
        outcome.map_or_else(LoadOutcome::from, |()| LoadOutcome::Installed)
    }
}

#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use proto::Epoch;

    use super::*;

    fn token(epoch: u64, revision: u64) -> Token {
        Token::new(Epoch(epoch), Revision(revision))
    }

    fn recent() -> Recent {
        Recent::without_hot_set(Limits { events: 10, bytes: usize::MAX })
    }

    #[tokio::test(start_paused = true)]
    async fn a_waiter_is_woken_by_the_position_and_gives_up_in_time() {
        let recent = Arc::new(recent());
        let until = Instant::now() + Duration::from_secs(1);
        let waiter = tokio::spawn({
            let recent = Arc::clone(&recent);
            async move { recent.reach(token(1, 7), until).await }
        });
        tokio::task::yield_now().await;
        recent.begin(token(1, 6));
        tokio::task::yield_now().await;
        assert!(!waiter.is_finished());
        recent.begin(token(1, 7));
        assert!(waiter.await.expect("no panic"));
        assert!(!recent.reach(token(1, 8), until).await);
        assert_eq!(Instant::now(), until);
    }

    #[tokio::test(start_paused = true)]
    async fn a_ring_that_forgot_has_no_position() {
        let recent = recent();
        recent.begin(token(1, 7));
        recent.forget();
        assert_eq!(recent.position(), None);
        assert!(!recent.reach(token(1, 1), Instant::now()).await);
    }
}
