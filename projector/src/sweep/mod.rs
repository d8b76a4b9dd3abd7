//! The sweep: backfill, audit and repair in one. This module decides which range is next, and when.
//!
//! A pass compares all edges of each kind in ranges, then walks from account to account, then compares the counts. In
//! an empty read model it is the backfill, at full speed; once the read model is complete it is the audit, slowly and
//! without end. The caller keeps the read model at the revision of the snapshot during a step.
//!
//! Reading a range while the feed continues is an idea of DBLog (Andreakis and Papapanagiotou, 2020).

pub mod diff;

use std::time::Duration;

use proto::UserId;
use service_kit::backoff::Backoff;
use tokio::time::Instant;

use crate::apply::MAX_CHANGES;
use crate::edge::Kind;
use crate::graph::Cursor;

/// Stage of the walk, after one stage for each kind.
const WALK: i64 = Kind::ALL.len() as i64;
/// Stage of the counts, the last one.
const COUNTS: i64 = WALK + 1;
/// Ranges per second of the audit.
const AUDIT_RANGES_PER_SECOND: u32 = 5;
/// Limit of the accounts in one step of the walk.
const WALK_ACCOUNTS: u32 = 500;
/// Limit of the time by which events delay the audit.
const AUDIT_DELAY: Duration = Duration::from_secs(1);
/// Back-off of a failed step. A step that waits for PostgreSQL delays events.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Interval of writing progress without differences.
const PERSIST: Duration = Duration::from_secs(10);
/// The same while the read model is built.
const PERSIST_BUILDING: Duration = Duration::from_secs(1);

/// The next step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Job {
    /// Compare the first edges after a pair.
    Range {
        /// Kind of the edges.
        kind: Kind,
        /// The pair; `None` at the start.
        after: Option<(UserId, UserId)>,
        /// Number of edges or accounts.
        limit: u32,
    },
    /// Walk the accounts after one.
    Walk {
        /// Id of the account; empty at the start.
        after: String,
        /// Number of edges or accounts.
        limit: u32,
    },
    /// Compare the counts of the first accounts after one.
    Counts {
        /// The account; `None` at the start.
        after: Option<UserId>,
        /// Number of edges or accounts.
        limit: u32,
    },
}

/// Progress and schedule of the sweep.
#[derive(Debug)]
pub struct Sweep {
    cursor: Cursor,
    kept: bool,
    sweep_edges_per_second: u32,
    estimated: u64,
    due: Instant,
    persisted: Instant,
    failures: Backoff,
    walk_accounts: u32,
}

impl Sweep {
    /// Continues from a checkpoint. If edges from before it were `kept`, the walk is part of the pass that makes the
    /// read model complete.
    pub fn resume(mut cursor: Cursor, kept: bool, sweep_edges_per_second: u32, now: Instant) -> Self {
        // The differences of earlier ranges are not written, so the comparison of counts starts over.
        if cursor.stage == COUNTS {
            cursor.source.clear();
        }
        Self {
            cursor,
            kept,
            sweep_edges_per_second,
            estimated: 0,
            due: now,
            persisted: now,
            failures: Backoff::new(SHORTEST_PAUSE, LONGEST_PAUSE),
            walk_accounts: WALK_ACCOUNTS,
        }
    }

    /// Progress, as the checkpoint stores it.
    pub fn cursor(&self) -> &Cursor {
        &self.cursor
    }

    /// True if a pass was completed since the read model was built.
    pub fn complete(&self) -> bool {
        self.cursor.complete
    }

    /// When the next step is due.
    pub fn due(&self) -> Instant {
        self.due
    }

    /// By how much events may delay a step that is due. A build is not delayed: it would never end under load.
    pub fn max_delay(&self) -> Duration {
        if self.complete() { AUDIT_DELAY } else { Duration::ZERO }
    }

    /// True at the start of a pass.
    pub fn at_start(&self) -> bool {
        self.cursor.stage == 0 && self.cursor.source.is_empty()
    }

