//! Admits reads of older events from the outbox, out of the fallback budget (I7).

use std::sync::Arc;
use std::time::Duration;

use event_log::Admission;

use super::StoreRouter;

/// Cost of a page of up to 64 events.
const COST: u32 = 4;

/// Admits pages as the budget allows. A watch waits instead of being rejected.
#[derive(Debug)]
pub struct PagesOfThePast(pub Arc<StoreRouter>);

impl Admission for PagesOfThePast {
    fn admit(&self) -> Result<(), Duration> {
        self.0.budget.admit(COST).map(drop).map_err(|exhausted| exhausted.retry_after)
    }
}
