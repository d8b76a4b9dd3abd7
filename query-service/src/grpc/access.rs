//! Who may read.

use http::HeaderMap;
use service_kit::auth::{Caller, Scope, Tokens};
use service_kit::grpc::Gate;
use tonic::Status;

/// The rule of this service: without any token configured, everyone may read.
#[derive(Clone, Debug)]
pub struct Access(Tokens);

impl Access {
    /// The rule for these tokens.
    pub fn new(tokens: Tokens) -> Self {
        Self(tokens)
    }
}

impl Gate for Access {
    fn admit(&self, headers: &HeaderMap, scope: Scope) -> Result<Option<Caller>, Status> {
        if self.0.is_empty() { Ok(None) } else { Ok(Some(self.0.authorize(headers, scope)?)) }
    }
}