    /// Sets the approximate number of edges of a pass.
    pub fn estimate(&mut self, edges: u64) {
        self.estimated = edges;
    }

    /// Progress of the pass, from 0 to 1.
    pub fn progress(&self) -> f64 {
        if self.cursor.stage >= WALK {
            return 0.99;
        }
        // A figure for people; digits beyond 2^53 do not matter.
        let done = self.cursor.rows as f64;
        (done / (self.estimated as f64).max(done + 1.0)).clamp(0.0, 0.99)
    }

    /// The next step.
    pub fn job(&self) -> Job {
        if self.cursor.stage == COUNTS {
            return Job::Counts { after: UserId::parse(&self.cursor.source).ok(), limit: self.rows() };
        }
        let Some(kind) = stage_kind(self.cursor.stage) else {
            return Job::Walk {
                after: self.cursor.source.clone(),
                limit: self.rows().min(self.walk_accounts),
            };
        };
        // A cursor that does not parse starts the stage again.
        let after = UserId::parse(&self.cursor.source).ok().zip(UserId::parse(&self.cursor.target).ok());
        Job::Range { kind, after, limit: self.rows() }
    }

    /// The cursor after a range of `rows` edges that ends at `until`, or at the end of its kind.
    pub fn after_range(&self, until: Option<(UserId, UserId)>, rows: usize) -> Cursor {
        let rows = self.cursor.rows + i64::try_from(rows).unwrap_or(0);
        match until {
            Some((source, target)) => {
                Cursor { source: source.to_string(), target: target.to_string(), rows, ..self.cursor.clone() }
            }
            None => {
                let stage = self.cursor.stage + 1;
                // A read model built from nothing holds only our edges, so it may serve before the walk.
                let complete = self.cursor.complete || (stage == WALK && !self.kept);
                Cursor { stage, source: String::new(), target: String::new(), rows, complete }
            }
        }
    }

    /// The cursor after a step of the walk that ended at `last`, or at the end of all accounts.
    pub fn after_walk(&self, last: Option<String>) -> Cursor {
        match last {
            Some(source) => Cursor { source, ..self.cursor.clone() },
            None => Cursor { complete: true, stage: COUNTS, ..Cursor::default() },
        }
    }

    /// The cursor after counts were compared up to `last`, or to the end of all accounts.
    pub fn after_counts(&self, last: Option<UserId>) -> Cursor {
        match last {
            Some(last) => Cursor { source: last.to_string(), ..self.cursor.clone() },
            None => Cursor { complete: true, ..Cursor::default() },
        }
    }

    /// True if this cursor should be written although nothing was repaired.
    pub fn should_persist(&self, next: &Cursor, now: Instant) -> bool {
        let every = if self.complete() { PERSIST } else { PERSIST_BUILDING };
        next.complete != self.cursor.complete || now - self.persisted >= every
    }

    /// Ends a step. Returns true if it ended a pass.
    pub fn done(&mut self, next: Cursor, persisted: bool, now: Instant) -> bool {
        let ended = self.cursor.stage == COUNTS && next.stage == 0;
        self.cursor = next;
        if persisted {
            self.persisted = now;
        }
        self.due = now + self.pause();
        self.failures.reset();
        ended
    }

    /// Schedules the same step again, after the back-off.
    pub fn postpone(&mut self, now: Instant) {
        self.due = now + self.failures.pause();
    }

    /// Makes the next step of the walk smaller.
    pub fn walk_less(&mut self) {
        self.walk_accounts = (self.walk_accounts / 4).max(1);
    }

    /// Allows a larger next step of the walk.
    pub fn walk_more(&mut self) {
        self.walk_accounts = (self.walk_accounts * 2).min(WALK_ACCOUNTS);
    }

    /// Schedules the next look at a step that runs while events are applied.
    pub fn look_again(&mut self, now: Instant) {
        self.due = now + Duration::from_millis(10);
    }

    fn rows(&self) -> u32 {
        let most = u32::try_from(MAX_CHANGES).unwrap_or(u32::MAX);
        if self.complete() {
            (self.sweep_edges_per_second / AUDIT_RANGES_PER_SECOND).clamp(1, most)
        } else {
            most
        }
    }

