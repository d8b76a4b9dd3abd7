//! A semaphore for slow work that several callers share fairly.
//!
//! Each caller has a queue of its own and puts no more calls into the common queue than there are permits. So another
//! caller waits for a few calls of a busy one, not for all of them. A single caller can use all permits.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use service_kit::auth::Caller;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Clones share the permits.
#[derive(Clone, Debug)]
pub struct FairSemaphore {
    permits: usize,
    common: Arc<Semaphore>,
    /// Bounded by the number of configured tokens.
    by_caller: Arc<Mutex<HashMap<Option<Caller>, Arc<Semaphore>>>>,
}

/// Returned when dropped.
pub type Permit = [Option<OwnedSemaphorePermit>; 2];

impl FairSemaphore {
    /// A semaphore for this many calls at a time.
    pub fn new(permits: usize) -> Self {
        Self { permits, common: Arc::new(Semaphore::new(permits)), by_caller: Arc::default() }
    }

    /// Waits for a permit.
    pub async fn acquire(&self, caller: &Option<Caller>) -> Permit {
        // Neither semaphore is ever closed.
        let of_caller = self.of_caller(caller).acquire_owned().await.ok();
        let common = Arc::clone(&self.common).acquire_owned().await.ok();
        [common, of_caller]
    }

    fn of_caller(&self, caller: &Option<Caller>) -> Arc<Semaphore> {
        let mut by_caller = self.by_caller.lock();
        Arc::clone(by_caller.entry(caller.clone()).or_insert_with(|| Arc::new(Semaphore::new(self.permits))))
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn another_caller_overtakes_one_with_many_calls() {
        let semaphore = FairSemaphore::new(2);
        let [hog, modest] = ["hog", "modest"].map(|name| Some(Caller::new(name)));
        let first = semaphore.acquire(&hog).await;
        let _second = semaphore.acquire(&hog).await;
        let mut third = Box::pin(semaphore.acquire(&hog));
        assert!((&mut third).now_or_never().is_none(), "all permits are taken");
        let mut other = Box::pin(semaphore.acquire(&modest));
        assert!((&mut other).now_or_never().is_none(), "all permits are taken");
        drop(first);
        assert!((&mut third).now_or_never().is_none(), "the other caller is first");
        let other = other.await;
        drop(other);
        third.await;
    }
}
