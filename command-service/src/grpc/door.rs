//! What every call does before and after its command: the actor's limit and the queue.

use std::time::Duration;

use futures::future::join_all;
use proto::command::v1 as wire;
use proto::error::{Reason, ServiceError, code};
use proto::graph::v1::StreamState;
use service_kit::auth::Caller;
use tokio::sync::{oneshot, watch};
use tonic::{Request, Status};

use super::limits::WriteLimit;
use super::pairs::{self, PairRequest};
use super::{errors, parse};
use crate::committer::{Failure, Lane, Queue, Unit};
use crate::domain::{Answer, Body, Command, PairCommand, RequestKey};
use crate::relay::Standing;
use crate::responses::batch_result;

/// The most commands of one batch.
const MAX_WRITES: usize = 300;

/// The call that a command comes from.
#[derive(Clone, Debug)]
pub struct Origin {
    /// Who calls; none where no token is needed.
    pub caller: Option<Caller>,
    /// W3C trace context of the call; a malformed one is left out.
    pub traceparent: Option<String>,
}

impl Origin {
    /// The origin of what a request asks for.
    pub fn of<T>(request: &Request<T>) -> Self {
        Self { caller: Caller::of(request).cloned(), traceparent: traceparent(request) }
    }
}

/// The way of a command from a call to the committer. Clones share it.
#[derive(Clone, Debug)]
pub struct Door {
    /// The database is ours, its schema is new enough, and its sessions are our own. Until then no call may use it: in a
    /// session that is shared, others would find our prepared statements. No command is taken, since none is carried out.
    pub checked: watch::Receiver<bool>,
    /// How long a command waits for that: a process that has just started checks within a second or two.
    pub patience: Duration,
    /// How fast an actor may write.
    pub limit: WriteLimit,
    /// How the stream stands: no command is taken on a history that is not the one that was published.
    pub standing: watch::Receiver<Standing>,
    /// Where commands go.
    pub queue: Queue,
}

impl Door {
    /// Puts a command into the queue and waits for its outcome. A caller that stops
    /// waiting takes its command out of the queue, if it is still there.
    pub async fn carry_out(
        &self,
        command: Command,
        request: Option<RequestKey>,
        origin: Origin,
        lane: Lane,
    ) -> Result<Answer, ServiceError> {
        self.submit(command, request, origin, lane).await?.map_err(|failure| errors::failure(&failure))
    }

    /// The same, with the failure as the rules put it.
    pub async fn submit(
        &self,
        command: Command,
        request: Option<RequestKey>,
        origin: Origin,
        lane: Lane,
    ) -> Result<Result<Answer, Failure>, ServiceError> {
        self.check_open().await?;
        let (reply, outcome) = oneshot::channel();
        let Origin { caller, traceparent } = origin;
        let unit = Unit { command, request, caller, traceparent, reply };
        self.queue.put(unit, lane).await.map_err(errors::queue_full)?;
        // The committer answers every command that it takes; without an answer it is
        // gone, and so was never taken.
        Ok(outcome.await.unwrap_or(Err(Failure::NotCommitted)))
    }

    /// True once calls may use the database.
    pub(super) fn is_checked(&self) -> bool {
        *self.checked.borrow()
    }

    /// Waits until the database is checked. Refuses commands if that takes long, and on a history that is not the published
    /// one.
    pub(super) async fn check_open(&self) -> Result<(), ServiceError> {
        if !self.is_checked() {
            let mut checked = self.checked.clone();
            // What changes it lives as long as the process.
            let _ = tokio::time::timeout(self.patience, checked.wait_for(|checked| *checked)).await;
        }
        if !self.is_checked() {
            return Err(errors::failure(&Failure::NotCommitted));
        }
        if self.standing.borrow().state == StreamState::Forked { Err(errors::forked()) } else { Ok(()) }
    }

    /// A command about a pair, from its message to its answer.
    pub(super) async fn pair<R: PairRequest>(
        &self,
        request: Request<R>,
    ) -> Result<tonic::Response<R::Response>, Status> {
        let origin = Origin::of(&request);
        let (command, key) = request.get_ref().read()?;
        self.limit.check(command.actor)?;
        let answer = self.carry_out(Command::Pair(command), key, origin, Lane::Command).await?;
        Ok(tonic::Response::new(pairs::PairAnswer::from(answer).into()))
    }

