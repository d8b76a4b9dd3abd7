//! The last known checkpoint of a read model, and who waits for a later one.
//!
//! A read model may go back (restored, wiped) or fall silent. The newest report counts, whatever it says. While the
//! projector is silent, a waiter has the checkpoint looked up.

use std::sync::Arc;
use std::time::Duration;

use proto::Token;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use uuid::Uuid;

use crate::queries::Checkpoint;

/// A projector announces itself at least twice a second.
const SILENCE: Duration = Duration::from_millis(1_500);
/// Pause between look-ups for somebody who waits while the projector is silent.
const LOOK_UP_PAUSE: Duration = Duration::from_millis(10);

/// What is known of a read model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Nothing yet.
    #[default]
    Unknown,
    /// It has no checkpoint: nothing was projected, or the data is lost.
    NotBuilt,
    /// It has one.
    Built(Checkpoint),
}

#[derive(Clone, Copy, Debug, Default)]
struct Known {
    state: State,
    database: Option<Uuid>,
    /// Counts the words of others, so that a look-up that began before one does not undo it.
    words: u64,
    heard_at: Option<Instant>,
}

/// One read model. Shared by those who tell and those who wait.
#[derive(Debug)]
pub struct Replica {
    projector: Arc<str>,
    known: watch::Sender<Known>,
    wanted: Notify,
}

impl Replica {
    /// The read model that this projector feeds.
    pub fn new(projector: impl Into<Arc<str>>) -> Self {
        Self { projector: projector.into(), known: watch::channel(Known::default()).0, wanted: Notify::new() }
    }

    /// The name of its projector.
    pub fn projector(&self) -> &Arc<str> {
        &self.projector
    }

    /// What is known now.
    pub fn state(&self) -> State {
        self.known.borrow().state
    }

    /// The newest revision that it is known to show; `None` if it shows none.
    pub fn visible(&self) -> Option<Token> {
        match self.state() {
            State::Built(checkpoint) => Some(checkpoint.visible),
            State::Unknown | State::NotBuilt => None,
        }
    }

    /// Takes the checkpoint that the projector announced.
    pub fn announced(&self, checkpoint: Checkpoint, now: Instant) {
        self.known.send_modify(|known| {
            known.state = State::Built(checkpoint);
            known.words += 1;
            known.heard_at = Some(now);
        });
    }

    /// Takes the checkpoint of an answer. Answers overtake each other, so they only raise it.
    pub fn answered(&self, visible: Token) {
        let is_newer = |state: State| match state {
            State::Built(last) => last.visible < visible,
            State::Unknown | State::NotBuilt => true,
        };
        // Most answers bring nothing new, and need not keep other reads out.
        if !is_newer(self.state()) {
            return;
        }
        self.known.send_if_modified(|known| {
            let newer = is_newer(known.state);
            if newer {
                known.state = State::Built(Checkpoint { visible, complete: true });
                known.words += 1;
            }
            newer
        });
    }

    /// Call it before a look-up, and give the result to [`Self::looked_up`].
    pub fn begin_look_up(&self) -> u64 {
        self.known.borrow().words
    }

    /// What a look-up found, or an answer that failed for want of a checkpoint.
    pub fn looked_up(&self, found: Option<Checkpoint>, began: u64) {
        let found = found.map_or(State::NotBuilt, State::Built);
        self.known.send_if_modified(|known| {
            let overtaken = known.words != began;
            let changed = !overtaken && known.state != found;
            if changed {
                known.state = found;
            }
            changed
        });
    }

    /// A look-up found which database the read model belongs to.
    pub fn belongs_to(&self, database: Option<Uuid>) {
        self.known.send_if_modified(|known| std::mem::replace(&mut known.database, database) != database);
    }

    /// What is known now, and the database that the read model belongs to, if it names one.
    pub fn known(&self) -> (State, Option<Uuid>) {
        let known = self.known.borrow();
        (known.state, known.database)
    }

    /// True if the projector was not heard of lately.
    pub fn silent(&self, now: Instant) -> bool {
        self.known.borrow().heard_at.is_none_or(|at| now.saturating_duration_since(at) > SILENCE)
    }

