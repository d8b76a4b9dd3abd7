//! The time of day as a parameter.
//!
//! Owns: the only place that asks the machine for the date. Must not know: what it is for.
//! What can go wrong: the machine's clock may jump; nothing that must be ordered may hang on it.

use std::sync::{Arc, Mutex, PoisonError};

use time::{Duration, OffsetDateTime};

/// Tells the time of day.
pub trait Clock: Send + Sync + 'static {
    /// The present time in UTC.
    fn now(&self) -> OffsetDateTime;
}

/// A clock that many parts share.
pub type SharedClock = Arc<dyn Clock>;

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl SystemClock {
    /// The machine's clock, ready to be shared.
    pub fn shared() -> SharedClock {
        Arc::new(Self)
    }
}

impl Clock for SystemClock {
    fn now(&self) -> OffsetDateTime {
        OffsetDateTime::now_utc()
    }
}

/// A clock that stands still until a test moves it. Clones show the same time.
#[derive(Debug, Clone)]
pub struct ManualClock(Arc<Mutex<OffsetDateTime>>);

impl ManualClock {
    /// A clock that stands at `now`.
    pub fn at(now: OffsetDateTime) -> Self {
        Self(Arc::new(Mutex::new(now)))
    }

    /// Moves the clock; backwards too.
    pub fn advance(&self, by: Duration) {
        // A poisoned lock still holds a valid time.
        let mut now = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *now += by;
    }
}

impl Clock for ManualClock {
    fn now(&self) -> OffsetDateTime {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_moves_only_when_told() {
        let clock = ManualClock::at(OffsetDateTime::UNIX_EPOCH);
        let other = clock.clone();
        assert_eq!(other.now(), clock.now());
        clock.advance(Duration::seconds(5));
        assert_eq!(other.now(), OffsetDateTime::UNIX_EPOCH + Duration::seconds(5));
    }
}
