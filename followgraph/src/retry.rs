//! Retries of imports, exports, watches and the polls of a running job. Other calls are never repeated.

use std::error::Error as _;
use std::time::{Duration, Instant};

use proto::error::{Reason, reason_of};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::client::CallFailed;

const FIRST_DELAY: Duration = Duration::from_millis(200);
const LONGEST_DELAY: Duration = Duration::from_secs(5);

/// Whether the same call may succeed later.
fn is_transient(status: &Status) -> bool {
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
        // Not from the service. The status of a broken connection has a source, whatever its code; one from the wire has
        // none. If a proxy ends a stream without a status, tonic makes one.
        None => {
            status.code() == Code::Unavailable
                || status.source().is_some()
                || status.message().contains("missing grpc-status")
        }
    }
}

/// Delays that grow until something succeeds, up to a time limit.
pub struct Backoff {
    limit: Duration,
    failing_since: Option<Instant>,
    delay: Duration,
}

impl Backoff {
    /// Gives up after `limit` of failures without a success in between.
    pub fn new(limit: Duration) -> Self {
        Self { limit, failing_since: None, delay: FIRST_DELAY }
    }

    pub fn reset(&mut self) {
        self.failing_since = None;
        self.delay = FIRST_DELAY;
    }

    /// Records a failed call. Returns the delay before the next attempt, or the failure if it is final.
    pub fn after(&mut self, failed: CallFailed, report: impl FnOnce(&str)) -> Result<Duration, CallFailed> {
        let Some(delay) = self.next_delay(&failed.status, Instant::now()) else { return Err(failed) };
        report(&format!("{}; trying again", failed.message()));
        Ok(delay)
    }

    fn next_delay(&mut self, status: &Status, now: Instant) -> Option<Duration> {
        let since = *self.failing_since.get_or_insert(now);
        if !is_transient(status) || now.duration_since(since) >= self.limit {
            return None;
        }
        let requested = status.get_details_retry_info().and_then(|info| info.retry_delay);
        let delay = self.delay.max(requested.unwrap_or_default());
        self.delay = (self.delay * 2).min(LONGEST_DELAY);
        Some(delay)
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
    fn only_transient_failures_are_retried() {
        assert!(is_transient(&status(Reason::OutcomeUnknown)));
        assert!(is_transient(&Status::unavailable("tcp connect error")));
        assert!(is_transient(&Status::from_error("connection reset".into())));
        assert!(!is_transient(&Status::unknown("a proxy says no")));
        assert!(!is_transient(&status(Reason::TooManyItems)));
        assert!(!is_transient(&status(Reason::Unauthenticated)));
    }

    #[test]
    fn delays_grow_until_the_limit() {
        let start = Instant::now();
        let mut backoff = Backoff::new(Duration::from_secs(60));
        let failure = status(Reason::NotCommitted);
        assert_eq!(backoff.next_delay(&failure, start), Some(FIRST_DELAY));
        assert_eq!(backoff.next_delay(&failure, start), Some(FIRST_DELAY * 2));
        let late = start + Duration::from_secs(60);
        assert_eq!(backoff.next_delay(&failure, late), None);
        backoff.reset();
        assert_eq!(backoff.next_delay(&failure, late), Some(FIRST_DELAY));
    }

    #[test]
    fn the_service_may_request_a_longer_delay() {
        let start = Instant::now();
        let mut backoff = Backoff::new(Duration::from_secs(60));
        let failure =
            ServiceError::new(Reason::Overloaded, "full").retry_after(Duration::from_secs(2)).into();
        assert_eq!(backoff.next_delay(&failure, start), Some(Duration::from_secs(2)));
    }
}
