//! Decides whether PostgreSQL's clock can be trusted. Pure.
//!
//! It has two witnesses: this process's time of day, and its uptime, which never jumps. On one host the time of day
//! jumps together with PostgreSQL's clock; on two hosts it shows which of them is wrong.

use service_kit::clock::{Clock, TOLERANCE, corrected};
use time::{Duration, OffsetDateTime};

use crate::store::clock::Record;

/// Longest outage of all command-services after which a start trusts the clock. After a longer one, an outage and a
/// jump look the same.
const LONGEST_OUTAGE: Duration = Duration::hours(1);
/// The clocks of two hosts may drift by 1/1,000.
const DRIFT: i32 = 1_000;

/// Readings of both witnesses.
#[derive(Clone, Copy, Debug)]
pub struct Witness {
    wall: OffsetDateTime,
    uptime: Duration,
}

impl Witness {
    /// Reads both clocks of this process.
    pub fn read(clock: &dyn Clock) -> Self {
        Self { wall: clock.now(), uptime: clock.uptime() }
    }
}

/// A reading of PostgreSQL's clock between two readings of the witnesses, so that a slow answer does not look like a
/// difference.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    /// PostgreSQL's time of day.
    pub database: OffsetDateTime,
    /// The witnesses before the request.
    pub before: Witness,
    /// The witnesses after the response.
    pub after: Witness,
}

/// Why PostgreSQL's clock is not trusted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Distrust {
    /// The record has not been read yet.
    #[error("PostgreSQL's clock was not checked yet")]
    Unread,
    /// It differs from this process's time of day. Ends when the clocks agree.
    #[error(
        "PostgreSQL's clock is {} this process's: set the wrong one right, or run `followgraph clock accept` if \
         PostgreSQL's is right",
        offset(.0)
    )]
    Differs(Duration),
    /// It has moved against time that never jumps. Ends when it is back, or by an operator.
    #[error(
        "PostgreSQL's clock has jumped and is {} where it should be: set it right, or run `followgraph clock accept` \
         if it is right now",
        offset(.0)
    )]
    Jumped(Duration),
    /// It contradicts the last recorded heartbeat of a command-service. An operator must accept it.
    #[error(
        "PostgreSQL's clock is {} the last heartbeat of a command-service: run `followgraph clock accept` if it is \
         right",
        offset(.0)
    )]
    Unexplained(Duration),
    /// Another process has noted a jump.
    #[error("{0}")]
    Noted(String),
}

impl Distrust {
    /// Whether only an operator, or a process that has seen the jump back, can end it.
    pub fn is_jump(&self) -> bool {
        matches!(self, Self::Jumped(_) | Self::Unexplained(_))
    }

    /// The label of metrics.
    pub fn cause(&self) -> &'static str {
        match self {
            Self::Unread => "unread",
            Self::Differs(_) => "differs",
            Self::Jumped(_) | Self::Unexplained(_) | Self::Noted(_) => "jumped",
        }
    }
}

fn offset(by: &Duration) -> String {
    let direction = if by.is_negative() { "behind" } else { "ahead of" };
    format!("{} s {direction}", by.whole_seconds().unsigned_abs())
}

/// Offsets of PostgreSQL's clock from the witnesses while it was trusted.
#[derive(Clone, Copy, Debug)]
struct Base {
    /// PostgreSQL's clock minus uptime, as time since the Unix epoch.
    uptime: Duration,
    /// PostgreSQL's clock minus this process's.
    wall: Duration,
    /// Uptime when it was last adjusted for drift.
    adjusted: Duration,
}

/// Bounds of a difference.
#[derive(Clone, Copy)]
struct Range {
    least: Duration,
    most: Duration,
}

impl Range {
    /// Distance to a value; zero if the value is within the bounds.
    fn beyond(self, value: Duration) -> Duration {
        value.max(self.least).min(self.most) - value
    }

    fn middle(self) -> Duration {
        self.least + (self.most - self.least) / 2
    }
}

impl Reading {
    fn against_wall(&self) -> Range {
        // The later reading has the smaller difference, unless this process's clock jumped in between.
        let (a, b) = (self.database - self.after.wall, self.database - self.before.wall);
        Range { least: a.min(b), most: a.max(b) }
    }

    fn against_uptime(&self) -> Range {
        let database = self.database - OffsetDateTime::UNIX_EPOCH;
        Range { least: database - self.after.uptime, most: database - self.before.uptime }
    }
}

/// Judges one reading after the other.
#[derive(Debug, Default)]
pub struct Judge {
    base: Option<Base>,
    /// PostgreSQL's clock minus uptime at the last reading, trusted or not, as time since the Unix epoch.
    read: Option<Duration>,
    record: Option<Record>,
}

