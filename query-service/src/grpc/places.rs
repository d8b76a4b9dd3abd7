//! Places of watches, or of exports, shared among callers.
//!
//! A caller may take all of them while no other wants one. Once another was refused, it gets no more above its half; its
//! places become free as its calls end.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use service_kit::auth::Caller;
use tokio::time::Instant;

/// For how long a refusal keeps the other callers within their half.
const CONTENTION: Duration = Duration::from_secs(60);

/// The name of a caller; `None` where no tokens are configured.
type Key = Option<String>;

#[derive(Debug, Default)]
struct Inner {
    held: HashMap<Key, usize>,
    /// The last two callers that found no place, and when: one of them is another than the one who asks.
    refused: [Option<(Key, Instant)>; 2],
}

/// The places. Clones share them.
#[derive(Clone, Debug)]
pub struct Places {
    most: usize,
    inner: Arc<Mutex<Inner>>,
}

/// Why a caller gets no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// All are taken.
    Full,
    /// It has its half, and another caller was refused.
    Share,
}

impl Refused {
    /// Its name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Share => "share",
        }
    }
}

/// A place, free again when this is dropped.
#[derive(Debug)]
pub struct Place {
    places: Places,
    caller: Key,
}

impl Places {
    /// With `most` places.
    pub fn new(most: usize) -> Self {
        Self { most, inner: Arc::default() }
    }

    /// Takes a place.
    pub fn take(&self, caller: Option<Caller>, now: Instant) -> Result<Place, Refused> {
        let caller: Key = caller.map(|caller| caller.name().to_owned());
        let mut inner = self.inner.lock();
        let taken: usize = inner.held.values().sum();
        let own = inner.held.get(&caller).copied().unwrap_or(0);
        let contended = inner
            .refused
            .iter()
            .flatten()
            .any(|(other, at)| *other != caller && now.saturating_duration_since(*at) < CONTENTION);
        if taken >= self.most {
            inner.note_refusal(caller, now);
            return Err(Refused::Full);
        }
        if contended && own >= self.most.div_ceil(2) {
            return Err(Refused::Share);
        }
        *inner.held.entry(caller.clone()).or_default() += 1;
        drop(inner);
        Ok(Place { places: self.clone(), caller })
    }
}

impl Inner {
    fn note_refusal(&mut self, caller: Key, now: Instant) {
        let [newest, before] = &mut self.refused;
        if newest.as_ref().is_some_and(|(last, _)| *last != caller) {
            *before = newest.take();
        }
        *newest = Some((caller, now));
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut inner = self.places.lock();
        if let Some(held) = inner.held.get_mut(&self.caller) {
            *held -= 1;
            if *held == 0 {
                inner.held.remove(&self.caller);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(number: usize) -> Option<Caller> {
        Some(Caller::new(format!("caller-{number}")))
    }

    #[test]
    fn one_caller_may_take_all_places() {
        let (places, now) = (Places::new(4), Instant::now());
        let mut held: Vec<_> = (0..4).map(|_| places.take(caller(0), now).expect("a place")).collect();
        assert!(places.take(caller(0), now).is_err());
        held.pop();
        assert!(places.take(caller(0), now).is_ok(), "its own refusal does not count against it");
    }

    #[test]
    fn a_refused_caller_gets_the_next_free_place() {
        let (places, now) = (Places::new(4), Instant::now());
        let mut held: Vec<_> = (0..4).map(|_| places.take(caller(0), now).expect("a place")).collect();
        assert!(places.take(caller(1), now).is_err());
        held.pop();
        assert_eq!(places.take(caller(0), now).err(), Some(Refused::Share));
        let _other = places.take(caller(1), now).expect("a place");
        held.truncate(1);
        assert!(places.take(caller(0), now).is_ok(), "it is below its half");
    }

    #[test]
    fn a_refusal_is_forgotten_after_a_minute() {
        let (places, now) = (Places::new(2), Instant::now());
        let held = [places.take(caller(0), now), places.take(caller(0), now)];
        assert!(places.take(caller(1), now).is_err());
        let [first, _second] = held;
        drop(first);
        assert!(places.take(caller(0), now).is_err());
        assert!(places.take(caller(0), now + CONTENTION).is_ok());
    }
}
