//! A running statement, as the questions that share it see it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Called when a statement begins: it has waited for its place.
pub type Begins = Arc<dyn Fn() + Send + Sync>;

/// A statement that several questions share. All of them tell how it ended, and it counts once.
#[derive(Clone, Debug, Default)]
pub struct Statement(Arc<AtomicBool>);

impl Statement {
    /// One that never ran: there is nothing to count.
    pub fn none() -> Self {
        Self(Arc::new(AtomicBool::new(true)))
    }

    /// True for the first who counts it.
    pub fn count(&self) -> bool {
        !self.0.swap(true, Ordering::Relaxed)
    }
}

impl PartialEq for Statement {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Statement {}
