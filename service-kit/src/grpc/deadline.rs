//! Deadlines of calls: reads `grpc-timeout` and adds the [`Deadline`] to the request's extensions, where handlers find
//! it. `call` and `body` enforce it. A malformed header is an invalid argument.

use std::time::Duration;

use http::HeaderMap;
use tokio::time::{Instant, timeout_at};
use tonic::{Code, Status};

use crate::errors;

/// The header of the protocol.
const HEADER: &str = "grpc-timeout";
/// Longer timeouts are cut to this, so that arithmetic with instants does not overflow.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// Limit of the deadline of a unary call. A longer one would only hold a place and a stalled upload.
pub(super) const LONGEST_UNARY: Duration = Duration::from_secs(60);

/// Time at which the caller stops waiting, in the extensions of the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(pub Instant);

impl Deadline {
    /// The deadline of a request; `None` for a stream without one.
    pub fn of<T>(request: &tonic::Request<T>) -> Option<Self> {
        request.extensions().get::<Self>().copied()
    }

    /// The time left; zero once it has passed.
    pub fn remaining(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }
}

/// The caller's timeout, if it sent one.
pub(super) fn timeout(headers: &HeaderMap) -> Result<Option<Duration>, Status> {
    let Some(value) = headers.get(HEADER) else { return Ok(None) };
    let timeout = value.to_str().ok().and_then(parse);
    timeout.map(Some).ok_or_else(|| {
        errors::status(Code::InvalidArgument, errors::MALFORMED_MESSAGE, "grpc-timeout is malformed")
    })
}

/// The output of `work`, unless the deadline passes before.
pub(super) async fn within<T>(
    deadline: Option<Deadline>,
    work: impl Future<Output = T>,
) -> Result<T, Status> {
    match deadline {
        None => Ok(work.await),
        Some(deadline) => timeout_at(deadline.0, work).await.map_err(|_| errors::deadline_exceeded()),
    }
}

/// At most eight digits and a unit.
fn parse(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.len() > 8 || digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    let timeout = match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    };
    Some(timeout.min(LONGEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_of_every_unit_are_read() {
        for (text, wanted) in [
            ("1H", Duration::from_secs(3600)),
            ("2M", Duration::from_secs(120)),
            ("3S", Duration::from_secs(3)),
            ("40m", Duration::from_millis(40)),
            ("50u", Duration::from_micros(50)),
            ("60n", Duration::from_nanos(60)),
            ("0m", Duration::ZERO),
            ("99999999H", LONGEST),
        ] {
            assert_eq!(parse(text), Some(wanted), "{text}");
        }
    }

    #[test]
    fn malformed_timeouts_are_told_from_absent_ones() {
        let mut headers = HeaderMap::new();
        assert_eq!(timeout(&headers).expect("nothing malformed"), None);
        for text in ["", "S", "1", "1s", "-1S", "+1S", "1.5S", "123456789S", "1 S", "1é"] {
            headers.insert(HEADER, text.parse().expect("a header value"));
            let error = timeout(&headers).expect_err(text);
            assert_eq!(error.code(), Code::InvalidArgument, "{text}");
        }
    }
}
