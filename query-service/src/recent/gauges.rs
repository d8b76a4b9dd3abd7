//! Gauges of the recent events and of the hot set.

use std::time::Duration;

use super::Recent;
use crate::metrics::{
    HOT_BYTES, HOT_DIFFERENCES, HOT_ENTRIES, HOT_EVICTED, RING_BYTES, RING_EVENTS, RING_REVISION, RING_SPAN,
};

/// Interval at which the gauges are set.
const EVERY: Duration = Duration::from_secs(1);

/// Sets the gauges once a second, and never returns.
pub async fn set(recent: &Recent) {
    loop {
        let (position, events, bytes, span) = {
            let ring = recent.ring();
            (ring.position(), ring.events(), ring.bytes(), ring.span())
        };
        // Gauges need no more than the 53 bits of an f64.
        metrics::gauge!(RING_REVISION).set(position.map_or(0, |at| at.revision.0) as f64);
        metrics::gauge!(RING_EVENTS).set(events as f64);
        metrics::gauge!(RING_BYTES).set(bytes as f64);
        metrics::gauge!(RING_SPAN).set(span.as_secs_f64());
        let hot = recent.hot_figures();
        metrics::gauge!(HOT_ENTRIES).set(hot.entries as f64);
        metrics::gauge!(HOT_BYTES).set(hot.bytes as f64);
        metrics::counter!(HOT_EVICTED).absolute(hot.evicted);
        metrics::counter!(HOT_DIFFERENCES).absolute(hot.differences);
        tokio::time::sleep(EVERY).await;
    }
}
