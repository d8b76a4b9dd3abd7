//! Back-off of jobs whose steps fail.
//!
//! Uses the monotonic clock of this process: a jump of the database's clock does not stop a job. A new worker tries at
//! once; the number of attempts is in the job's row.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The jobs of this worker whose last step failed: failures in a row, and the end of the pause.
#[derive(Debug, Default)]
pub struct Backoff(BTreeMap<Uuid, (u32, Instant)>);

impl Backoff {
    /// Pauses a job for twice as long as after its last failure. Returns the pause.
    pub fn record_failure(&mut self, job_id: Uuid, now: Instant) -> Duration {
        let failures = self.0.get(&job_id).map_or(0, |(failures, _)| *failures);
        let pause = FIRST_PAUSE.saturating_mul(1 << failures.min(16)).min(LONGEST_PAUSE);
        self.0.insert(job_id, (failures + 1, now + pause));
        pause
    }

    /// Resets the pauses of a job.
    pub fn record_success(&mut self, job_id: Uuid) {
        self.0.remove(&job_id);
    }

    /// The jobs that pause now.
    pub fn paused(&self, now: Instant) -> Vec<Uuid> {
        self.0.iter().filter(|(_, (_, until))| *until > now).map(|(job_id, _)| *job_id).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_minute() {
        let (mut backoff, now, job) = (Backoff::default(), Instant::now(), Uuid::from_u128(1));
        let pauses: Vec<_> = (0..9).map(|_| backoff.record_failure(job, now).as_millis()).collect();
        assert_eq!(pauses, [500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]);
        assert_eq!(backoff.paused(now + Duration::from_secs(59)), [job]);
        assert!(backoff.paused(now + LONGEST_PAUSE).is_empty());
        backoff.record_success(job);
        assert_eq!(backoff.record_failure(job, now), FIRST_PAUSE);
    }
}
