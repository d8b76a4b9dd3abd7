//! Places for work that takes long, shared fairly between callers.
//!
//! A caller with many calls waits in a line of its own: no more of its calls than there are places are in the line of
//! all callers. So another caller waits for a few of them, however many there are. Nothing is refused: a caller alone
//! uses all places.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use service_kit::auth::Caller;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The places. Clones share them.
#[derive(Clone, Debug)]
pub struct Places {
    count: usize,
    all: Arc<Semaphore>,
    /// Callers are few: those of the configured tokens.
    own: Arc<Mutex<HashMap<Option<Caller>, Arc<Semaphore>>>>,
}

/// A place; it is free again when this is dropped.
#[derive(Debug)]
pub struct Place {
    _of_all: Option<OwnedSemaphorePermit>,
    _of_caller: Option<OwnedSemaphorePermit>,
}

impl Places {
    /// With `count` places.
    pub fn new(count: usize) -> Self {
        Self { count, all: Arc::new(Semaphore::new(count)), own: Arc::default() }
    }

    /// Waits for a place.
    pub async fn take(&self, caller: &Option<Caller>) -> Place {
        // Neither semaphore is ever closed.
        let of_caller = self.line_of(caller).acquire_owned().await.ok();
        let of_all = Arc::clone(&self.all).acquire_owned().await.ok();
        Place { _of_all: of_all, _of_caller: of_caller }
    }

    fn line_of(&self, caller: &Option<Caller>) -> Arc<Semaphore> {
        let mut own = self.own.lock();
        Arc::clone(own.entry(caller.clone()).or_insert_with(|| Arc::new(Semaphore::new(self.count))))
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn a_caller_with_many_calls_is_overtaken() {
        let places = Places::new(2);
        let [hog, modest] = ["hog", "modest"].map(|name| Some(Caller::new(name)));
        let first = places.take(&hog).await;
        let _second = places.take(&hog).await;
        let mut third = Box::pin(places.take(&hog));
        assert!((&mut third).now_or_never().is_none(), "all places are taken");
        let mut other = Box::pin(places.take(&modest));
        assert!((&mut other).now_or_never().is_none(), "all places are taken");
        drop(first);
        assert!((&mut third).now_or_never().is_none(), "the other caller is first");
        let other = other.await;
        drop(other);
        third.await;
    }
}
