//! Waiting for a state, with a limit; never for a time.

use std::time::{Duration, Instant};

/// How often a state is looked at.
const POLL: Duration = Duration::from_millis(20);

/// Waits until `look` finds what it looks for.
///
/// # Panics
/// When the limit has passed; says what was found last.
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
