//! A running statement that several questions share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Called when a statement begins, after the wait for its place.
pub type Begins = Arc<dyn Fn() + Send + Sync>;

/// A statement that several questions share. Each question reports the outcome, but the breaker counts it once.
#[derive(Clone, Debug, Default)]
pub struct Statement(Arc<AtomicBool>);

impl Statement {
    /// A statement that never ran, so its outcome is not counted.
    pub fn none() -> Self {
        Self(Arc::new(AtomicBool::new(true)))
    }

    /// True for the first caller only, which counts the outcome.
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
