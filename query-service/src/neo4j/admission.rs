//! Admits exchanges to the pool of one replica.
//!
//! The wait for a connection happens here, before the exchange begins: it does not count as time of the server, and a
//! caller that goes away leaves the queue. Reads that do not share statements may take only a part of the connections,
//! so that a client with many lists in flight does not delay other clients' checks. A long list takes several places of
//! that part, because it uses more of the server's CPU.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use crate::metrics::NEO4J_QUEUE;
use crate::queries::{Error, places};

/// Timeout of the wait for a place: longer than a garbage collection pause of the server, shorter than callers'
/// deadlines.
pub const LONGEST_WAIT: Duration = Duration::from_millis(500);

/// Time without any exchange beginning or ending, after which the server counts as stalled.
const STANDSTILL: Duration = LONGEST_WAIT;

/// The places of one replica. Clones share them.
#[derive(Clone, Debug)]
pub struct Admission {
    all: Arc<Semaphore>,
    own: Own,
    /// When a place was last taken or freed.
    moved: Arc<Mutex<Instant>>,
}

/// The places of reads that do not share statements.
#[derive(Clone, Debug)]
enum Own {
    /// Each exchange takes some of these; the number is the total.
    Of(Arc<Semaphore>, u32),
    /// The read holds its places for all of its exchanges.
    Held(Arc<OwnedSemaphorePermit>),
    /// Statements that questions share take none.
    Spared,
}

/// A place. Freed on drop.
#[derive(Debug)]
pub struct Place {
    moved: Arc<Mutex<Instant>>,
    _own: Option<Arc<OwnedSemaphorePermit>>,
    _all: OwnedSemaphorePermit,
}

impl Drop for Place {
    fn drop(&mut self) {
        *self.moved.lock() = Instant::now();
    }
}

impl Admission {
    /// Creates as many places as connections; `shared` of them are reserved for shared statements.
    pub fn new(connections: usize, shared: usize) -> Self {
        let own = connections.saturating_sub(shared).max(1);
        Self {
            all: Arc::new(Semaphore::new(connections)),
            own: Own::Of(Arc::new(Semaphore::new(own)), u32::try_from(own).unwrap_or(u32::MAX)),
            moved: Arc::new(Mutex::new(Instant::now())),
        }
    }

    /// A view of the same places for shared statements.
    pub fn shared(&self) -> Self {
        Self { own: Own::Spared, ..self.clone() }
    }

    /// A view for one read of several exchanges: waits for the places of `rows` rows, which the read holds until its
    /// last exchange ends. No other read gets them between the exchanges, so that many long lists do not run
    /// concurrently.
    pub async fn hold(&self, rows: usize, within: Duration) -> Result<Self, Error> {
        let own = self.wait(within, self.take_own(rows)).await?;
        Ok(Self { own: own.map_or(Own::Spared, Own::Held), ..self.clone() })
    }

    /// Waits for a place, or for several where many rows are read. After the timeout it returns `Stalled` if the server
    /// made no progress, else `Busy`.
    pub async fn enter(&self, rows: usize, within: Duration) -> Result<Place, Error> {
        // Callers of a shared statement time out after `within`; wait half of it, so that they still receive the
        // reason.
        let timeout = if matches!(self.own, Own::Spared) { within / 2 } else { within };
        let enter = async {
            let own = self.take_own(rows).await?;
            // One permit, as an exchange uses one connection. A waiter for several would block everyone behind it.
            let all = Arc::clone(&self.all).acquire_owned().await.map_err(Error::failed)?;
            *self.moved.lock() = Instant::now();
            Ok(Place { moved: Arc::clone(&self.moved), _own: own, _all: all })
        };
        self.wait(timeout, enter).await
    }

    async fn take_own(&self, rows: usize) -> Result<Option<Arc<OwnedSemaphorePermit>>, Error> {
        match &self.own {
            Own::Of(own, most) => {
                let places = u32::try_from(places(rows)).unwrap_or(u32::MAX).min(*most);
                let held = Arc::clone(own).acquire_many_owned(places).await.map_err(Error::failed)?;
                Ok(Some(Arc::new(held)))
            }
            Own::Held(held) => Ok(Some(Arc::clone(held))),
            Own::Spared => Ok(None),
        }
    }