    fn pause(&self) -> Duration {
        if self.complete() {
            Duration::from_secs_f64(f64::from(self.rows()) / f64::from(self.sweep_edges_per_second))
        } else {
            Duration::ZERO
        }
    }
}

fn stage_kind(stage: i64) -> Option<Kind> {
    usize::try_from(stage).ok().and_then(|stage| Kind::ALL.get(stage)).copied()
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn user(n: u128) -> UserId {
        UserId::new(Uuid::from_u128(n)).unwrap()
    }

    fn sweep(kept: bool) -> Sweep {
        Sweep::resume(Cursor::default(), kept, 1_000, Instant::now())
    }

    fn finish_stage(sweep: &mut Sweep) -> bool {
        let next = match sweep.job() {
            Job::Range { .. } => sweep.after_range(None, 10),
            Job::Walk { .. } => sweep.after_walk(None),
            Job::Counts { .. } => sweep.after_counts(None),
        };
        sweep.done(next, true, Instant::now())
    }

    #[tokio::test]
    async fn a_pass_visits_every_kind_then_walks() {
        let mut sweep = sweep(false);
        for kind in Kind::ALL {
            assert_eq!(sweep.job(), Job::Range { kind, after: None, limit: 2_000 });
            let next = sweep.after_range(Some((user(1), user(2))), 2_000);
            assert!(!sweep.done(next, true, Instant::now()));
            assert_eq!(sweep.job(), Job::Range { kind, after: Some((user(1), user(2))), limit: 2_000 });
            assert!(!sweep.complete());
            assert!(!finish_stage(&mut sweep));
        }
        assert!(matches!(sweep.job(), Job::Walk { .. }));
        assert!(!finish_stage(&mut sweep));
        assert!(matches!(sweep.job(), Job::Counts { after: None, .. }));
        assert!(finish_stage(&mut sweep));
        assert!(sweep.at_start());
    }

    #[tokio::test]
    async fn an_interrupted_comparison_of_counts_starts_over() {
        let mut sweep = sweep(false);
        (0..5).for_each(|_| assert!(!finish_stage(&mut sweep)));
        let next = sweep.after_counts(Some(user(7)));
        sweep.done(next, true, Instant::now());
        assert!(matches!(sweep.job(), Job::Counts { after: Some(_), .. }));
        let again = Sweep::resume(sweep.cursor().clone(), false, 1_000, Instant::now());
        assert!(matches!(again.job(), Job::Counts { after: None, .. }));
    }

    #[tokio::test]
    async fn only_a_kept_read_model_waits_for_the_walk() {
        for kept in [false, true] {
            let mut sweep = sweep(kept);
            Kind::ALL.iter().for_each(|_| assert!(!finish_stage(&mut sweep)));
            assert_eq!(sweep.complete(), !kept);
            finish_stage(&mut sweep);
            assert!(sweep.complete());
        }
    }

    #[tokio::test]
    async fn an_interrupted_pass_continues() {
        let mut first = sweep(true);
        finish_stage(&mut first);
        let next = first.after_range(Some((user(7), user(8))), 5);
        first.done(next, true, Instant::now());
        let second = Sweep::resume(first.cursor().clone(), true, 1_000, Instant::now());
        assert_eq!(second.job(), first.job());
    }

    #[tokio::test]
    async fn the_audit_keeps_its_pace() {
        let mut sweep = sweep(false);
        let now = Instant::now();
        assert_eq!(sweep.due(), sweep.persisted);
        Kind::ALL.iter().for_each(|_| assert!(!finish_stage(&mut sweep)));
        (0..2).for_each(|_| {
            finish_stage(&mut sweep);
        });
        assert_eq!(sweep.job(), Job::Range { kind: Kind::Follow, after: None, limit: 200 });
        sweep.done(sweep.after_range(None, 0), false, now);
        assert_eq!(sweep.due(), now + Duration::from_millis(200));
    }
}
