//! The budget of reads from PostgreSQL in place of the read model: cost units per second, and concurrent reads.
//!
//! A read waits for a place for a moment, since places become free all the time, but never for the budget: a queue in
//! front of the writer's database would make an outage worse. If the budget is used up, the caller is rejected at once
//! with a retry delay.

use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher, Hash};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::StateInformationMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use parking_lot::Mutex;
use service_kit::shares::{Contention, Hold, Holders, Shares};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// Typical time until a place becomes free when all are taken.
const PLACE_PAUSE: Duration = Duration::from_millis(20);
const NO_PLACE: Exhausted = Exhausted { limit: Limit::Concurrency, retry_after: PLACE_PAUSE };
/// Timeout of the wait for a place.
const PLACE_WAIT: Duration = Duration::from_millis(50);

/// Typical time until some of a caller's used-up share returns.
const SHARE_PAUSE: Duration = Duration::from_millis(250);

/// A read that costs more than this (a page of the API's largest size, 1,000 rows) counts as large. All large reads
/// together leave a quarter of the budget, and of the places, to small ones. Otherwise a few lists of 10,000 rows per
/// second would exhaust the budget, and checks would be rejected.
const SMALL: u32 = 21;

/// Hash of the caller, so that it can be copied; zero for callers without a token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct CallerKey(u64);

impl CallerKey {
    /// All callers without a token.
    pub const NONE: Self = Self(0);

    /// The key of a caller.
    pub fn of(caller: &impl Hash) -> Self {
        Self(BuildHasherDefault::<DefaultHasher>::default().hash_one(caller))
    }
}

/// Tokio's clock for the limiter, so that tests can stop it.
#[derive(Clone, Debug)]
struct TokioClock(Instant);

impl Clock for TokioClock {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        self.0.elapsed().into()
    }
}

/// The exceeded limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Cost units per second.
    Rate,
    /// Half of the cost units per second, while another caller is rejected.
    Share,
    /// Concurrent reads.
    Concurrency,
}

impl Limit {
    /// Name in metrics and in the error's metadata.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::Share => "share",
            Self::Concurrency => "concurrency",
        }
    }
}

/// A rejection by the budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exhausted {
    pub limit: Limit,
    /// Earliest time at which a retry can succeed.
    pub retry_after: Duration,
}

type Limiter = RateLimiter<NotKeyed, InMemoryState, TokioClock, StateInformationMiddleware>;

/// The budget, in cost units. One unit is about one small statement.
#[derive(Debug)]
pub struct Budget {
    shares: Shares<CallerKey>,
    limiter: Limiter,
    /// The part of it for large reads.
    large: Limiter,
    clock: TokioClock,
    per_second: NonZeroU32,
    places: Arc<Semaphore>,
    /// The part of them for large reads.
    large_places: Arc<Semaphore>,
    holders: Holders<CallerKey>,
    last: Mutex<Last>,
}

/// A place of a read. Freed on drop.
#[derive(Debug)]
pub struct Place {
    _permit: OwnedSemaphorePermit,
    _large: Option<OwnedSemaphorePermit>,
    _hold: Hold<CallerKey>,
}

/// The remainder that the limiter last reported; it cannot be read without taking units.
#[derive(Clone, Copy, Debug)]
struct Last {
    left: u32,
    at: Instant,
}

impl Budget {
    /// Allows `per_second` cost units per second, with a burst of as many, and `concurrency` concurrent reads.
    pub fn new(per_second: NonZeroU32, concurrency: usize, now: Instant) -> Self {
        let clock = TokioClock(now);
        let limiter = |per_second| {
            RateLimiter::direct_with_clock(Quota::per_second(per_second), clock.clone())
                .with_middleware::<StateInformationMiddleware>()
        };
        let limiters = (limiter(per_second), limiter(part_of_large(per_second)));
        let contention = Arc::<Contention<CallerKey>>::default();
        Self {
            shares: Shares::new(per_second, Arc::clone(&contention)),
            limiter: limiters.0,
            large: limiters.1,
            clock,
            per_second,
            places: Arc::new(Semaphore::new(concurrency)),
            large_places: Arc::new(Semaphore::new(concurrency - concurrency / 4)),
            holders: Holders::new(concurrency, contention),
            last: Mutex::new(Last { left: per_second.get(), at: now }),
        }
    }