    async fn wait<T>(
        &self,
        timeout: Duration,
        places: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let began = Instant::now();
        let found = timeout_at(began + timeout.min(LONGEST_WAIT), places).await.unwrap_or_else(|_| {
            Err(if self.moved.lock().elapsed() >= STANDSTILL { Error::Stalled } else { Error::Busy })
        });
        metrics::histogram!(NEO4J_QUEUE).record(began.elapsed());
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(20);

    #[tokio::test(start_paused = true)]
    async fn lists_leave_places_to_shared_statements() {
        let lists = Admission::new(3, 1);
        let _held =
            [lists.enter(1, SOON).await.expect("a place"), lists.enter(1, SOON).await.expect("a place")];
        assert!(lists.enter(1, SOON).await.is_err());
        let shared = lists.shared();
        let third = shared.enter(1, SOON).await.expect("the place that was kept");
        assert!(shared.enter(1, SOON).await.is_err(), "as many as connections");
        drop(third);
        shared.enter(1, SOON).await.expect("it is free again");
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_in_vain_learns_whether_the_server_stands_still() {
        let lists = Admission::new(2, 1);
        let held = lists.enter(1, SOON).await.expect("a place");
        assert!(matches!(lists.enter(1, SOON).await, Err(Error::Busy)), "it may be quick yet");
        tokio::time::advance(STANDSTILL).await;
        assert!(matches!(lists.enter(1, SOON).await, Err(Error::Stalled)), "no exchange began or ended");
        let waiting = tokio::spawn({
            let lists = lists.clone();
            async move { (lists.enter(1, SOON).await, lists.enter(1, SOON).await) }
        });
        tokio::task::yield_now().await;
        let last = tokio::spawn({
            let lists = lists.clone();
            async move { lists.enter(1, SOON).await }
        });
        tokio::task::yield_now().await;
        drop(held);
        let (first, second) = waiting.await.expect("no panic");
        assert!(first.is_ok() && second.is_err());
        assert!(matches!(last.await, Ok(Err(Error::Busy))), "others were served");
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_list_takes_several_places_but_not_those_of_others() {
        let lists = Admission::new(5, 1);
        let long = lists.enter(10_000, SOON).await.expect("all that lists may have");
        assert!(lists.enter(1, SOON).await.is_err());
        lists.shared().enter(1, SOON).await.expect("the place that was kept");
        drop(long);
        let _three = lists.enter(3_999, SOON).await.expect("three places");
        lists.enter(1_001, SOON).await.expect("the fourth");
    }

    #[tokio::test(start_paused = true)]
    async fn a_read_of_several_exchanges_holds_its_places_between_them() {
        let lists = Admission::new(6, 1);
        let held = lists.hold(4_000, SOON).await.expect("four places");
        drop(held.enter(1, SOON).await.expect("its first exchange"));
        let _two = lists.enter(1, SOON).await.expect("the fifth");
        assert!(lists.enter(1, SOON).await.is_err(), "the others are held");
        let last = [held.enter(1, SOON).await.expect("two at once"), held.enter(1, SOON).await.expect("two")];
        drop(held);
        assert!(lists.enter(1, SOON).await.is_err(), "an abandoned exchange keeps them");
        drop(last);
        lists.enter(4_000, SOON).await.expect("they are free again");
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_list_that_waits_stops_nobody_else() {
        let lists = Admission::new(5, 2);
        let shared = lists.shared();
        let held = [shared.enter(1, SOON).await, shared.enter(1, SOON).await, shared.enter(1, SOON).await];
        let _fourth = shared.enter(1, SOON).await.expect("a place");
        let long = lists.enter(10_000, SOON).await.expect("one connection is free");
        drop(long);
        let _fifth = shared.enter(1, SOON).await.expect("a place");
        let waits = tokio::spawn({
            let lists = lists.clone();
            async move { lists.enter(10_000, LONGEST_WAIT).await }
        });
        tokio::task::yield_now().await;
        drop(held);
        shared.enter(1, SOON).await.expect("it does not wait for as many as the list");
        waits.await.expect("no panic").expect("it had its turn");
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_left_takes_no_place() {
        let lists = Admission::new(1, 0);
        let held = lists.enter(1, SOON).await.expect("a place");
        let gone = lists.enter(1, LONGEST_WAIT);
        assert!(tokio::time::timeout(SOON, gone).await.is_err(), "it waits");
        let next = tokio::spawn({
            let lists = lists.clone();
            async move { lists.enter(1, LONGEST_WAIT).await }
        });
        tokio::task::yield_now().await;
        drop(held);
        next.await.expect("no panic").expect("it is first in the queue");
    }

    #[tokio::test(start_paused = true)]
    async fn the_wait_is_bounded() {
        let lists = Admission::new(1, 0);
        let _held = lists.enter(1, SOON).await.expect("a place");
        let began = Instant::now();
        assert!(lists.enter(1, Duration::from_secs(9)).await.is_err());
        assert_eq!(began.elapsed(), LONGEST_WAIT);
        let began = Instant::now();
        assert!(lists.shared().enter(1, SOON).await.is_err());
        assert_eq!(began.elapsed(), SOON / 2, "before the time of those who ask is up");
    }
}
