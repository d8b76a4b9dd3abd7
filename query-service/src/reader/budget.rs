//! The budget of reads from the source of truth.
//!
//! Owns: how many reads PostgreSQL takes over from the read model, per second and at a time. It must not know why a
//! read falls back. What can go wrong: the budget is used up; the caller is told at once, and when to come back.
//! Nothing waits here: a queue in front of the writer's database would make a bad minute worse.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::StateInformationMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// When all places are taken, one becomes free within about this time.
const PLACE_PAUSE: Duration = Duration::from_millis(20);

/// Tokio's clock for the limiter, so that tests can stop it.
#[derive(Clone, Debug)]
struct TokioClock(Instant);

impl Clock for TokioClock {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        self.0.elapsed().into()
    }
}

/// Which limit refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Cells per second.
    Rate,
    /// Reads at a time.
    Concurrency,
}

impl Limit {
    /// Its name in metrics and in the error's metadata.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::Concurrency => "concurrency",
        }
    }
}

/// A refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exhausted {
    /// Which limit.
    pub limit: Limit,
    /// When the same read would be taken, if no other came before it.
    pub retry_after: Duration,
}

/// The budget. A cell is about one small statement.
#[derive(Debug)]
pub struct Budget {
    limiter: RateLimiter<NotKeyed, InMemoryState, TokioClock, StateInformationMiddleware>,
    clock: TokioClock,
    per_second: NonZeroU32,
    places: Arc<Semaphore>,
    last: Mutex<Last>,
}

/// What was left when the limiter was last asked; it cannot be asked without taking.
#[derive(Clone, Copy, Debug)]
struct Last {
    left: u32,
    at: Instant,
}

impl Budget {
    /// So many cells per second, and as many saved up at most; so many reads at a time.
    pub fn new(per_second: NonZeroU32, concurrency: usize, now: Instant) -> Self {
        let clock = TokioClock(now);
        let limiter = RateLimiter::direct_with_clock(Quota::per_second(per_second), clock.clone())
            .with_middleware::<StateInformationMiddleware>();
        Self {
            limiter,
            clock,
            per_second,
            places: Arc::new(Semaphore::new(concurrency)),
            last: Mutex::new(Last { left: per_second.get(), at: now }),
        }
    }

    /// Takes the cells and a place, or refuses at once. The place is free again when the permit is dropped. A read
    /// that costs more than can be saved up takes everything: it would be refused for ever otherwise.
    pub fn admit(&self, cells: u32) -> Result<OwnedSemaphorePermit, Exhausted> {
        // The place first: a read that finds none must not use up cells.
        let place = self.place()?;
        let cells = NonZeroU32::new(cells).unwrap_or(NonZeroU32::MIN).min(self.per_second);
        let (left, outcome) = match self.limiter.check_n(cells) {
            Ok(Ok(state)) => (state.remaining_burst_capacity(), Ok(place)),
            Ok(Err(not_until)) => {
                let retry_after = not_until.wait_time_from(self.clock.now());
                (self.left(), Err(Exhausted { limit: Limit::Rate, retry_after }))
            }
            // Cannot happen: the cells were cut to the capacity.
            Err(_) => {
                (self.left(), Err(Exhausted { limit: Limit::Rate, retry_after: Duration::from_secs(1) }))
            }
        };
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Last { left, at: Instant::now() };
        outcome
    }

    /// Takes a place alone, or refuses at once.
    pub fn place(&self) -> Result<OwnedSemaphorePermit, Exhausted> {
        Arc::clone(&self.places)
            .try_acquire_owned()
            .map_err(|_| Exhausted { limit: Limit::Concurrency, retry_after: PLACE_PAUSE })
    }

    /// Cells that are left now, about.
    pub fn left(&self) -> u32 {
        // A pair of numbers is whole at any time.
        let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let grown = last.at.elapsed().as_secs_f64() * f64::from(self.per_second.get());
        // Below the capacity, which is a u32.
        (f64::from(last.left) + grown).min(f64::from(self.per_second.get())) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(per_second: u32, concurrency: usize) -> Budget {
        Budget::new(NonZeroU32::new(per_second).expect("above zero"), concurrency, Instant::now())
    }

    #[tokio::test(start_paused = true)]
    async fn it_refuses_beyond_the_rate_and_says_when_to_come_back() {
        let budget = budget(10, 100);
        for _ in 0..10 {
            drop(budget.admit(1).expect("within the budget"));
        }
        let refused = budget.admit(5).expect_err("the budget is used up");
        assert_eq!(refused.limit, Limit::Rate);
        assert!(refused.retry_after > Duration::from_millis(300), "{refused:?}");
        assert!(refused.retry_after <= Duration::from_millis(500), "{refused:?}");
        tokio::time::advance(refused.retry_after).await;
        drop(budget.admit(5).expect("the time that it said has passed"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_read_larger_than_the_budget_is_taken_when_it_is_full() {
        let budget = budget(10, 100);
        drop(budget.admit(21).expect("it takes everything"));
        assert!(budget.admit(1).is_err());
        tokio::time::advance(Duration::from_secs(1)).await;
        drop(budget.admit(21).expect("it is full again"));
    }

    #[tokio::test(start_paused = true)]
    async fn places_are_limited_and_come_back() {
        let budget = budget(100, 2);
        let (one, _two) = (budget.admit(1).expect("a place"), budget.admit(1).expect("a place"));
        let left = budget.left();
        assert_eq!(budget.admit(1).expect_err("no place is left").limit, Limit::Concurrency);
        assert_eq!(budget.left(), left, "a read without a place costs nothing");
        drop(one);
        drop(budget.admit(1).expect("a place came back"));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_left_grows_back() {
        let budget = budget(10, 100);
        assert_eq!(budget.left(), 10);
        drop(budget.admit(10));
        assert_eq!(budget.left(), 0);
        tokio::time::advance(Duration::from_millis(500)).await;
        assert_eq!(budget.left(), 5);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(budget.left(), 10);
    }
}
