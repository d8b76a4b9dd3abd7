//! A timeout with the caller's own error.

use std::time::Duration;

/// Waits for `work` up to `limit`, then fails with `timed_out`.
pub async fn with_timeout<T, E>(
    limit: Duration,
    work: impl Future<Output = Result<T, E>>,
    timed_out: impl FnOnce() -> E,
) -> Result<T, E> {
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| Err(timed_out()))
}
