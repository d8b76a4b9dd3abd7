//! Rate limit of the writes of each actor.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use proto::UserId;
use proto::error::{Reason, ServiceError};
use service_kit::ids;

use crate::metrics;

/// Above this number of actors in memory, idle ones are dropped.
const MAX_ACTORS: usize = 100_000;

/// Writes per second of each actor, counted by this process alone; the default has no limit. Clones share the count.
#[derive(Clone, Debug, Default)]
pub struct WriteLimit(Option<Arc<Limiter>>);

#[derive(Debug)]
struct Limiter {
    per_second: NonZeroU32,
    actors: DefaultKeyedRateLimiter<UserId>,
    clock: DefaultClock,
}

impl WriteLimit {
    /// Allows this many writes per second, and a burst of as many; 0 for no limit.
    pub fn per_second(writes: u32) -> Self {
        Self(NonZeroU32::new(writes).map(|per_second| {
            let actors = RateLimiter::keyed(Quota::per_second(per_second));
            Arc::new(Limiter { per_second, actors, clock: DefaultClock::default() })
        }))
    }

    /// Counts one write; fails with RATE_LIMITED and a retry delay.
    pub fn check(&self, actor: UserId) -> Result<(), ServiceError> {
        self.check_all([actor])
    }

    /// Counts one command as several writes.
    pub fn check_many(&self, actor: UserId, writes: usize) -> Result<(), ServiceError> {
        self.check_of(actor, u32::try_from(writes).unwrap_or(u32::MAX))
    }

    /// Counts the writes of one command. More writes of an actor than its limit count as the limit, or they would never
    /// pass. If those of one actor are refused, those of others may already be counted.
    pub fn check_all(&self, actors: impl IntoIterator<Item = UserId>) -> Result<(), ServiceError> {
        let mut writes = BTreeMap::<UserId, u32>::new();
        actors.into_iter().for_each(|actor| *writes.entry(actor).or_default() += 1);
        writes.into_iter().try_for_each(|(actor, writes)| self.check_of(actor, writes))
    }

    fn check_of(&self, actor: UserId, writes: u32) -> Result<(), ServiceError> {
        let Some(limiter) = &self.0 else { return Ok(()) };
        let writes = NonZeroU32::new(writes).map_or(NonZeroU32::MIN, |writes| writes.min(limiter.per_second));
        if limiter.actors.len() > MAX_ACTORS {
            limiter.actors.retain_recent();
        }
        // It cannot fail: the burst holds a second's writes.
        let Ok(outcome) = limiter.actors.check_key_n(&actor, writes) else { return Ok(()) };
        outcome.map_err(|not_until| {
            ::metrics::counter!(metrics::RATE_LIMITED).increment(1);
            let wait = not_until.wait_time_from(limiter.clock.now());
            let per_second = limiter.per_second;
            ServiceError::new(Reason::RateLimited, format!("the actor {actor} writes too fast"))
                .quota(format!("actor:{actor}"), format!("{per_second} writes a second"))
                .retry_after(ids::jitter(wait.max(Duration::from_millis(1)), 1.0..=1.5))
        })
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn each_actor_has_a_quota_of_its_own() {
        let user = |n| UserId::new(Uuid::from_u128(n)).expect("not nil");
        let limit = WriteLimit::per_second(2);
        assert!(limit.check(user(1)).is_ok() && limit.check(user(1)).is_ok());
        let error = limit.check(user(1)).expect_err("the third");
        assert_eq!(error.reason, Reason::RateLimited);
        assert!(error.retry_after.is_some() && error.quota.is_some());
        assert!(limit.check(user(2)).is_ok());
        assert!(limit.check_all([3, 4, 3, 3].map(user)).is_ok(), "more than the limit at once");
        assert!(limit.check(user(3)).is_err() && limit.check(user(4)).is_ok());
        assert!(limit.check_many(user(5), 100_000).is_ok() && limit.check(user(5)).is_err());
        assert!(WriteLimit::default().check(user(1)).is_ok());
    }
}