    /// Waits until the read model has reached a token; false if it has not at `until`.
    pub async fn reach(&self, token: Token, until: Instant) -> bool {
        let mut follow = self.known.subscribe();
        let reached = async {
            loop {
                let reached = matches!(
                    follow.borrow_and_update().state,
                    State::Built(Checkpoint { visible, complete: true }) if visible >= token
                );
                if reached {
                    return;
                }
                if self.silent(Instant::now()) {
                    self.wanted.notify_one();
                    // Time out to look up again; the sender lives as long as `self`.
                    let _ = tokio::time::timeout(LOOK_UP_PAUSE, follow.changed()).await;
                } else {
                    // It lasts until the next word, or until silence sets in.
                    let _ = tokio::time::timeout(SILENCE, follow.changed()).await;
                }
            }
        };
        tokio::time::timeout_at(until, reached).await.is_ok()
    }

    /// Waits until somebody wants the checkpoint looked up.
    pub async fn look_up_wanted(&self) {
        self.wanted.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use proto::{Epoch, Revision};

    use super::*;

    fn token(revision: u64) -> Token {
        Token::new(Epoch(1), Revision(revision))
    }

    fn built(revision: u64) -> Checkpoint {
        Checkpoint { visible: token(revision), complete: true }
    }

    #[tokio::test(start_paused = true)]
    async fn a_waiter_wakes_when_the_projector_announces() {
        let replica = Arc::new(Replica::new("projector-0"));
        replica.announced(built(7), Instant::now());
        let waiter = tokio::spawn({
            let replica = Arc::clone(&replica);
            async move { replica.reach(token(9), Instant::now() + Duration::from_millis(200)).await }
        });
        tokio::task::yield_now().await;
        replica.announced(built(8), Instant::now());
        tokio::task::yield_now().await;
        assert!(!waiter.is_finished());
        replica.announced(built(9), Instant::now());
        assert!(waiter.await.expect("no panic"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_waiter_gives_up_in_time() {
        let replica = Replica::new("projector-0");
        replica.announced(built(7), Instant::now());
        let until = Instant::now() + Duration::from_millis(200);
        assert!(!replica.reach(token(8), until).await);
        assert_eq!(Instant::now(), until);
    }

    #[tokio::test(start_paused = true)]
    async fn while_the_projector_is_silent_a_waiter_asks_for_look_ups() {
        let replica = Arc::new(Replica::new("projector-0"));
        let probe = tokio::spawn({
            let replica = Arc::clone(&replica);
            async move {
                for revision in 7..=9 {
                    replica.look_up_wanted().await;
                    replica.looked_up(Some(built(revision)), replica.begin_look_up());
                }
            }
        });
        assert!(replica.reach(token(9), Instant::now() + Duration::from_millis(200)).await);
        probe.await.expect("no panic");
    }

    #[tokio::test(start_paused = true)]
    async fn an_incomplete_read_model_is_not_waited_for_in_vain_and_not_taken() {
        let replica = Replica::new("projector-0");
        replica.announced(Checkpoint { visible: token(9), complete: false }, Instant::now());
        assert!(!replica.reach(token(9), Instant::now() + Duration::from_millis(50)).await);
    }

    #[test]
    fn a_look_up_does_not_undo_a_later_word() {
        let replica = Replica::new("projector-0");
        let began = replica.begin_look_up();
        replica.announced(built(9), Instant::now());
        replica.looked_up(Some(built(8)), began);
        assert_eq!(replica.state(), State::Built(built(9)));
    }

    #[test]
    fn a_wiped_read_model_is_noticed_by_a_look_up() {
        let replica = Replica::new("projector-0");
        replica.announced(built(9), Instant::now());
        replica.looked_up(None, replica.begin_look_up());
        assert_eq!(replica.state(), State::NotBuilt);
    }

    #[test]
    fn answers_only_raise_the_checkpoint() {
        let replica = Replica::new("projector-0");
        replica.answered(token(9));
        replica.answered(token(8));
        assert_eq!(replica.state(), State::Built(built(9)));
    }
}
