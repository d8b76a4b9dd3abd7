//! Waits for a state, with a timeout; never for a fixed time.

use std::time::{Duration, Instant};

/// Polling interval.
const POLL: Duration = Duration::from_millis(20);

/// Polls `look` until it succeeds.
///
/// # Panics
/// At the timeout; the message contains the last state.
pub async fn until<T, F>(what: &str, limit: Duration, mut look: impl FnMut() -> F) -> T
where
    F: Future<Output = Result<T, String>>,
{
    let end = Instant::now() + limit;
    loop {
        let found = match look().await {
            Ok(found) => return found,
            Err(found) => found,
        };
        assert!(Instant::now() < end, "waited {limit:?} for {what}; at last: {found}");
        tokio::time::sleep(POLL).await;
    }
}
