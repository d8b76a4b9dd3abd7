//! Access to `followgraph.command.v1`.

use http::HeaderMap;
use proto::error::{Reason, ServiceError};
use service_kit::auth::{self, Caller, Scope, Tokens};
use service_kit::grpc::Gate;
use tonic::Status;

/// If no configured token grants a scope, calls that need the scope are refused.
#[derive(Clone, Debug)]
pub struct Access(Tokens);

impl Access {
    /// Warns if no token may write.
    pub fn new(tokens: Tokens) -> Self {
        if !tokens.grant(Scope::Write) {
            tracing::warn!(
                "no token with the scope write is configured (AUTH_TOKENS): the server rejects writes"
            );
        }
        tokens.begin_metrics();
        Self(tokens)
    }
}

impl Gate for Access {
    fn admit(&self, headers: &HeaderMap, scope: Scope) -> Result<Option<Caller>, Status> {
        // Without any token, the status stays readable.
        if scope == Scope::Read && self.0.is_empty() {
            return Ok(None);
        }
        if scope != Scope::Read && !self.0.grant(scope) {
            auth::count_disabled();
            let message = format!("the server rejects writes: no token with the scope {scope} is configured");
            return Err(ServiceError::new(Reason::WritesDisabled, message).into());
        }
        Ok(Some(self.0.authorize(headers, scope)?))
    }
}
