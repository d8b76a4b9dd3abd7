//! When and how long a write took; the last fields of its answer.

use std::time::Duration;

use serde::Serialize;

use crate::output;

/// Token, revision and duration of a write.
#[derive(Debug, Serialize)]
pub struct Written {
    written_at: String,
    revision: Option<u64>,
    elapsed_ms: f64,
}

impl Written {
    pub fn new(written_at: String, elapsed: Duration) -> Self {
        Self { revision: output::revision(&written_at), written_at, elapsed_ms: output::elapsed_ms(elapsed) }
    }

    /// The line under the answer.
    pub fn text(&self) -> String {
        let revision = self.revision.map_or_else(|| "unknown".to_owned(), |r| r.to_string());
        let Self { elapsed_ms, written_at, .. } = self;
        format!("source postgres   revision {revision}   time {elapsed_ms:.2} ms   token {written_at}")
    }
}
