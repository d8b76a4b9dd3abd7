//! The report of `cargo xtask test`: the time of each step, and slow tests.

use std::{
    fmt,
    time::{Duration, Instant},
};

/// The times of the steps of a run.
#[derive(Debug)]
pub struct Steps {
    /// Start of the current step.
    begun: Instant,
    ended: Vec<(&'static str, Duration)>,
}

impl Steps {
    /// Starts the first step.
    pub fn begin() -> Self {
        Self { begun: Instant::now(), ended: Vec::new() }
    }

    /// Ends a step, starts the next one, and returns the time it took.
    pub fn ended(&mut self, step: &'static str) -> Duration {
        let now = Instant::now();
        let took = now.duration_since(self.begun);
        self.ended.push((step, took));
        self.begun = now;
        took
    }
}

impl fmt::Display for Steps {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (step, took) in &self.ended {
            writeln!(formatter, "  {step:<6} {:>7.1} s", took.as_secs_f64())?;
        }
        Ok(())
    }
}

/// After this time the test runner warns of a test.
const WARNING: Duration = Duration::from_secs(60);
const WARNED: &str = " has been running for over 60 seconds";

/// Finds slow tests in the output of the test runner: a warning after a minute, and later the result.
#[derive(Debug, Default)]
pub struct SlowTests {
    /// The incomplete last line.
    line: Vec<u8>,
    /// Time of the warning of each test.
    running: Vec<(String, Instant)>,
    ended: Vec<(String, Duration)>,
}

impl SlowTests {
    /// Reads a piece of the output that arrived at `now`.
    pub fn read(&mut self, piece: &[u8], now: Instant) {
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(part);
            if part.ends_with(b"\n") {
                let line = std::mem::take(&mut self.line);
                self.read_line(&String::from_utf8_lossy(&line), now);
            }
        }
    }

    fn read_line(&mut self, line: &str, now: Instant) {
        let Some(test) = line.trim_end().strip_prefix("test ") else { return };
        if let Some(name) = test.strip_suffix(WARNED) {
            self.running.push((name.to_owned(), now));
        } else if let Some((name, _)) = test.split_once(" ... ")
            && let Some(place) = self.running.iter().position(|(running, _)| running == name)
        {
            let (name, warned) = self.running.swap_remove(place);
            self.ended.push((name, WARNING + now.duration_since(warned)));
        }
    }
}

impl fmt::Display for SlowTests {
    /// Slowest first; tests without a result last.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut ended: Vec<_> = self.ended.iter().collect();
        ended.sort_by_key(|(_, took)| std::cmp::Reverse(*took));
        if !ended.is_empty() || !self.running.is_empty() {
            writeln!(formatter, "  tests over 60 s, including the wait for their turn:")?;
        }
        for (name, took) in ended {
            writeln!(formatter, "  {:>14.1} s {name}", took.as_secs_f64())?;
        }
        for (name, _) in &self.running {
            writeln!(formatter, "       no result {name}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_test_is_found_with_its_time() {
        let begun = Instant::now();
        let after = |seconds| begun + Duration::from_secs(seconds);
        let mut slow = SlowTests::default();
        slow.read(b"running 3 tests\ntest a::quick ... ok\ntest a::slow has been run", after(59));
        slow.read(b"ning for over 60 seconds\ntest b has been running for over 60 seconds\n", after(60));
        slow.read(b"test a::slow ... \x1b[32mok\x1b[m\n", after(93));
        assert_eq!(slow.ended, [("a::slow".to_owned(), Duration::from_secs(93))]);
        let text = slow.to_string();
        assert!(text.contains("93.0 s a::slow") && text.contains("no result b"), "{text}");
        assert_eq!(SlowTests::default().to_string(), "");
    }

    #[test]
    fn each_step_has_a_row() {
        let mut steps = Steps::begin();
        steps.ended("build");
        steps.ended("tests");
        assert_eq!(steps.to_string().lines().count(), 2);
    }
}
