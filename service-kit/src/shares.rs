//! Fair shares of a limited resource, and counts of what is in use.
//!
//! A single caller may use all of it. While another caller is refused, no caller gets more than half.

use std::collections::HashMap;
use std::hash::Hash;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use metrics::Gauge;
use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

/// How long a refusal of one caller limits the others.
const MEMORY: Duration = Duration::from_secs(1);
/// The same for places that are held for long.
const LONG_MEMORY: Duration = Duration::from_secs(60);

/// The callers that were refused recently. Callers are few: those of the configured tokens.
#[derive(Debug)]
pub struct Contention<C> {
    memory: Duration,
    refused: Mutex<HashMap<C, Instant>>,
}

impl<C> Default for Contention<C> {
    fn default() -> Self {
        Self { memory: MEMORY, refused: Mutex::default() }
    }
}

impl<C: Clone + Eq + Hash> Contention<C> {
    /// Notes that a caller was refused.
    pub fn refused(&self, caller: &C, now: Instant) {
        self.refused.lock().insert(caller.clone(), now);
    }

    /// True if another caller was refused recently.
    pub fn by_others(&self, caller: &C, now: Instant) -> bool {
        let recently = |at: &Instant| now.saturating_duration_since(*at) < self.memory;
        self.refused.lock().iter().any(|(other, at)| other != caller && recently(at))
    }
}

/// What each caller has spent recently of a budget per second.
#[derive(Debug)]
pub struct Shares<C> {
    half_per_second: f64,
    contention: Arc<Contention<C>>,
    callers: Mutex<HashMap<C, Usage>>,
}

#[derive(Clone, Copy, Debug)]
struct Usage {
    /// Cost units spent, minus those that half of the budget has restored since.
    spent: f64,
    at: Instant,
}

impl<C: Clone + Eq + Hash> Shares<C> {
    /// Shares of this many cost units per second.
    pub fn new(per_second: NonZeroU32, contention: Arc<Contention<C>>) -> Self {
        Self { half_per_second: f64::from(per_second.get()) / 2.0, contention, callers: Mutex::default() }
    }

    /// True if the share of a caller allows this cost.
    pub fn allow(&self, caller: &C, cells: u32, now: Instant) -> bool {
        let spent = self.usage(&mut self.callers.lock(), caller, now).spent;
        // A caller that has spent nothing may exceed its share once: a larger cost could never be spent otherwise.
        !self.contention.by_others(caller, now)
            || spent <= 0.0
            || spent + f64::from(cells) <= self.half_per_second
    }

    /// Notes a cost that a caller has spent.
    pub fn spent(&self, caller: &C, cells: u32, now: Instant) {
        self.usage(&mut self.callers.lock(), caller, now).spent += f64::from(cells);
    }

    fn usage<'a>(&self, callers: &'a mut HashMap<C, Usage>, caller: &C, now: Instant) -> &'a mut Usage {
        let usage = callers.entry(caller.clone()).or_insert(Usage { spent: 0.0, at: now });
        let back = now.saturating_duration_since(usage.at).as_secs_f64() * self.half_per_second;
        (usage.spent, usage.at) = ((usage.spent - back).max(0.0), now);
        usage
    }
}

/// Counts the places of each caller, without handing them out. Clones share the count.
#[derive(Clone, Debug)]
pub struct Holders<C> {
    half: usize,
    contention: Arc<Contention<C>>,
    held: Arc<Mutex<HashMap<C, usize>>>,
}

impl<C: Clone + Eq + Hash> Holders<C> {
    /// A count of this many places.
    pub fn new(places: usize, contention: Arc<Contention<C>>) -> Self {
        Self { half: (places / 2).max(1), contention, held: Arc::default() }
    }

    /// Counts places of a caller, or its wait for them, since waiting calls take the next free places. `None` if the
    /// caller would exceed its share.
    pub fn hold(&self, caller: &C, places: usize, now: Instant) -> Option<Hold<C>> {
        self.hold_in(self.held.lock(), caller, places, now)
    }

    fn hold_in(
        &self,
        mut held: MutexGuard<'_, HashMap<C, usize>>,
        caller: &C,
        places: usize,
        now: Instant,
    ) -> Option<Hold<C>> {
        let own = held.entry(caller.clone()).or_default();
        // A caller without places may exceed its share once: a larger request could never be admitted otherwise.
        if *own > 0 && *own + places > self.half && self.contention.by_others(caller, now) {
            return None;
        }
        *own += places;
        Some(Hold { held: Arc::clone(&self.held), caller: caller.clone(), places })
    }

    /// Notes that a caller was refused a place.
    pub fn refused(&self, caller: &C, now: Instant) {
        self.contention.refused(caller, now);
    }
}

/// Places that are held for long, and taken at once or not at all. A caller's places become free as its calls end, so a
/// refusal limits the others for a minute. Clones share the places.
#[derive(Clone, Debug)]
pub struct Places<C> {
    most: usize,
    holders: Holders<C>,
}

/// Why a caller was refused a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// All places are taken.
    Full,
    /// The caller has half of the places, and another caller was refused.
    Share,
}

impl Refused {
    /// Label of metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Share => "share",
        }
    }
}

impl<C: Clone + Eq + Hash> Places<C> {
    /// A set of `most` places.
    pub fn new(most: usize) -> Self {
        let contention = Contention { memory: LONG_MEMORY, ..Contention::default() };
        let contention = Arc::new(contention);
        Self { most, holders: Holders { half: most.div_ceil(2), contention, held: Arc::default() } }
    }

    /// Takes a place.
    pub fn take(&self, caller: C, now: Instant) -> Result<Hold<C>, Refused> {
        let held = self.holders.held.lock();
        if held.values().sum::<usize>() >= self.most {
            self.holders.refused(&caller, now);
            return Err(Refused::Full);
        }
        self.holders.hold_in(held, &caller, 1, now).ok_or(Refused::Share)
    }
}

