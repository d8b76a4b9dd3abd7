//! Who may call `followgraph.command.v1`, and what happens when no token is configured.

use http::HeaderMap;
use proto::error::{Reason, ServiceError};
use service_kit::auth::{self, Caller, Scope, Tokens};
use service_kit::grpc::Gate;
use tonic::Status;

/// The rule of this service: without a token that grants a scope, what needs the scope is off.
#[derive(Clone, Debug)]
pub struct Access(Tokens);

impl Access {
    /// The rule for these tokens.
    pub fn new(tokens: Tokens) -> Self {
        if !tokens.grant(Scope::Write) {
            tracing::warn!("no token with the scope write is configured (AUTH_TOKENS): writes are off");
        }
        tokens.begin_metrics();
        Self(tokens)
    }
}

impl Gate for Access {
    fn admit(&self, headers: &HeaderMap, scope: Scope) -> Result<Option<Caller>, Status> {
        // Reading the status stays open where no token exists at all.
        if scope == Scope::Read && self.0.is_empty() {
            return Ok(None);
        }
        if scope != Scope::Read && !self.0.grant(scope) {
            auth::count_disabled();
            let message = format!("writes are off: no token with the scope {scope} is configured");
            return Err(ServiceError::new(Reason::WritesDisabled, message).into());
        }
        Ok(Some(self.0.authorize(headers, scope)?))
    }
}