    /// All commands of a batch, or none.
    pub(super) async fn atomic(
        &self,
        request: &wire::BatchWriteRequest,
        origin: Origin,
    ) -> Result<wire::BatchWriteResponse, ServiceError> {
        check_size(&request.writes)?;
        let mut commands = Vec::with_capacity(request.writes.len());
        for (index, write) in request.writes.iter().enumerate() {
            let (command, key) = pairs::write(write).map_err(|error| pairs::in_batch(index, write, error))?;
            if key.is_some() {
                let message = "must be empty: an atomic batch has a request_id of its own";
                let error = ServiceError::field(Reason::MalformedMessage, "request_id", message);
                return Err(pairs::in_batch(index, write, error));
            }
            commands.push(command);
        }
        let Some(PairCommand { actor, .. }) = commands.first().copied() else {
            return Err(ServiceError::field(Reason::FieldRequired, "writes", "must not be empty"));
        };
        self.limit.check_all(commands.iter().map(|command| command.actor))?;
        let command = Command::Batch(commands);
        let key = parse::request_key(&request.request_id, actor, &command)?;
        let answer = match self.submit(command, key, origin, Lane::Command).await? {
            Ok(answer) => answer,
            Err(failure) => {
                let error = errors::failure(&failure);
                return Err(match errors::index(&failure).and_then(|i| Some((i, request.writes.get(i)?))) {
                    Some((index, write)) => pairs::in_batch(index, write, error),
                    None => error,
                });
            }
        };
        let written_at = answer.written_at.to_string();
        let Body::Batch(results) = answer.body else { return Err(errors::failure(&Failure::Internal)) };
        let results =
            results.iter().map(|(changed, pair)| batch_result(*changed, &written_at, pair)).collect();
        Ok(wire::BatchWriteResponse { results, written_at })
    }

    /// The commands of a batch, each for itself. They enter the queue in their order,
    /// and so are carried out in it.
    pub(super) async fn independent(
        &self,
        request: &wire::BatchWriteRequest,
        origin: Origin,
    ) -> Result<wire::BatchWriteResponse, ServiceError> {
        check_size(&request.writes)?;
        if !request.request_id.is_empty() {
            let message = "must be empty: the commands of an independent batch have their own";
            return Err(ServiceError::field(Reason::MalformedMessage, "request_id", message));
        }
        let outcomes = request.writes.iter().map(|write| {
            let origin = origin.clone();
            async move {
                let (command, key) = pairs::write(write)?;
                self.limit.check(command.actor)?;
                self.carry_out(Command::Pair(command), key, origin, Lane::Command).await
            }
        });
        // Polled for the first time one after the other, which is when each is put in.
        let outcomes = join_all(outcomes).await;
        let newest = outcomes.iter().filter_map(|outcome| outcome.as_ref().ok()).map(|a| a.written_at).max();
        let results = outcomes.into_iter().zip(request.writes.iter().enumerate());
        Ok(wire::BatchWriteResponse {
            results: results.map(|(outcome, (index, write))| result(outcome, index, write)).collect(),
            written_at: newest.map(|token| token.to_string()).unwrap_or_default(),
        })
    }
}

fn result(outcome: Result<Answer, ServiceError>, index: usize, write: &wire::Write) -> wire::WriteResult {
    match outcome {
        Ok(Answer { changed, written_at, body: Body::Pair(pair) }) => {
            batch_result(changed, &written_at.to_string(), &pair)
        }
        Ok(_) => failed(errors::failure(&Failure::Internal), index, write),
        Err(error) => failed(error, index, write),
    }
}

fn failed(error: ServiceError, index: usize, write: &wire::Write) -> wire::WriteResult {
    let has_field = error.field.is_some();
    let metadata = error.metadata.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
    let error = pairs::in_batch(index, write, error);
    let error = wire::WriteError {
        code: code(error.reason).into(),
        reason: error.reason.into(),
        message: error.message,
        field: error.field.filter(|_| has_field).unwrap_or_default(),
        metadata,
    };
    wire::WriteResult { error: Some(error), ..wire::WriteResult::default() }
}

fn check_size(writes: &[wire::Write]) -> Result<(), ServiceError> {
    if writes.len() <= MAX_WRITES {
        return Ok(());
    }
    let message = format!("has {} items; the limit is {MAX_WRITES}", writes.len());
    Err(ServiceError::field(Reason::TooManyItems, "writes", message).with("limit", MAX_WRITES))
}

fn traceparent<T>(request: &Request<T>) -> Option<String> {
    let text = request.metadata().get(proto::subjects::HEADER_TRACEPARENT)?.to_str().ok()?;
    let well_formed = text.len() == 55 && text.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
    well_formed.then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use proto::UserId;
    use uuid::Uuid;

    use super::*;
    use crate::domain::AccountAction;

    #[tokio::test]
    async fn no_command_is_taken_before_the_database_is_checked() {
        let (_standing, standing) = watch::channel(Standing::default());
        let (queue, _waiting) = Queue::bounded(1);
        let (found, checked) = watch::channel(false);
        let limit = WriteLimit::default();
        let door = Door { checked, patience: Duration::from_millis(20), limit, standing, queue };
        let user = UserId::new(Uuid::from_u128(1)).expect("not nil");
        let command = Command::Account { user, action: AccountAction::Archive };
        let origin = Origin { caller: None, traceparent: None };
        let refused = door.submit(command, None, origin, Lane::Command).await.expect_err("not checked");
        assert_eq!((refused.reason, door.queue.waiting()), (Reason::NotCommitted, 0));
        let patient = Door { patience: Duration::from_secs(60), ..door };
        let waits = tokio::spawn(async move { patient.check_open().await });
        found.send_replace(true);
        assert_eq!(waits.await.expect("no panic"), Ok(()));
    }
}