    /// Takes cost units, or rejects at once. A read that costs more than the burst takes everything, because it would
    /// be rejected every time otherwise. Take a place first: a read without a place must not use up the budget. A
    /// caller that has used half of the budget gets no more while another one is rejected.
    pub fn spend(&self, cost: u32, caller: CallerKey) -> Result<(), Exhausted> {
        let now = Instant::now();
        let cost = NonZeroU32::new(cost).unwrap_or(NonZeroU32::MIN).min(self.per_second);
        let outcome = if self.shares.allow(&caller, cost.get(), now) {
            self.take(cost)
        } else {
            Err(Exhausted { limit: Limit::Share, retry_after: SHARE_PAUSE })
        };
        match outcome {
            Ok(()) => self.shares.spent(&caller, cost.get(), now),
            Err(_) => self.holders.refused(&caller, now),
        }
        outcome
    }

    fn take(&self, cost: NonZeroU32) -> Result<(), Exhausted> {
        let refused = |retry_after| Exhausted { limit: Limit::Rate, retry_after };
        // The limiter returns nothing: if the whole budget rejects a read, the large reads' part has already lost its
        // units. In the other order, rejected large reads would use up what is left for the small ones.
        if cost.get() > SMALL
            && let Ok(Err(not_until)) = self.large.check_n(cost.min(part_of_large(self.per_second)))
        {
            return Err(refused(not_until.wait_time_from(self.clock.now())));
        }
        let (left, outcome) = match self.limiter.check_n(cost) {
            Ok(Ok(state)) => (state.remaining_burst_capacity(), Ok(())),
            Ok(Err(not_until)) => {
                let retry_after = not_until.wait_time_from(self.clock.now());
                (self.left(), Err(refused(retry_after)))
            }
            // Cannot happen: the cost was reduced to the capacity.
            Err(_) => (self.left(), Err(refused(Duration::from_secs(1)))),
        };
        *self.last.lock() = Last { left, at: Instant::now() };
        outcome
    }

    /// Takes a free place and cost units, or rejects at once: for work that belongs to no call.
    pub fn admit(&self, cost: u32) -> Result<OwnedSemaphorePermit, Exhausted> {
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| NO_PLACE)?;
        self.take(NonZeroU32::new(cost).unwrap_or(NonZeroU32::MIN).min(self.per_second))?;
        Ok(place)
    }

    /// Takes a place for a read of this cost, or rejects if none becomes free in a moment. Dropping the place frees it.
    /// A caller that has half of the places gets no more while another one is rejected.
    pub async fn place(&self, cost: u32, deadline: Instant, caller: CallerKey) -> Result<Place, Exhausted> {
        let own_share = Exhausted { limit: Limit::Share, retry_after: SHARE_PAUSE };
        let hold = self.holders.hold(&caller, 1, Instant::now()).ok_or(own_share)?;
        let until = deadline.min(Instant::now() + PLACE_WAIT);
        let permits = async {
            let large = if cost > SMALL { Some(free(&self.large_places).await?) } else { None };
            Some((free(&self.places).await?, large))
        };
        let permits = tokio::time::timeout_at(until, permits).await;
        let (permit, large) = permits.ok().flatten().ok_or_else(|| {
            self.holders.refused(&caller, Instant::now());
            NO_PLACE
        })?;
        Ok(Place { _permit: permit, _large: large, _hold: hold })
    }

    /// Approximate number of cost units that are left.
    pub fn left(&self) -> u32 {
        let last = *self.last.lock();
        let grown = last.at.elapsed().as_secs_f64() * f64::from(self.per_second.get());
        // Below the capacity, which is a u32.
        (f64::from(last.left) + grown).min(f64::from(self.per_second.get())) as u32
    }
}

/// Waits for a free place. Takes one that is free already at once, without yielding to other tasks.
async fn free(places: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
    match Arc::clone(places).try_acquire_owned() {
        Ok(permit) => Some(permit),
        Err(_) => Arc::clone(places).acquire_owned().await.ok(),
    }
}

