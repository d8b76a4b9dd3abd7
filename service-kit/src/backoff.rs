//! Pauses between attempts: they double up to a limit, with jitter, without an end.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

/// A series of pauses.
#[derive(Debug)]
pub struct Backoff {
    builder: ExponentialBuilder,
    pauses: ExponentialBackoff,
    longest: Duration,
}

impl Backoff {
    /// Pauses from `shortest` to `longest`, jitter on top.
    pub fn new(shortest: Duration, longest: Duration) -> Self {
        let builder = ExponentialBuilder::new()
            .with_min_delay(shortest)
            .with_max_delay(longest)
            .with_factor(2.0)
            .with_jitter()
            .without_max_times();
        Self { builder, pauses: builder.build(), longest }
    }

    /// The next pause.
    pub fn pause(&mut self) -> Duration {
        // The series has no end.
        self.pauses.next().unwrap_or(self.longest)
    }

    /// Starts over with the shortest pause, after a success.
    pub fn reset(&mut self) {
        self.pauses = self.builder.build();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_never_end_and_start_again() {
        let (shortest, longest) = (Duration::from_millis(10), Duration::from_millis(100));
        let mut backoff = Backoff::new(shortest, longest);
        let first = backoff.pause();
        assert!(first >= shortest && first <= shortest * 2);
        for _ in 0..1_000 {
            let pause = backoff.pause();
            assert!(pause >= shortest && pause <= longest * 2, "{pause:?}");
        }
        backoff.reset();
        assert!(backoff.pause() <= shortest * 2);
    }
}
