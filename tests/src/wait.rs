//! Waits for a state, with a timeout; never for a fixed time.

use std::time::{Duration, Instant};

/// Polling interval.
const POLL: Duration = Duration::from_millis(20);

/// Timeout of everything that must happen at some time. Not a claim of speed: a machine under other load takes minutes
/// to start a Neo4j.
pub const LIMIT: Duration = Duration::from_secs(300);

/// Polls `look` until it succeeds, at most for [`LIMIT`].
///
/// # Panics
/// At the timeout; the message contains the last state.
pub async fn until<T, F>(what: &str, look: impl FnMut() -> F) -> T
where
    F: Future<Output = Result<T, String>>,
{
    until_within(LIMIT, what, look).await
}

/// As [`until`], with a timeout of its own.
///
/// # Panics
/// At the timeout; the message contains the last state.
pub async fn until_within<T, F>(limit: Duration, what: &str, mut look: impl FnMut() -> F) -> T
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
