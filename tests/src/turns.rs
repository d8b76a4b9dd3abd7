//! Limits how many sets run concurrently, and reports how long each step takes.

use std::sync::{Arc, LazyLock};
use std::time::Instant;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Maximum number of concurrent sets; each takes about 2 GB of memory.
pub const AT_ONCE: usize = 2;

/// Next to another set, tests with high load get too little of two CPUs: a heavy set takes all places.
static PLACES: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(AT_ONCE)));

/// What a test with its own set requires of the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Weight {
    /// Runs concurrently with another light set. It creates no load, and no assertion of it depends on speed.
    Light,
    /// Runs while no other set runs.
    #[default]
    Heavy,
}

/// The permission to run a set. On drop it prints how long each step took, since sets take most of the time of all
/// tests.
pub struct Turn {
    test: String,
    /// The end of each step, since the wait for the turn began.
    steps: Vec<(&'static str, Instant)>,
    _places: OwnedSemaphorePermit,
}

impl Turn {
    /// Waits for a turn.
    pub async fn wait(weight: Weight) -> Self {
        let places = match weight {
            Weight::Light => 1,
            Weight::Heavy => u32::try_from(AT_ONCE).expect("few"),
        };
        let begun = Instant::now();
        let places = PLACES.clone().acquire_many_owned(places).await.expect("it is never closed");
        let test = std::thread::current().name().unwrap_or_default().to_owned();
        Self { test, steps: vec![("", begun), ("waiting", Instant::now())], _places: places }
    }

    /// Records the end of a step.
    pub fn ended(&mut self, step: &'static str) {
        self.steps.push((step, Instant::now()));
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.ended("stopping");
        let pairs = self.steps.iter().zip(self.steps.iter().skip(1));
        let took = pairs.map(|((_, before), (step, after))| {
            format!(" {step} {:.1} s", after.duration_since(*before).as_secs_f64())
        });
        // Not to the test's output, which is shown for failed tests only.
        let line = format!("{}:{}\n", self.test, took.collect::<String>());
        let _ = std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes());
    }
}