impl Judge {
    /// Takes the record that was read together with PostgreSQL's clock. Starts to trust the clock if nothing
    /// contradicts it, or if an operator has accepted it since the last record.
    pub fn note(&mut self, record: Record, reading: &Reading) {
        let accepted = self.record.as_ref().is_some_and(|before| before.accepted != record.accepted);
        if accepted {
            self.begin(reading, reading.against_wall().middle());
        } else if self.base.is_none()
            && record.jumped.is_none()
            && unexplained(&record, reading).is_none()
            && !is_far(reading.against_wall().beyond(Duration::ZERO))
        {
            self.begin(reading, Duration::ZERO);
        }
        self.record = Some(record);
    }

    fn begin(&mut self, reading: &Reading, wall: Duration) {
        let uptime = reading.against_uptime().middle();
        self.base = Some(Base { uptime, wall, adjusted: reading.after.uptime });
    }

    /// Returns why a reading is not trusted.
    pub fn judge(&mut self, reading: &Reading) -> Result<(), Distrust> {
        self.read = Some(reading.against_uptime().middle());
        let Some(record) = &self.record else { return Err(Distrust::Unread) };
        let Some(base) = &mut self.base else {
            if let Some(jumped) = &record.jumped {
                return Err(Distrust::Noted(jumped.clone()));
            }
            if let Some(by) = unexplained(record, reading) {
                return Err(Distrust::Unexplained(by));
            }
            let differs = reading.against_wall().beyond(Duration::ZERO);
            return Err(if is_far(differs) { Distrust::Differs(differs) } else { Distrust::Unread });
        };
        let range = reading.against_uptime();
        let jumped = range.beyond(base.uptime);
        if is_far(jumped) {
            return Err(Distrust::Jumped(jumped));
        }
        let differs = reading.against_wall().beyond(base.wall);
        if is_far(differs) {
            if is_far(reading.against_wall().beyond(Duration::ZERO)) {
                return Err(Distrust::Differs(differs));
            }
            // An operator accepted PostgreSQL's clock while this process's clock was wrong, which is now set right.
            base.wall = Duration::ZERO;
        }
        // Several tasks read the clock, so an older reading may be judged after a newer one. It adjusts nothing.
        let most = (reading.after.uptime - base.adjusted).max(Duration::ZERO) / DRIFT;
        base.uptime += jumped.clamp(-most, most);
        base.adjusted = base.adjusted.max(reading.after.uptime);
        Ok(())
    }

    /// Dates from this time on are in the future: PostgreSQL's time, or that of a witness if PostgreSQL's is ahead of
    /// it. So a valid expiry is not refused because of a wrong clock.
    pub fn earliest(&self, database: OffsetDateTime, clock: &dyn Clock) -> OffsetDateTime {
        let lowest = match self.base {
            Some(base) => by_uptime(base.uptime, clock).min(clock.now() + base.wall),
            None => clock.now(),
        };
        if database - lowest > TOLERANCE { lowest } else { database }
    }

    /// Dates after this time are in the future by any clock that may be right. So a valid date of the past is not
    /// refused because of a wrong clock.
    pub fn latest(&self, clock: &dyn Clock) -> OffsetDateTime {
        let expected = self.base.map_or_else(|| clock.now(), |base| by_uptime(base.uptime, clock));
        self.read.map_or(expected, |read| by_uptime(read, clock).max(expected))
    }

    /// The time of day: this process's, corrected to PostgreSQL's if they differ.
    pub fn now(&self, clock: &dyn Clock) -> OffsetDateTime {
        corrected(clock.now(), self.read.map(|read| by_uptime(read, clock)))
    }

    /// PostgreSQL's clock minus this process's, minus the accepted difference.
    pub fn difference(&self, reading: &Reading) -> Duration {
        reading.against_wall().beyond(self.base.map_or(Duration::ZERO, |base| base.wall))
    }
}

/// PostgreSQL's time now, if its offset from uptime has not changed.
fn by_uptime(ahead: Duration, clock: &dyn Clock) -> OffsetDateTime {
    OffsetDateTime::UNIX_EPOCH + ahead + clock.uptime()
}

fn is_far(difference: Duration) -> bool {
    difference.abs() > TOLERANCE
}

/// Difference between PostgreSQL's clock and the last recorded heartbeat, if an outage does not explain it.
fn unexplained(record: &Record, reading: &Reading) -> Option<Duration> {
    let since = reading.database - record.seen_at?;
    (since < -TOLERANCE || since > LONGEST_OUTAGE).then_some(since)
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