fn part_of_large(per_second: NonZeroU32) -> NonZeroU32 {
    NonZeroU32::new(per_second.get() - per_second.get() / 4).unwrap_or(NonZeroU32::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: CallerKey = CallerKey(1);
    const OTHER: CallerKey = CallerKey(2);

    fn budget(per_second: u32, concurrency: usize) -> Budget {
        Budget::new(NonZeroU32::new(per_second).expect("above zero"), concurrency, Instant::now())
    }

    #[tokio::test(start_paused = true)]
    async fn it_refuses_beyond_the_rate_and_says_when_to_come_back() {
        let budget = budget(10, 100);
        for _ in 0..10 {
            budget.spend(1, ONE).expect("within the budget");
        }
        let refused = budget.spend(5, ONE).expect_err("the budget is used up");
        assert_eq!(refused.limit, Limit::Rate);
        assert!(refused.retry_after > Duration::from_millis(300), "{refused:?}");
        assert!(refused.retry_after <= Duration::from_millis(500), "{refused:?}");
        tokio::time::advance(refused.retry_after).await;
        budget.spend(5, ONE).expect("the time that it said has passed");
    }

    #[tokio::test(start_paused = true)]
    async fn a_read_larger_than_the_budget_is_taken_when_it_is_full() {
        let budget = budget(10, 100);
        budget.spend(21, ONE).expect("it takes everything");
        assert!(budget.spend(1, ONE).is_err());
        tokio::time::advance(Duration::from_secs(1)).await;
        budget.spend(21, ONE).expect("it is full again");
    }

    #[tokio::test(start_paused = true)]
    async fn large_reads_leave_a_quarter_of_the_budget_to_small_ones() {
        let budget = budget(400, 4);
        budget.spend(150, ONE).expect("within their part");
        let refused = budget.spend(201, OTHER).expect_err("beyond the budget, for any caller");
        assert_eq!(refused.limit, Limit::Rate);
        assert!(refused.retry_after > Duration::from_millis(100), "{refused:?}");
        for cost in [SMALL; 11].into_iter().chain([19]) {
            budget.spend(cost, OTHER).expect("small ones have all that is left");
        }
        assert!(budget.spend(1, OTHER).is_err());
        let soon = Instant::now() + Duration::from_secs(1);
        let mut held = Vec::new();
        for caller in [ONE, ONE, OTHER] {
            held.push(budget.place(SMALL + 1, soon, caller).await.expect("their part of the places"));
        }
        assert_eq!(
            budget.place(SMALL + 1, soon, OTHER).await.expect_err("the last place").limit,
            Limit::Concurrency
        );
        held.push(budget.place(SMALL, soon, OTHER).await.expect("a small one"));
    }

    #[tokio::test(start_paused = true)]
    async fn places_are_limited_and_come_back() {
        let budget = budget(100, 2);
        let soon = || Instant::now() + Duration::from_secs(1);
        let (one, _two) =
            (budget.place(1, soon(), ONE).await.expect("a place"), budget.place(1, soon(), ONE).await);
        let began = Instant::now();
        let refused = budget.place(1, soon(), ONE).await.expect_err("no place is left");
        assert_eq!((refused.limit, began.elapsed()), (Limit::Concurrency, PLACE_WAIT));
        let (third, ()) = tokio::join!(budget.place(1, soon(), ONE), async {
            tokio::time::sleep(PLACE_WAIT / 2).await;
            drop(one);
        });
        drop(third.expect("a place became free while it waited"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_greedy_caller_leaves_half_of_the_places_once_another_is_refused() {
        let budget = budget(100, 4);
        let soon = || Instant::now() + Duration::from_secs(1);
        let mut held = Vec::new();
        for _ in 0..4 {
            held.push(budget.place(1, soon(), ONE).await.expect("no other caller waits"));
        }
        assert_eq!(budget.place(1, soon(), OTHER).await.expect_err("none is left").limit, Limit::Concurrency);
        held.truncate(3);
        assert_eq!(budget.place(1, soon(), ONE).await.expect_err("beyond its share").limit, Limit::Share);
        held.push(budget.place(1, soon(), OTHER).await.expect("what the greedy one has to leave"));
        drop(held);
        let later = soon() + Duration::from_secs(1);
        tokio::time::advance(Duration::from_secs(1)).await;
        for _ in 0..4 {
            std::mem::forget(budget.place(1, later, ONE).await.expect("no other caller waits"));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_left_grows_back() {
        let budget = budget(10, 100);
        assert_eq!(budget.left(), 10);
        budget.spend(10, ONE).expect("all of it");
        assert_eq!(budget.left(), 0);
        tokio::time::advance(Duration::from_millis(500)).await;
        assert_eq!(budget.left(), 5);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(budget.left(), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn a_greedy_caller_leaves_half_once_another_is_refused() {
        let budget = budget(10, 100);
        budget.spend(10, ONE).expect("no other caller waits");
        assert_eq!(budget.spend(1, OTHER).expect_err("it is used up").limit, Limit::Rate);
        tokio::time::advance(Duration::from_millis(500)).await;
        assert_eq!(budget.spend(1, ONE).expect_err("beyond its share").limit, Limit::Share);
        budget.spend(5, OTHER).expect("what the greedy one has to leave");
    }
}
