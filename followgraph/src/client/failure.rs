//! Failures of connections and calls; each names its service.

use std::collections::HashMap;

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::peer::Peer;

#[derive(Debug, thiserror::Error)]
#[error("cannot reach {peer}")]
pub struct Unreachable {
    pub peer: Peer,
    /// Whether the connection uses TLS.
    pub tls: bool,
    #[source]
    pub source: tonic::transport::Error,
}

/// A call that ended with an error, or without an answer.
#[derive(Debug, thiserror::Error)]
#[error("{peer}: {}", status.message())]
pub struct CallFailed {
    pub peer: Peer,
    /// Its answer, or tonic's.
    pub status: Status,
}

impl CallFailed {
    /// The failure in one line. A refusal of the service speaks for itself; any other message names the service.
    pub fn message(&self) -> String {
        let Self { peer, status } = self;
        if status.get_details_error_info().is_some() {
            return status.message().to_owned();
        }
        if self.exceeded_deadline() {
            return format!("{peer}: no answer in time");
        }
        match std::error::Error::source(status).and_then(|source| anyhow::Chain::new(source).last()) {
            Some(cause) => format!("{peer}: {cause}"),
            None => format!("{self} ({:?})", status.code()),
        }
    }

    /// Whether the call exceeded its deadline. For its own deadline tonic's client returns CANCELLED and this text.
    pub fn exceeded_deadline(&self) -> bool {
        self.status.code() == Code::DeadlineExceeded
            || (self.status.code() == Code::Cancelled && self.status.message() == "Timeout expired")
    }
}

/// The metadata of a refusal.
pub fn metadata(status: &Status) -> HashMap<String, String> {
    status.get_details_error_info().map(|info| info.metadata).unwrap_or_default()
}

/// The name of the field that a refusal is about.
pub fn invalid_field(status: &Status) -> Option<String> {
    status.get_details_bad_request()?.field_violations.into_iter().next().map(|violation| violation.field)
}
