//! BatchWrite: up to 300 commands, independently or atomically.

use futures::future::join_all;
use proto::command::v1 as wire;
use proto::error::{Reason, ServiceError, code};

use super::gateway::{CommandGateway, Origin};
use super::{errors, pairs, parse};
use crate::committer::{Failure, Lane};
use crate::domain::{Answer, Body, Command, PairCommand};
use crate::responses::batch_result;

const MAX_WRITES: usize = 300;

/// Executes all commands of a batch, or none.
pub async fn atomic(
    gateway: &CommandGateway,
    request: &wire::BatchWriteRequest,
    origin: Origin,
) -> Result<wire::BatchWriteResponse, ServiceError> {
    parse::check_length("writes", request.writes.len(), MAX_WRITES)?;
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
    gateway.limit.check_all(commands.iter().map(|command| command.actor))?;
    let key = parse::request_key(&request.request_id, actor, || parse::batch_content(&commands))?;
    let answer = match gateway.submit(Command::Batch(commands), key, origin, Lane::Command).await? {
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
    let results = results.iter().map(|(changed, pair)| batch_result(*changed, &written_at, pair)).collect();
    Ok(wire::BatchWriteResponse { results, written_at })
}

/// Executes each command of a batch on its own, in their order.
pub async fn independent(
    gateway: &CommandGateway,
    request: &wire::BatchWriteRequest,
    origin: Origin,
) -> Result<wire::BatchWriteResponse, ServiceError> {
    parse::check_length("writes", request.writes.len(), MAX_WRITES)?;
    if !request.request_id.is_empty() {
        let message = "must be empty: the commands of an independent batch have their own";
        return Err(ServiceError::field(Reason::MalformedMessage, "request_id", message));
    }
    // Commands that waited each on its own would be woken in any order.
    gateway.wait_checked().await?;
    let outcomes = request.writes.iter().map(|write| {
        let origin = origin.clone();
        async move {
            let (command, key) = pairs::write(write)?;
            gateway.limit.check(command.actor)?;
            gateway.execute(Command::Pair(command), key, origin, Lane::Command).await
        }
    });
    // The first poll puts each command into the queue, and `join_all` polls in order.
    let outcomes = join_all(outcomes).await;
    let newest = outcomes.iter().filter_map(|outcome| outcome.as_ref().ok()).map(|a| a.written_at).max();
    let results = outcomes.into_iter().zip(request.writes.iter().enumerate());
    Ok(wire::BatchWriteResponse {
        results: results.map(|(outcome, (index, write))| result(outcome, index, write)).collect(),
        written_at: newest.map(|token| token.to_string()).unwrap_or_default(),
    })
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proto::UserId;
    use tokio::sync::watch;
    use tokio_util::sync::CancellationToken;
    use uuid::Uuid;

    use super::*;
    use crate::committer::Queue;
    use crate::grpc::limits::WriteLimit;
    use crate::relay::StreamStatus;

    #[tokio::test]
    async fn commands_that_waited_for_the_start_keep_their_order() {
        let (_stream, stream) = watch::channel(StreamStatus::default());
        let (queue, mut receiver) = Queue::bounded(1_000);
        let (found, checked) = watch::channel(false);
        let limit = WriteLimit::default();
        let gateway =
            CommandGateway { checked, check_timeout: Duration::from_secs(60), limit, stream, queue };
        let others: Vec<_> = (2..202).map(Uuid::from_u128).collect();
        let write = |other: &Uuid| wire::Write {
            command: Some(wire::write::Command::Follow(wire::FollowRequest {
                actor_id: Uuid::from_u128(1).to_string(),
                target_id: other.to_string(),
                ..Default::default()
            })),
        };
        let request =
            wire::BatchWriteRequest { writes: others.iter().map(write).collect(), ..Default::default() };
        let origin = Origin { caller: None, traceparent: None };
        let call = tokio::spawn(async move { independent(&gateway, &request, origin).await });
        tokio::task::yield_now().await;
        found.send_replace(true);

        let mut queued = Vec::new();
        while queued.len() < others.len() {
            let units = receiver.next_batch(1_000, &CancellationToken::new()).await.expect("commands");
            queued.extend(units.iter().map(|unit| match unit.command {
                Command::Pair(PairCommand { other, .. }) => other,
                _ => panic!("{:?}", unit.command),
            }));
            // The replies are dropped: those commands fail.
        }
        let wanted: Vec<_> = others.into_iter().map(|other| UserId::new(other).expect("not nil")).collect();
        assert_eq!(queued, wanted);
        let answer = call.await.expect("no panic").expect("results");
        assert!(answer.results.iter().all(|result| result.error.is_some()));
    }
}
