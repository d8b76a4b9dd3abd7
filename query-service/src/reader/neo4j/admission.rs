//! Admits exchanges to the pool of one replica.
//!
//! The wait for a connection happens here, before the exchange begins: it does not count as time of the server, and a
//! caller that goes away leaves the queue. Reads that do not share statements may take only a part of the connections,
//! so that a client with many lists in flight does not hold up the checks of all others; and a long list takes several
//! places, as it takes the server's processors for longer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use crate::metrics::NEO4J_QUEUE;
use crate::reader::Error;

/// Longest wait for a place: longer than a pause of the server's memory management, shorter than callers' patience.
pub const LONGEST_WAIT: Duration = Duration::from_millis(500);

/// A read takes a place, and another one for each so many rows: a page of the API's largest size takes one.
const ROWS_PER_PLACE: usize = 1_000;

/// The places of one replica. Clones share them.
#[derive(Clone, Debug)]
pub struct Admission {
    all: Arc<Semaphore>,
    /// For reads that do not share statements, and how many there are; none for those that do.
    own: Option<(Arc<Semaphore>, u32)>,
    /// How often a place became free.
    freed: Arc<AtomicU64>,
}

/// A place. It is free again when this is dropped.
#[derive(Debug)]
pub struct Place {
    freed: Arc<AtomicU64>,
    _own: Option<OwnedSemaphorePermit>,
    _all: OwnedSemaphorePermit,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.freed.fetch_add(1, Ordering::Relaxed);
    }
}

impl Admission {
    /// As many places as connections, of which `shared` are kept for statements that questions share.
    pub fn new(connections: usize, shared: usize) -> Self {
        let own = connections.saturating_sub(shared).max(1);
        Self {
            all: Arc::new(Semaphore::new(connections)),
            own: Some((Arc::new(Semaphore::new(own)), u32::try_from(own).unwrap_or(u32::MAX))),
            freed: Arc::default(),
        }
    }

    /// The same places, for statements that questions share.
    pub fn shared(&self) -> Self {
        Self { own: None, ..self.clone() }
    }

    /// Waits for a place, or for several where many rows are read. When the time is over, it says whose fault that is: if no exchange ended meanwhile, the server
    /// stands still; else there are too many reads.
    pub async fn enter(&self, rows: usize, within: Duration) -> Result<Place, Error> {
        let began = Instant::now();
        let until = began + within.min(LONGEST_WAIT);
        let freed = self.freed.load(Ordering::Relaxed);
        let enter = async {
            let (own, places) = match &self.own {
                Some((own, most)) => {
                    let wanted = u32::try_from(rows / ROWS_PER_PLACE).unwrap_or(u32::MAX).saturating_add(1);
                    let places = wanted.min(*most);
                    let own = Arc::clone(own).acquire_many_owned(places).await.map_err(Error::failed)?;
                    (Some(own), places)
                }
                None => (None, 1),
            };
            let all = Arc::clone(&self.all).acquire_many_owned(places).await.map_err(Error::failed)?;
            Ok(Place { freed: Arc::clone(&self.freed), _own: own, _all: all })
        };
        let place = timeout_at(until, enter).await.unwrap_or_else(|_| {
            let stalled = self.freed.load(Ordering::Relaxed) == freed;
            Err(if stalled { Error::Stalled } else { Error::Busy })
        });
        metrics::histogram!(NEO4J_QUEUE).record(began.elapsed());
        place
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
        assert!(matches!(lists.enter(1, SOON).await, Err(Error::Stalled)), "nothing ended meanwhile");
        let waiting = tokio::spawn({
            let lists = lists.clone();
            async move { (lists.enter(1, LONGEST_WAIT).await, lists.enter(1, LONGEST_WAIT).await) }
        });
        tokio::task::yield_now().await;
        let last = tokio::spawn({
            let lists = lists.clone();
            async move { lists.enter(1, LONGEST_WAIT).await }
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
        let _three = lists.enter(2 * ROWS_PER_PLACE, SOON).await.expect("three places");
        lists.enter(1, SOON).await.expect("the fourth");
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
        next.await.expect("no panic").expect("nobody stands before it");
    }

    #[tokio::test(start_paused = true)]
    async fn the_wait_is_bounded() {
        let lists = Admission::new(1, 0);
        let _held = lists.enter(1, SOON).await.expect("a place");
        let began = Instant::now();
        assert!(lists.enter(1, Duration::from_secs(9)).await.is_err());
        assert_eq!(began.elapsed(), LONGEST_WAIT);
    }
}
