//! Distinguishes a PostgreSQL that lags from one that lost commits.
//!
//! Events come from the stream. So if `DATABASE_URL` is a standby, it may be behind what is applied. If it stays behind
//! for two minutes, the database has lost commits.

use std::time::Duration;

use parking_lot::Mutex;
use proto::Revision;
use tokio::time::Instant;

/// Limit of a standby's lag.
const LONGEST_LAG: Duration = Duration::from_secs(120);

/// Since when, and how far, PostgreSQL is behind the read model.
#[derive(Debug, Default)]
pub(super) struct TruthLag(Mutex<Option<(Instant, Revision)>>);

impl TruthLag {
    /// False if PostgreSQL, with this head, has been behind a revision of the read model for two minutes.
    pub(super) fn tolerates(&self, applied: Revision, head: Revision, now: Instant) -> bool {
        let mut behind = self.0.lock();
        match *behind {
            _ if applied <= head => *behind = None,
            // It moves: it has reached the revision that it lacked at the start of the interval.
            Some((_, missing)) if head >= missing => *behind = Some((now, applied)),
            Some((since, _)) => return now.saturating_duration_since(since) < LONGEST_LAG,
            None => *behind = Some((now, applied)),
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standby_that_lags_is_tolerated_for_minutes() {
        let start = Instant::now();
        let lag = TruthLag::default();
        let tolerates = |applied, head, seconds| {
            lag.tolerates(Revision(applied), Revision(head), start + Duration::from_secs(seconds))
        };
        assert!(tolerates(9, 7, 0));
        assert!(tolerates(20, 8, 119));
        assert!(!tolerates(21, 8, 120), "it has not reached 9 in two minutes");
        assert!(tolerates(30, 10, 121), "it lags, but it moves");
        assert!(tolerates(40, 29, 240));
        assert!(!tolerates(40, 29, 241));
        assert!(tolerates(40, 40, 242));
        assert!(tolerates(41, 40, 1_000));
    }
}
