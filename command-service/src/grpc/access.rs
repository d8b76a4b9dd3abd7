//! Which call needs which scope, and what happens when no token is configured.

use proto::error::{Reason, ServiceError};
use service_kit::auth::{Scope, Tokens};
use tonic::{Request, Status};

/// The rule of this service: without a token that grants writing, writes are off.
#[derive(Clone, Debug)]
pub struct Access(Tokens);

impl Access {
    /// The rule for these tokens.
    pub fn new(tokens: Tokens) -> Self {
        if !tokens.grant(Scope::Write) {
            tracing::warn!("no token with the scope write is configured (AUTH_TOKENS): writes are off");
        }
        Self(tokens)
    }

    /// Lets a caller in, or not.
    pub fn check<T>(&self, request: &Request<T>, scope: Scope) -> Result<(), Status> {
        // Reading the status stays open where no token exists at all.
        if scope == Scope::Read && self.0.is_empty() {
            return Ok(());
        }
        if scope != Scope::Read && !self.0.grant(scope) {
            let message = format!("writes are off: no token with the scope {scope} is configured");
            return Err(ServiceError::new(Reason::WritesDisabled, message).into());
        }
        self.0.authorize(request.metadata(), scope).map(|_| ()).map_err(Into::into)
    }
}
