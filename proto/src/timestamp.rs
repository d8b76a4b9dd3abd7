//! Between `google.protobuf.Timestamp` and `time::OffsetDateTime`, in microseconds,
//! which is what PostgreSQL keeps.

use prost_types::Timestamp;
use time::{Duration, OffsetDateTime};

/// A timestamp outside of the years 1 to 9999, or with nanoseconds out of range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a timestamp between the years 1 and 9999")]
pub struct InvalidTimestamp;

/// 0001-01-01T00:00:00Z and 9999-12-31T23:59:59Z, as protobuf defines them.
const SECONDS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;

/// How far in the future the date of an imported edge may lie.
pub const CLOCK_TOLERANCE: Duration = Duration::minutes(5);

/// Reads a timestamp; digits below the microsecond are dropped.
pub fn from_proto(t: &Timestamp) -> Result<OffsetDateTime, InvalidTimestamp> {
    if !SECONDS.contains(&t.seconds) || !(0..1_000_000_000).contains(&t.nanos) {
        return Err(InvalidTimestamp);
    }
    let micros = i128::from(t.seconds) * 1_000_000 + i128::from(t.nanos / 1_000);
    OffsetDateTime::from_unix_timestamp_nanos(micros * 1_000).map_err(|_| InvalidTimestamp)
}

/// Writes a timestamp.
pub fn to_proto(t: OffsetDateTime) -> Timestamp {
    Timestamp { seconds: t.unix_timestamp(), nanos: i32::try_from(t.nanosecond()).unwrap_or(0) }
}

/// Milliseconds since 1970, as the read model keeps dates.
pub fn to_millis(t: OffsetDateTime) -> i64 {
    i64::try_from(t.unix_timestamp_nanos().div_euclid(1_000_000)).unwrap_or(i64::MAX)
}

/// A timestamp from milliseconds since 1970.
pub fn millis_to_proto(millis: i64) -> Timestamp {
    Timestamp {
        seconds: millis.div_euclid(1_000),
        nanos: i32::try_from(millis.rem_euclid(1_000) * 1_000_000).unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_timestamp_is_read_or_refused(seconds: i64, nanos: i32) {
            let _ = from_proto(&Timestamp { seconds, nanos });
        }

        #[test]
        fn microseconds_round_trip(seconds in SECONDS, micros in 0i32..1_000_000) {
            let t = Timestamp { seconds, nanos: micros * 1_000 };
            prop_assert_eq!(to_proto(from_proto(&t).unwrap()), t);
        }

        #[test]
        fn milliseconds_round_trip(millis in -62_135_596_800_000i64..253_402_300_799_000) {
            let t = from_proto(&millis_to_proto(millis)).unwrap();
            prop_assert_eq!(to_millis(t), millis);
        }
    }
}
