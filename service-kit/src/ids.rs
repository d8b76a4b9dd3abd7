//! Random ids and jitter. Except for keys and salts, this is the only source of random numbers.

use std::ops::RangeInclusive;
use std::time::Duration;

use uuid::Uuid;

/// A random UUID.
#[expect(clippy::disallowed_methods, reason = "this is the place")]
pub fn random() -> Uuid {
    Uuid::new_v4()
}

/// A random part or multiple of a time, so that many processes do not act at the same moment.
#[expect(clippy::disallowed_methods, reason = "this is the place")]
pub fn jitter(time: Duration, factor: RangeInclusive<f64>) -> Duration {
    time.mul_f64(rand::random_range(factor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_stays_within_its_range() {
        for _ in 0..100 {
            let time = jitter(Duration::from_secs(10), 0.5..=1.5);
            assert!((Duration::from_secs(5)..=Duration::from_secs(15)).contains(&time), "{time:?}");
        }
        assert_ne!(random(), random());
    }
}
