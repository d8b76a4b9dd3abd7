//! `followgraph.command.v1.CommandService`.

use std::pin::Pin;
use std::time::Duration;

use futures::Stream;
use proto::command::v1 as wire;
use proto::command::v1::command_service_server::CommandService;
use proto::error::ServiceError;
use proto::graph::v1::{Head, StreamStatus};
use service_kit::auth::Scope;
use sqlx::PgPool;
use tokio::sync::{oneshot, watch};
use tonic::{Request, Response, Status, Streaming};

use super::access::Access;
use super::{errors, import, parse};
use crate::answer::{Answer, Failure};
use crate::beacon;
use crate::committer::{Lane, Queue, RequestKey, Unit};
use crate::domain::Command;
use crate::projectors::Projectors;
use crate::relay::Standing;

/// How long GetStatus waits for the database.
const STATUS_PATIENCE: Duration = Duration::from_secs(1);

/// The service. Clones share everything.
#[derive(Clone, Debug)]
pub struct Service {
    /// Who may call.
    pub access: Access,
    /// Where commands go.
    pub queue: Queue,
    /// For the status.
    pub pool: PgPool,
    /// For the status.
    pub standing: watch::Receiver<Standing>,
    /// For the status and the brake of imports.
    pub projectors: Projectors,
    /// An import slows down when read models are this far behind.
    pub import_max_lag: Duration,
}

impl Service {
    /// Puts a command into the queue and waits for its outcome. A caller that stops
    /// waiting takes its command out of the queue, if it is still there.
    pub(super) async fn carry_out(
        &self,
        command: Command,
        request: Option<RequestKey>,
        traceparent: Option<String>,
        lane: Lane,
    ) -> Result<Answer, ServiceError> {
        let (reply, outcome) = oneshot::channel();
        let unit = Unit { command, request, traceparent, reply };
        self.queue.put(unit, lane).await.map_err(errors::queue_full)?;
        // The committer answers every command that it takes; without an answer it is
        // gone, and so was never taken.
        let outcome = outcome.await.unwrap_or(Err(Failure::NotCommitted));
        outcome.map_err(|failure| errors::failure(&failure))
    }

    async fn pair_command<T>(
        &self,
        request: Request<T>,
        read: impl FnOnce(&T) -> Result<(Command, Option<RequestKey>), ServiceError>,
    ) -> Result<Answer, Status> {
        self.access.check(&request, Scope::Write)?;
        let traceparent = traceparent(&request);
        let (command, key) = read(request.get_ref())?;
        Ok(self.carry_out(command, key, traceparent, Lane::Command).await?)
    }
}

/// W3C trace context of a call; a malformed one is left out.
pub(super) fn traceparent<T>(request: &Request<T>) -> Option<String> {
    let text = request.metadata().get(proto::subjects::HEADER_TRACEPARENT)?.to_str().ok()?;
    let well_formed = text.len() == 55 && text.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
    well_formed.then(|| text.to_owned())
}

#[tonic::async_trait]
impl CommandService for Service {
    async fn follow(
        &self,
        request: Request<wire::FollowRequest>,
    ) -> Result<Response<wire::FollowResponse>, Status> {
        let answer = self
            .pair_command(request, |r| {
                let (actor, target) = parse::pair(["actor_id", "target_id"], [&r.actor_id, &r.target_id])?;
                let command = Command::Follow { actor, target };
                let key = parse::request_key(&r.request_id, actor, &command)?;
                Ok((command, key))
            })
            .await?;
        Ok(Response::new(wire::FollowResponse {
            changed: answer.changed,
            written_at: answer.written_at.to_string(),
            relationship: answer.relationship,
        }))
    }

    async fn unfollow(
        &self,
        request: Request<wire::UnfollowRequest>,
    ) -> Result<Response<wire::UnfollowResponse>, Status> {
        let answer = self
            .pair_command(request, |r| {
                let (actor, target) = parse::pair(["actor_id", "target_id"], [&r.actor_id, &r.target_id])?;
                let command = Command::Unfollow { actor, target };
                let key = parse::request_key(&r.request_id, actor, &command)?;
                Ok((command, key))
            })
            .await?;
        Ok(Response::new(wire::UnfollowResponse {
            changed: answer.changed,
            written_at: answer.written_at.to_string(),
            relationship: answer.relationship,
        }))
    }

    type ImportEdgesStream = Pin<Box<dyn Stream<Item = Result<wire::ImportEdgesResponse, Status>> + Send>>;

    async fn import_edges(
        &self,
        request: Request<Streaming<wire::ImportEdgesRequest>>,
    ) -> Result<Response<Self::ImportEdgesStream>, Status> {
        self.access.check(&request, Scope::Admin)?;
        let traceparent = traceparent(&request);
        let answers = import::answers(self.clone(), request.into_inner(), traceparent);
        Ok(Response::new(Box::pin(answers)))
    }

    async fn get_status(
        &self,
        request: Request<wire::GetStatusRequest>,
    ) -> Result<Response<wire::GetStatusResponse>, Status> {
        self.access.check(&request, Scope::Read)?;
        // A database that is away is part of the status, not an error of it.
        let head =
            tokio::time::timeout(STATUS_PATIENCE, beacon::read(&self.pool)).await.ok().and_then(Result::ok);
        let standing = self.standing.borrow().clone();
        let replicas = self.projectors.statuses(head.map(|head| head.token()));
        Ok(Response::new(wire::GetStatusResponse {
            head: head.map(|head| Head {
                epoch: head.epoch.0,
                revision: head.revision.0,
                event_id: head.event_id.map(|id| id.to_string()).unwrap_or_default(),
                token: head.token().to_string(),
            }),
            stream: Some(StreamStatus {
                name: standing.name,
                state: standing.state.into(),
                first_revision: standing.first.0,
                last_revision: standing.last.0,
                leader: standing.leader,
                problem: standing.problem,
                oldest_unpublished: standing.oldest_unpublished.and_then(|age| age.try_into().ok()),
            }),
            replicas,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            queued_commands: u32::try_from(self.queue.waiting()).unwrap_or(u32::MAX),
        }))
    }
}
