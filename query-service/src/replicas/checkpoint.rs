//! The last known checkpoint of a read model, and waits for a later one.
//!
//! A read model may go back (restored, wiped) or fall silent. The newest report counts, even if it is of an older
//! revision. While the projector is silent, a waiting read requests a look-up of the checkpoint.

use std::sync::Arc;
use std::time::Duration;

use proto::Token;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use uuid::Uuid;

use crate::queries::Checkpoint;

/// A projector announces itself at least twice a second.
const SILENCE: Duration = Duration::from_millis(1_500);
/// Interval of look-ups while a read waits and the projector is silent.
const LOOK_UP_PAUSE: Duration = Duration::from_millis(10);

/// The state of a read model, as known to this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Nothing has been reported yet.
    #[default]
    Unknown,
    /// It has no checkpoint: nothing was projected, or the data is lost.
    NotBuilt,
    Built(Checkpoint),
}

#[derive(Clone, Copy, Debug, Default)]
struct Known {
    state: State,
    database: Option<Uuid>,
    /// Counts reports, so that a look-up that began before one does not overwrite it.
    words: u64,
    heard_at: Option<Instant>,
}

/// The last known state of one read model. Probes and announcements write it; reads wait on it.
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

    pub fn projector(&self) -> &Arc<str> {
        &self.projector
    }

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

    /// Records the checkpoint that the projector announced.
    pub fn announced(&self, checkpoint: Checkpoint, now: Instant) {
        self.known.send_modify(|known| {
            known.state = State::Built(checkpoint);
            known.words += 1;
            known.heard_at = Some(now);
        });
    }

    /// Records the checkpoint of an answer. Answers overtake each other, so they only raise it.
    pub fn answered(&self, visible: Token) {
        let is_newer = |state: State| match state {
            State::Built(last) => last.visible < visible,
            State::Unknown | State::NotBuilt => true,
        };
        // Most answers contain no newer checkpoint, so they need not block other reads.
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

    /// Returns the number of reports; call it before a look-up, and pass the result to [`Self::looked_up`].
    pub fn begin_look_up(&self) -> u64 {
        self.known.borrow().words
    }

    /// Records the result of a look-up, or of an answer that failed for lack of a checkpoint.
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

    /// Records the database of the read model.
    pub fn belongs_to(&self, database: Option<Uuid>) {
        self.known.send_if_modified(|known| std::mem::replace(&mut known.database, database) != database);
    }

    /// The known state, and the database of the read model, if it names one.
    pub fn known(&self) -> (State, Option<Uuid>) {
        let known = self.known.borrow();
        (known.state, known.database)
    }

    /// True if there was no recent announcement of the projector.
    pub fn silent(&self, now: Instant) -> bool {
        self.known.borrow().heard_at.is_none_or(|at| now.saturating_duration_since(at) > SILENCE)
    }

    /// Waits until the read model has reached a token; false at `until`.
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
                    // A timeout leads to the next look-up; the sender lives as long as `self`.
                    let _ = tokio::time::timeout(LOOK_UP_PAUSE, follow.changed()).await;
                } else {
                    // Wait for the next announcement, or until the projector counts as silent.
                    let _ = tokio::time::timeout(SILENCE, follow.changed()).await;
                }
            }
        };
        tokio::time::timeout_at(until, reached).await.is_ok()
    }

    /// Waits for a request to look up the checkpoint.
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
