//! Idempotency keys.

use proto::UserId;
use uuid::Uuid;

/// An actor and its request_id: names a request for 24 hours.
pub type RequestName = (UserId, Uuid);

/// The idempotency key of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestKey {
    /// The account that sent the request.
    pub actor: UserId,
    /// The id that the client chose; unique within its actor.
    pub request_id: Uuid,
    /// SHA-256 of the command: a repeat with another one is refused.
    pub fingerprint: Vec<u8>,
}

impl RequestKey {
    /// The name under which the answer is remembered.
    pub fn name(&self) -> RequestName {
        (self.actor, self.request_id)
    }
}