/// Counted places; given back when dropped.
#[derive(Debug)]
pub struct Hold<C: Eq + Hash> {
    held: Arc<Mutex<HashMap<C, usize>>>,
    caller: C,
    places: usize,
}

impl<C: Eq + Hash> Drop for Hold<C> {
    fn drop(&mut self) {
        if let Some(own) = self.held.lock().get_mut(&self.caller) {
            *own -= self.places;
        }
    }
}

/// An amount in use. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct InUse(Arc<AtomicUsize>);

impl InUse {
    pub(crate) fn amount(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Adds an amount, until the result is dropped.
    pub(crate) fn add(&self, amount: usize) -> Taken {
        let sum = self.0.fetch_add(amount, Ordering::Relaxed) + amount;
        Taken { of: self.clone(), amount, sum, shown: None }
    }
}

/// A part of an amount in use; given back when dropped.
#[derive(Debug)]
pub(crate) struct Taken {
    of: InUse,
    amount: usize,
    /// The amount in use when this was taken, with this.
    pub(crate) sum: usize,
    shown: Option<Shown>,
}

impl Taken {
    /// Shows it in a gauge as well.
    pub(crate) fn shown(mut self, gauge: &Gauge) -> Self {
        self.shown = Some(Shown::new(gauge.clone(), self.amount));
        self
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.of.0.fetch_sub(self.amount, Ordering::Relaxed);
    }
}

/// An amount that a gauge shows, until this is dropped.
#[derive(Debug)]
pub(crate) struct Shown {
    gauge: Gauge,
    amount: f64,
}

impl Shown {
    pub(crate) fn new(gauge: Gauge, amount: usize) -> Self {
        let amount = amount as f64;
        gauge.increment(amount);
        Self { gauge, amount }
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        self.gauge.decrement(self.amount);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares() -> Shares<&'static str> {
        Shares::new(NonZeroU32::new(10).expect("above zero"), Arc::default())
    }

    #[test]
    fn one_caller_may_use_all_while_no_other_is_refused() {
        let (shares, now) = (shares(), Instant::now());
        for _ in 0..10 {
            assert!(shares.allow(&"one", 1, now));
            shares.spent(&"one", 1, now);
        }
        shares.contention.refused(&"one", now);
        assert!(shares.allow(&"one", 1, now), "its own refusals do not limit it");
    }

    #[test]
    fn while_another_is_refused_each_gets_half() {
        let (shares, now) = (shares(), Instant::now());
        shares.spent(&"one", 8, now);
        shares.contention.refused(&"other", now);
        assert!(!shares.allow(&"one", 1, now));
        assert!(shares.allow(&"other", 5, now));
        // What it has spent is forgiven with time, and so is the refusal.
        let later = now + Duration::from_millis(900);
        assert!(shares.allow(&"one", 1, later) && !shares.allow(&"one", 2, later));
        assert!(shares.allow(&"one", 9, now + MEMORY));
    }

    #[test]
    fn one_caller_may_have_all_places_until_another_is_refused() {
        let (holders, now) = (Holders::new(4, Arc::default()), Instant::now());
        let mut held: Vec<_> =
            (0..6).map(|_| holders.hold(&"one", 1, now).expect("it waits alone")).collect();
        holders.refused(&"other", now);
        assert!(holders.hold(&"one", 1, now).is_none(), "it has its half");
        assert!(holders.hold(&"other", 1, now).is_some());
        held.truncate(1);
        assert!(holders.hold(&"one", 1, now).is_some());
        held.extend((0..3).map_while(|_| holders.hold(&"one", 1, now + MEMORY)));
        assert_eq!(held.len(), 4, "the refusal is forgotten");
    }

    #[test]
    fn long_lists_count_for_as_many_places_as_they_take() {
        let (holders, now) = (Holders::new(12, Arc::default()), Instant::now());
        holders.refused(&"other", now);
        let long = holders.hold(&"one", 10, now).expect("it would never have a turn otherwise");
        assert!(holders.hold(&"one", 1, now).is_none(), "it has more than its half");
        drop(long);
        let _short = holders.hold(&"one", 1, now).expect("all is given back");
        assert!(holders.hold(&"one", 10, now).is_none());
        assert!(holders.hold(&"one", 5, now).is_some());
    }

    #[test]
    fn one_caller_may_take_all_places() {
        let (places, now) = (Places::new(4), Instant::now());
        let mut held: Vec<_> = (0..4).map(|_| places.take("one", now).expect("a place")).collect();
        assert!(places.take("one", now).is_err());
        held.pop();
        assert!(places.take("one", now).is_ok(), "its own refusal does not count against it");
    }

    #[test]
    fn a_refused_caller_gets_the_next_free_place() {
        let (places, now) = (Places::new(4), Instant::now());
        let mut held: Vec<_> = (0..4).map(|_| places.take("one", now).expect("a place")).collect();
        assert!(places.take("other", now).is_err());
        held.pop();
        assert_eq!(places.take("one", now).err(), Some(Refused::Share));
        let _other = places.take("other", now).expect("a place");
        held.truncate(1);
        assert!(places.take("one", now).is_ok(), "it is below its half");
    }

    #[test]
    fn a_refusal_of_a_place_is_forgotten_after_a_minute() {
        let (places, now) = (Places::new(2), Instant::now());
        let held = [places.take("one", now), places.take("one", now)];
        assert!(places.take("other", now).is_err());
        let [first, _second] = held;
        drop(first);
        assert!(places.take("one", now).is_err());
        assert!(places.take("one", now + LONG_MEMORY).is_ok());
    }
}
