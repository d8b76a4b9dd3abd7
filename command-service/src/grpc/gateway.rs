//! Passes commands from calls to the committer and returns their outcomes.

use std::time::Duration;

use proto::error::ServiceError;
use proto::graph::v1::StreamState;
use service_kit::auth::Caller;
use tokio::sync::{oneshot, watch};
use tonic::Request;

use super::errors;
use super::limits::WriteLimit;
use crate::committer::{Failure, Lane, Outcome, Queue, Unit};
use crate::domain::{Answer, Command, RequestKey};
use crate::relay::StreamStatus;

/// The call that a command comes from.
#[derive(Clone, Debug)]
pub struct Origin {
    /// `None` if no token is required.
    pub caller: Option<Caller>,
    /// W3C trace context of the call; a malformed one is left out.
    pub traceparent: Option<String>,
}

impl Origin {
    /// Reads the origin from the metadata of a request.
    pub fn of<T>(request: &Request<T>) -> Self {
        Self { caller: Caller::of(request).cloned(), traceparent: traceparent(request) }
    }
}

/// Executes commands through the committer. Clones share the queue and the limits.
#[derive(Clone, Debug)]
pub struct CommandGateway {
    /// True once the database has the right schema and keeps our sessions. Until then no call may use it: in a session
    /// that a pooler shares, other clients would find our prepared statements. The committer starts then, too.
    pub checked: watch::Receiver<bool>,
    /// How long a command waits for [`Self::checked`]. A process that starts needs a second or two.
    pub check_timeout: Duration,
    /// Writes per second of each actor.
    pub limit: WriteLimit,
    /// State of the stream. A forked history takes no commands: its revisions would be assigned twice.
    pub stream: watch::Receiver<StreamStatus>,
    /// Input of the committer.
    pub queue: Queue,
}

impl CommandGateway {
    /// Executes a command. If the caller stops waiting, a command that is still in the queue is dropped.
    pub async fn execute(
        &self,
        command: Command,
        request: Option<RequestKey>,
        origin: Origin,
        lane: Lane,
    ) -> Result<Answer, ServiceError> {
        self.submit(command, request, origin, lane).await?.map_err(|failure| errors::failure(&failure))
    }

    /// Like [`Self::execute`], but returns the committer's failure as it is.
    pub async fn submit(
        &self,
        command: Command,
        request: Option<RequestKey>,
        origin: Origin,
        lane: Lane,
    ) -> Result<Outcome, ServiceError> {
        self.check_open().await?;
        let (reply, outcome) = oneshot::channel();
        let Origin { caller, traceparent } = origin;
        let unit = Unit { command, request, caller, traceparent, reply };
        self.queue.put(unit, lane).await.map_err(errors::queue_full)?;
        // The committer answers every command that it takes. Without an answer it has ended and took none.
        Ok(outcome.await.unwrap_or(Err(Failure::NotCommitted)))
    }

    /// Whether calls may use the database.
    pub(super) fn is_checked(&self) -> bool {
        *self.checked.borrow()
    }

    /// Waits until the database is checked. Fails if that takes too long.
    pub(super) async fn wait_checked(&self) -> Result<(), ServiceError> {
        if !self.is_checked() {
            let mut checked = self.checked.clone();
            // The sender lives as long as the process.
            let _ = tokio::time::timeout(self.check_timeout, checked.wait_for(|checked| *checked)).await;
        }
        if self.is_checked() { Ok(()) } else { Err(errors::failure(&Failure::NotCommitted)) }
    }

    /// Waits until the database is checked. Fails if that takes too long, or if the history is forked.
    pub(super) async fn check_open(&self) -> Result<(), ServiceError> {
        self.wait_checked().await?;
        if self.stream.borrow().state == StreamState::Forked {
            Err(errors::failure(&Failure::Forked))
        } else {
            Ok(())
        }
    }
}

fn traceparent<T>(request: &Request<T>) -> Option<String> {
    let text = request.metadata().get(proto::subjects::HEADER_TRACEPARENT)?.to_str().ok()?;
    let well_formed = text.len() == 55 && text.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
    well_formed.then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use proto::UserId;
    use proto::error::Reason;
    use uuid::Uuid;

    use super::*;
    use crate::domain::AccountAction;

    #[tokio::test]
    async fn commands_wait_for_the_check_of_the_database_and_fail_without_it() {
        let (_stream, stream) = watch::channel(StreamStatus::default());
        let (queue, _waiting) = Queue::bounded(1);
        let (found, checked) = watch::channel(false);
        let limit = WriteLimit::default();
        let check_timeout = Duration::from_millis(20);
        let gateway = CommandGateway { checked, check_timeout, limit, stream, queue };
        let user = UserId::new(Uuid::from_u128(1)).expect("not nil");
        let command = Command::Account { user, action: AccountAction::Archive };
        let origin = Origin { caller: None, traceparent: None };
        let refused = gateway.submit(command, None, origin, Lane::Command).await.expect_err("not checked");
        assert_eq!((refused.reason, gateway.queue.waiting()), (Reason::NotCommitted, 0));
        let patient = CommandGateway { check_timeout: Duration::from_secs(60), ..gateway };
        let waits = tokio::spawn(async move { patient.check_open().await });
        found.send_replace(true);
        assert_eq!(waits.await.expect("no panic"), Ok(()));
    }
}
