//! Shares of the fallback budget.
//!
//! One caller may use all of the budget while no other wants it. While another caller is refused, no caller gets more
//! than half.

use std::collections::HashMap;
use std::hash::Hash;
use std::num::NonZeroU32;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// For how long a refusal of one caller limits the others.
const MEMORY: Duration = Duration::from_secs(1);

/// What each caller has spent lately. Callers are few: those of the configured tokens.
#[derive(Debug)]
pub struct Shares<C> {
    half_per_second: f64,
    callers: Mutex<HashMap<C, Usage>>,
}

#[derive(Clone, Copy, Debug)]
struct Usage {
    /// Cells spent, less what half of the budget gives back with time.
    spent: f64,
    at: Instant,
    refused_at: Option<Instant>,
}

impl<C: Clone + Eq + Hash> Shares<C> {
    /// Shares of so many cells per second.
    pub fn new(per_second: NonZeroU32) -> Self {
        Self { half_per_second: f64::from(per_second.get()) / 2.0, callers: Mutex::default() }
    }

    /// True if a caller may spend these cells, as far as others are concerned.
    pub fn allow(&self, caller: &C, cells: u32, now: Instant) -> bool {
        let wanted = self.wanted_by_others(caller, now);
        let mut callers = self.callers();
        let spent = self.usage(&mut callers, caller, now).spent;
        // One that has spent nothing may spend more than its share at once: it would be refused for good otherwise.
        !wanted || spent <= 0.0 || spent + f64::from(cells) <= self.half_per_second
    }

    /// True if another caller was refused lately.
    pub fn wanted_by_others(&self, caller: &C, now: Instant) -> bool {
        let lately = |at| now.saturating_duration_since(at) < MEMORY;
        self.callers().iter().any(|(other, usage)| other != caller && usage.refused_at.is_some_and(lately))
    }

    /// A caller has spent these cells.
    pub fn spent(&self, caller: &C, cells: u32, now: Instant) {
        self.usage(&mut self.callers(), caller, now).spent += f64::from(cells);
    }

    /// A caller was refused for want of budget.
    pub fn refused(&self, caller: &C, now: Instant) {
        self.usage(&mut self.callers(), caller, now).refused_at = Some(now);
    }

    fn usage<'a>(&self, callers: &'a mut HashMap<C, Usage>, caller: &C, now: Instant) -> &'a mut Usage {
        let fresh = Usage { spent: 0.0, at: now, refused_at: None };
        let usage = callers.entry(caller.clone()).or_insert(fresh);
        let back = now.saturating_duration_since(usage.at).as_secs_f64() * self.half_per_second;
        (usage.spent, usage.at) = ((usage.spent - back).max(0.0), now);
        usage
    }

    fn callers(&self) -> MutexGuard<'_, HashMap<C, Usage>> {
        // Whole at any time: no code that could panic runs under the lock.
        self.callers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares() -> Shares<&'static str> {
        Shares::new(NonZeroU32::new(10).expect("above zero"))
    }

    #[test]
    fn one_caller_may_use_all_while_no_other_is_refused() {
        let (shares, now) = (shares(), Instant::now());
        for _ in 0..10 {
            assert!(shares.allow(&"one", 1, now));
            shares.spent(&"one", 1, now);
        }
        shares.refused(&"one", now);
        assert!(shares.allow(&"one", 1, now), "its own refusals do not limit it");
    }

    #[test]
    fn while_another_is_refused_each_gets_half() {
        let (shares, now) = (shares(), Instant::now());
        shares.spent(&"one", 8, now);
        shares.refused(&"other", now);
        assert!(!shares.allow(&"one", 1, now));
        assert!(shares.allow(&"other", 5, now));
        // What it has spent is forgiven with time, and so is the refusal.
        let later = now + Duration::from_millis(900);
        assert!(shares.allow(&"one", 1, later) && !shares.allow(&"one", 2, later));
        assert!(shares.allow(&"one", 9, now + MEMORY));
    }
}
