//! Back-off of jobs whose steps fail.
//!
//! Measured on the monotonic clock of this process: a database clock that jumps does not stop a job. A new worker tries
//! at once; the number of attempts is in the job's row.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

/// First pause of a job.
const FIRST: Duration = Duration::from_millis(500);
/// Longest pause of a job.
const LONGEST: Duration = Duration::from_secs(60);

/// The jobs of this worker that rest.
#[derive(Debug, Default)]
pub struct Resting(BTreeMap<Uuid, (u32, Instant)>);

impl Resting {
    /// Lets a job rest for twice as long as the last time.
    pub fn note_failure(&mut self, job_id: Uuid, now: Instant) -> Duration {
        let failures = self.0.get(&job_id).map_or(0, |(failures, _)| *failures);
        let pause = FIRST.saturating_mul(1 << failures.min(16)).min(LONGEST);
        self.0.insert(job_id, (failures + 1, now + pause));
        pause
    }

    /// The next failure of the job is its first again.
    pub fn note_success(&mut self, job_id: Uuid) {
        self.0.remove(&job_id);
    }

    /// The jobs that are not due.
    pub fn ids(&self, now: Instant) -> Vec<Uuid> {
        self.0.iter().filter(|(_, (_, until))| *until > now).map(|(job_id, _)| *job_id).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_minute() {
        let (mut resting, now, job) = (Resting::default(), Instant::now(), Uuid::from_u128(1));
        let pauses: Vec<_> = (0..9).map(|_| resting.note_failure(job, now).as_millis()).collect();
        assert_eq!(pauses, [500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]);
        assert_eq!(resting.ids(now + Duration::from_secs(59)), [job]);
        assert!(resting.ids(now + LONGEST).is_empty());
        resting.note_success(job);
        assert_eq!(resting.note_failure(job, now), FIRST);
    }
}
