//! How many sets run at a time, and how long each of them takes.

use std::sync::{Arc, LazyLock};
use std::time::Instant;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Most sets at a time; each takes about 2 GB of memory.
pub const AT_ONCE: usize = 2;

/// With two at a time, tests with much load find too little of two processors: a heavy set takes all places.
static PLACES: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(AT_ONCE)));

/// What a test with a set of its own needs of the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Weight {
    /// Runs at the same time as another light set. It makes no load, and no assertion of it depends on speed.
    Light,
    /// Runs while no other set runs.
    #[default]
    Heavy,
}

/// The permission to run a set. At its end it prints how long each step took, since sets take most of the time of all
/// tests.
pub struct Turn {
    test: String,
    /// What ended when, since the turn.
    steps: Vec<(&'static str, Instant)>,
    _places: OwnedSemaphorePermit,
}

impl Turn {
    /// Waits for it.
    pub async fn wait(weight: Weight) -> Self {
        let places = match weight {
            Weight::Light => 1,
            Weight::Heavy => u32::try_from(AT_ONCE).expect("few"),
        };
        let places = PLACES.clone().acquire_many_owned(places).await.expect("it is never closed");
        let test = std::thread::current().name().unwrap_or_default().to_owned();
        Self { test, steps: vec![("", Instant::now())], _places: places }
    }

    /// Notes that a step has ended.
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
        // Not to the output of the test, which is shown of failed ones only.
        let line = format!("{}:{}\n", self.test, took.collect::<String>());
        let _ = std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes());
    }
}
