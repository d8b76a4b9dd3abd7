//! Time as a parameter: the only place that asks the machine for it.
//!
//! The time of day may jump, so nothing that must be ordered may depend on it.

use std::sync::Arc;

use nix::time::{ClockId, clock_gettime};
use parking_lot::Mutex;
use time::{Duration, OffsetDateTime};

/// A source of time. Tests use [`ManualClock`].
pub trait Clock: Send + Sync + std::fmt::Debug + 'static {
    /// The time of day in UTC.
    fn now(&self) -> OffsetDateTime;

    /// Time since a fixed moment, such as the start of the machine. It never jumps and includes suspends.
    fn uptime(&self) -> Duration;
}

/// A clock shared by many parts of a process.
pub type SharedClock = Arc<dyn Clock>;

/// How far two clocks may differ before one of them counts as wrong.
pub const TOLERANCE: Duration = Duration::seconds(60);

/// The time of day of this process, or PostgreSQL's, by which commits are dated, if the two differ by more than
/// [`TOLERANCE`].
pub fn corrected(now: OffsetDateTime, postgres: Option<OffsetDateTime>) -> OffsetDateTime {
    // Within the tolerance the own clock is better: PostgreSQL's is known from a message that took time.
    postgres.filter(|postgres| (*postgres - now).abs() > TOLERANCE).unwrap_or(now)
}

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
    #[expect(clippy::disallowed_methods, reason = "this is the place")]
    fn now(&self) -> OffsetDateTime {
        OffsetDateTime::now_utc()
    }

    fn uptime(&self) -> Duration {
        // Every kernel that we run on has this clock.
        let now = clock_gettime(BOOT).map(std::time::Duration::from).unwrap_or_default();
        Duration::try_from(now).unwrap_or(Duration::MAX)
    }
}

/// On Linux, CLOCK_MONOTONIC stands still while the machine is suspended.
#[cfg(target_os = "linux")]
const BOOT: ClockId = ClockId::CLOCK_BOOTTIME;
#[cfg(not(target_os = "linux"))]
const BOOT: ClockId = ClockId::CLOCK_MONOTONIC;

/// A clock that a test moves. Clones show the same time.
#[derive(Debug, Clone)]
pub struct ManualClock(Arc<Mutex<(OffsetDateTime, Duration)>>);

impl ManualClock {
    /// A clock at this time of day.
    pub fn at(now: OffsetDateTime) -> Self {
        Self(Arc::new(Mutex::new((now, Duration::ZERO))))
    }

    /// Moves both the time of day and the uptime.
    pub fn advance(&self, by: Duration) {
        let mut time = self.0.lock();
        time.0 += by;
        time.1 += by;
    }

    /// Moves the time of day only, forward or back.
    pub fn jump(&self, by: Duration) {
        self.0.lock().0 += by;
    }
}

impl Clock for ManualClock {
    fn now(&self) -> OffsetDateTime {
        self.0.lock().0
    }

    fn uptime(&self) -> Duration {
        self.0.lock().1
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
        clock.jump(Duration::seconds(-5));
        assert_eq!((clock.now(), clock.uptime()), (OffsetDateTime::UNIX_EPOCH, Duration::seconds(5)));
    }

    #[test]
    fn a_wrong_time_of_day_is_corrected() {
        let now = OffsetDateTime::UNIX_EPOCH + Duration::days(400);
        for (by, corrects) in
            [(TOLERANCE, false), (-TOLERANCE, false), (Duration::HOUR, true), (-Duration::HOUR, true)]
        {
            let postgres = now + by;
            assert_eq!(corrected(now, Some(postgres)), if corrects { postgres } else { now });
        }
        assert_eq!(corrected(now, None), now);
    }

    #[test]
    fn uptime_does_not_go_back() {
        let first = SystemClock.uptime();
        assert!(first > Duration::ZERO);
        assert!(SystemClock.uptime() >= first);
    }
}
