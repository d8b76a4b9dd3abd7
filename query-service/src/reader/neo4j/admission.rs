//! Admits exchanges to the pool of one replica.
//!
//! The wait for a connection happens here, before the exchange begins: it does not count as time of the server, and a
//! caller that goes away leaves the queue. Reads that do not share statements may take only a part of the connections,
//! so that a client with many lists in flight does not hold up the checks of all others.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use crate::metrics::NEO4J_QUEUE;
use crate::reader::Error;

/// Longest wait for a place: longer than a pause of the server's memory management, shorter than callers' patience.
pub const LONGEST_WAIT: Duration = Duration::from_millis(500);

/// The places of one replica. Clones share them.
#[derive(Clone, Debug)]
pub struct Admission {
    all: Arc<Semaphore>,
    /// For reads that do not share statements; none for those that do.
    own: Option<Arc<Semaphore>>,
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
            own: Some(Arc::new(Semaphore::new(own))),
            freed: Arc::default(),
        }
    }

    /// The same places, for statements that questions share.
    pub fn shared(&self) -> Self {
        Self { own: None, ..self.clone() }
    }

    /// Waits for a place. When the time is over, it says whose fault that is: if no exchange ended meanwhile, the server
    /// stands still; else there are too many reads.
    pub async fn enter(&self, within: Duration) -> Result<Place, Error> {
        let began = Instant::now();
        let until = began + within.min(LONGEST_WAIT);
        let freed = self.freed.load(Ordering::Relaxed);
        let enter = async {
            let own = match &self.own {
                Some(own) => Some(Arc::clone(own).acquire_owned().await.map_err(Error::failed)?),
                None => None,
            };
            let all = Arc::clone(&self.all).acquire_owned().await.map_err(Error::failed)?;
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
        let _held = [lists.enter(SOON).await.expect("a place"), lists.enter(SOON).await.expect("a place")];
        assert!(lists.enter(SOON).await.is_err());
        let shared = lists.shared();
        let third = shared.enter(SOON).await.expect("the place that was kept");
        assert!(shared.enter(SOON).await.is_err(), "as many as connections");
        drop(third);
        shared.enter(SOON).await.expect("it is free again");
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_in_vain_learns_whether_the_server_stands_still() {
        let lists = Admission::new(2, 1);
        let held = lists.enter(SOON).await.expect("a place");
        assert!(matches!(lists.enter(SOON).await, Err(Error::Stalled)), "nothing ended meanwhile");
        let waiting = tokio::spawn({
            let lists = lists.clone();
            async move { (lists.enter(LONGEST_WAIT).await, lists.enter(LONGEST_WAIT).await) }
        });
        tokio::task::yield_now().await;
        let last = tokio::spawn({
            let lists = lists.clone();
            async move { lists.enter(LONGEST_WAIT).await }
        });
        tokio::task::yield_now().await;
        drop(held);
        let (first, second) = waiting.await.expect("no panic");
        assert!(first.is_ok() && second.is_err());
        assert!(matches!(last.await, Ok(Err(Error::Busy))), "others were served");
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_left_takes_no_place() {
        let lists = Admission::new(1, 0);
        let held = lists.enter(SOON).await.expect("a place");
        let gone = lists.enter(LONGEST_WAIT);
        assert!(tokio::time::timeout(SOON, gone).await.is_err(), "it waits");
        let next = tokio::spawn({
            let lists = lists.clone();
            async move { lists.enter(LONGEST_WAIT).await }
        });
        tokio::task::yield_now().await;
        drop(held);
        next.await.expect("no panic").expect("nobody stands before it");
    }

    #[tokio::test(start_paused = true)]
    async fn the_wait_is_bounded() {
        let lists = Admission::new(1, 0);
        let _held = lists.enter(SOON).await.expect("a place");
        let began = Instant::now();
        assert!(lists.enter(Duration::from_secs(9)).await.is_err());
        assert_eq!(began.elapsed(), LONGEST_WAIT);
    }
}
