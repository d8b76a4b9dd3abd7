//! The figures that announcements and readiness show. Each figure has one writer.

use std::sync::Arc;

use proto::{Epoch, Revision, Token};
use time::OffsetDateTime;
use tokio::sync::{mpsc, watch};

/// The figures at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Status {
    /// Epoch of the read model.
    pub epoch: Epoch,
    /// Newest revision applied.
    pub revision: Revision,
    /// Newest revision that readers are sure to see.
    pub visible: Revision,
    /// The read model may serve reads.
    pub complete: bool,
    /// Progress of the sweep, from 0 to 1.
    pub sweep_progress: f64,
    /// Differences repaired in a complete read model since the process started.
    pub differences: u64,
    /// Time of the last repair.
    pub differences_at: Option<OffsetDateTime>,
    /// Microseconds between commit and visibility of the newest event.
    pub lag_micros: u64,
    /// Problem of the stream, or empty.
    pub stream_problem: String,
    /// Problem of the read model, or empty.
    pub model_problem: String,
}

impl Status {
    /// The figures at the start of the process.
    pub(crate) fn starting() -> Self {
        Self {
            epoch: Epoch(0),
            revision: Revision::ZERO,
            visible: Revision::ZERO,
            complete: false,
            sweep_progress: 0.0,
            differences: 0,
            differences_at: None,
            lag_micros: 0,
            stream_problem: String::new(),
            model_problem: "starting".to_owned(),
        }
    }

    /// Resets the figures of a read model that no longer exists, or was replaced by data of another program.
    pub(crate) fn forget_model(&mut self) {
        (self.complete, self.visible, self.lag_micros) = (false, Revision::ZERO, 0);
    }

    /// Both problems in one text, or empty.
    pub fn problem(&self) -> String {
        match (self.model_problem.as_str(), self.stream_problem.as_str()) {
            (model, "") => model.to_owned(),
            ("", stream) => stream.to_owned(),
            (model, stream) => format!("{model}; {stream}"),
        }
    }
}

/// Through which the parts of the process change the status. Clones share it.
#[derive(Debug, Clone)]
pub struct StatusBoard {
    status: Arc<watch::Sender<Status>>,
    repaired: mpsc::UnboundedSender<Vec<String>>,
}

impl StatusBoard {
    /// A board, and the receiver of the ids of repaired accounts.
    pub fn new() -> (Self, mpsc::UnboundedReceiver<Vec<String>>) {
        let (repaired, receiver) = mpsc::unbounded_channel();
        (Self { status: Arc::new(watch::channel(Status::starting()).0), repaired }, receiver)
    }

    /// Changes figures. Followers are notified only if a value changed.
    pub fn change(&self, change: impl FnOnce(&mut Status)) {
        self.status.send_if_modified(|status| {
            let before = status.clone();
            change(status);
            *status != before
        });
    }

    /// The newest revision that this process has applied; of epoch 0 before the first.
    pub fn applied(&self) -> Token {
        let status = self.status.borrow();
        Token::new(status.epoch, status.revision)
    }

    /// A receiver of the figures.
    pub fn follow(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    /// Announces accounts whose edges were repaired.
    pub fn repaired(&self, ids: Vec<String>) {
        if !ids.is_empty() {
            // The receiver is gone when the process stops.
            let _ = self.repaired.send(ids);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn followers_are_notified_of_changes_only() {
        let (board, _repaired) = StatusBoard::new();
        let mut follower = board.follow();
        board.change(|status| status.revision = Revision(7));
        assert!(follower.has_changed().unwrap());
        follower.mark_unchanged();
        board.change(|status| status.revision = Revision(7));
        assert!(!follower.has_changed().unwrap());
    }

    #[test]
    fn a_wiped_read_model_is_not_complete() {
        let mut status = Status { complete: true, visible: Revision(7), lag_micros: 7, ..Status::starting() };
        status.forget_model();
        assert_eq!(status, Status::starting());
    }

    #[test]
    fn both_problems_are_shown() {
        let (board, _repaired) = StatusBoard::new();
        board.change(|status| {
            status.model_problem = "a".to_owned();
            status.stream_problem = "b".to_owned();
        });
        assert_eq!(board.follow().borrow().problem(), "a; b");
    }
}
