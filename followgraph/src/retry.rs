//! When a broken stream or look is worth another try, and how long to wait before it.
//!
//! Owns that judgement for imports, exports and looks at a running job; other calls
//! are never repeated.
//! It must not know what is asked for.

use std::error::Error as _;
use std::time::{Duration, Instant};

use proto::error::{Reason, reason_of};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Whether the same call may succeed later.
pub fn is_transient(status: &Status) -> bool {
    match reason_of(status) {
        Some(
            Reason::NotCommitted
            | Reason::OutcomeUnknown
            | Reason::Overloaded
            | Reason::FallbackBudgetExhausted
            | Reason::ReadModelBehind
            | Reason::ReadModelBusy
            | Reason::StoreUnavailable
            | Reason::ShuttingDown
            | Reason::WatcherTooSlow
            | Reason::TooManyCalls
            | Reason::ResponsesNotTaken
            | Reason::RequestStalled
            | Reason::DeadlineExceeded,
        ) => true,
        Some(_) => false,
        // Not from the service. A status made of a failing connection has a source,
        // whatever its code; one that came over the wire has none. A proxy may also end a stream without any status,
        // for which tonic makes one.
        None => {
            status.code() == Code::Unavailable
                || status.source().is_some()
                || status.message().contains("missing grpc-status")
        }
    }
}

/// Waits that grow while nothing moves, and a limit to them.
pub struct Patience {
    limit: Duration,
    failing_since: Option<Instant>,
    wait: Duration,
}

impl Patience {
    /// Gives up after `limit` of failures without progress in between.
    pub fn new(limit: Duration) -> Self {
        Self { limit, failing_since: None, wait: FIRST_WAIT }
    }

    /// Something was answered.
    pub fn progressed(&mut self) {
        self.failing_since = None;
        self.wait = FIRST_WAIT;
    }

    /// How long to wait before the next try; `None`: give up.
    pub fn next_wait(&mut self, status: &Status, now: Instant) -> Option<Duration> {
        let since = *self.failing_since.get_or_insert(now);
        if !is_transient(status) || now.duration_since(since) >= self.limit {
            return None;
        }
        let asked_for = status.get_details_retry_info().and_then(|info| info.retry_delay);
        let wait = self.wait.max(asked_for.unwrap_or_default());
        self.wait = (self.wait * 2).min(LONGEST_WAIT);
        Some(wait)
    }
}

#[cfg(test)]
mod tests {
    use proto::error::ServiceError;

    use super::*;

    fn status(reason: Reason) -> Status {
        ServiceError::new(reason, "no").into()
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        assert!(is_transient(&status(Reason::OutcomeUnknown)));
        assert!(is_transient(&Status::unavailable("tcp connect error")));
        assert!(is_transient(&Status::from_error("connection reset".into())));
        assert!(!is_transient(&Status::unknown("a proxy says no")));
        assert!(!is_transient(&status(Reason::TooManyItems)));
        assert!(!is_transient(&status(Reason::Unauthenticated)));
    }

    #[test]
    fn waits_grow_and_end() {
        let start = Instant::now();
        let mut patience = Patience::new(Duration::from_secs(60));
        let failure = status(Reason::NotCommitted);
        assert_eq!(patience.next_wait(&failure, start), Some(FIRST_WAIT));
        assert_eq!(patience.next_wait(&failure, start), Some(FIRST_WAIT * 2));
        let late = start + Duration::from_secs(60);
        assert_eq!(patience.next_wait(&failure, late), None);
        patience.progressed();
        assert_eq!(patience.next_wait(&failure, late), Some(FIRST_WAIT));
    }

    #[test]
    fn the_service_may_ask_for_a_longer_wait() {
        let start = Instant::now();
        let mut patience = Patience::new(Duration::from_secs(60));
        let failure =
            ServiceError::new(Reason::Overloaded, "full").retry_after(Duration::from_secs(2)).into();
        assert_eq!(patience.next_wait(&failure, start), Some(Duration::from_secs(2)));
    }
}
