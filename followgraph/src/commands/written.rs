//! When and how long a write took; the last fields of its answer.

use std::time::Duration;

use crate::output::{self, json_row};

json_row! {
    /// Token, revision and duration of a write.
    pub struct Written from written_at: &str, elapsed: Duration {
        written_at: String = written_at.to_owned(),
        revision: Option<u64> = output::revision(written_at),
        elapsed_ms: f64 = output::elapsed_ms(elapsed),
    }
}

impl Written {
    /// The line under the answer.
    pub fn text(&self) -> String {
        let revision = self.revision.map_or_else(|| "unknown".to_owned(), |r| r.to_string());
        let Self { elapsed_ms, written_at, .. } = self;
        format!("source postgres   revision {revision}   time {elapsed_ms:.2} ms   token {written_at}")
    }
}
