//! Serves the writes of the older system's API.
//!
//! Reads of this API have no tokens, so a write returns when the stream has its event. If the stream does not
//! acknowledge in time, the write returns success: it is durable by then.

use std::time::Duration;

use proto::UserId;
use proto::error::ServiceError;
use proto::legacy::v2 as wire;
use proto::legacy::v2::graph_service_server::GraphService;
use service_kit::grpc::Deadline;
use tonic::{Request, Response, Status};

use super::super::gateway::{CommandGateway, Origin};
use super::super::parse;
use crate::committer::Lane;
use crate::domain::{Action, Body, Command, PairCommand};
use crate::relay::Acknowledged;

/// Part of the caller's deadline that is left for the response to arrive.
const RESPONSE_MARGIN: Duration = Duration::from_millis(50);

/// The service. Clones share everything.
#[derive(Clone, Debug)]
pub struct Legacy {
    /// Executes commands.
    pub gateway: CommandGateway,
    /// Waits for events to be in the stream.
    pub acknowledged: Acknowledged,
    /// Timeout of that wait.
    pub stream_timeout: Duration,
}

struct Call {
    origin: Origin,
    stream_timeout: Duration,
}

impl Legacy {
    fn begin<T>(&self, request: &Request<T>) -> Call {
        // A write that succeeds must not miss its deadline because NATS is down.
        let left = Deadline::of(request).map(|deadline| deadline.remaining().saturating_sub(RESPONSE_MARGIN));
        let stream_timeout = left.map_or(self.stream_timeout, |left| left.min(self.stream_timeout));
        Call { origin: Origin::of(request), stream_timeout }
    }

    /// Executes a command and waits for the stream. Returns the state of the pair as the API words it.
    async fn write(
        &self,
        call: Call,
        (actor, other): (UserId, UserId),
        action: Action,
    ) -> Result<String, ServiceError> {
        let started = tokio::time::Instant::now();
        let state = state_after(&action);
        self.gateway.limit.check(actor)?;
        let command = Command::Pair(PairCommand { actor, other, action, expects: None });
        let answer = self.gateway.execute(command, None, call.origin, Lane::Command).await?;
        let timeout = call.stream_timeout.saturating_sub(started.elapsed());
        // Also if nothing changed: an earlier write that made this state may not be in the stream yet.
        if !self.acknowledged.wait(answer.written_at, timeout).await {
            tracing::debug!(written_at = %answer.written_at, "returning before the stream has the event");
        }
        let requested = matches!(&answer.body, Body::Pair(pair) if pair.requested);
        Ok(if requested && state == FOLLOWING { REQUESTED } else { state }.to_owned())
    }
}

const FOLLOWING: &str = "following";
const REQUESTED: &str = "requested";

/// The `message` after a successful command, whether or not it changed something.
fn state_after(action: &Action) -> &'static str {
    match action {
        Action::Follow | Action::AcceptRequest => FOLLOWING,
        Action::Unfollow | Action::RemoveFollower | Action::RejectRequest | Action::CancelRequest => {
            "not following"
        }
        Action::Mute { .. } => "muted",
        Action::Unmute => "not muted",
        Action::Block { .. } => "blocked",
        Action::Unblock => "not blocked",
    }
}

#[tonic::async_trait]
impl GraphService for Legacy {
    async fn create_follow(
        &self,
        request: Request<wire::CreateFollowRequest>,
    ) -> Result<Response<wire::CreateFollowResponse>, Status> {
        let (call, r) = (self.begin(&request), request.get_ref());
        let pair = parse::pair(["follower_id", "followee_id"], [&r.follower_id, &r.followee_id])?;
        let message = self.write(call, pair, Action::Follow).await?;
        Ok(Response::new(wire::CreateFollowResponse { success: true, message }))
    }

    async fn delete_follow(
        &self,
        request: Request<wire::DeleteFollowRequest>,
    ) -> Result<Response<wire::DeleteFollowResponse>, Status> {
        let (call, r) = (self.begin(&request), request.get_ref());
        let pair = parse::pair(["follower_id", "followee_id"], [&r.follower_id, &r.followee_id])?;
        let message = self.write(call, pair, Action::Unfollow).await?;
        Ok(Response::new(wire::DeleteFollowResponse { success: true, message }))
    }

    async fn create_mute(
        &self,
        request: Request<wire::CreateMuteRequest>,
    ) -> Result<Response<wire::CreateMuteResponse>, Status> {
        let (call, r) = (self.begin(&request), request.get_ref());
        let pair = parse::pair(["muter_id", "mutee_id"], [&r.muter_id, &r.mutee_id])?;
        let message = self.write(call, pair, Action::Mute { expires_at: None }).await?;
        Ok(Response::new(wire::CreateMuteResponse { success: true, message }))
    }

    async fn delete_mute(
        &self,
        request: Request<wire::DeleteMuteRequest>,
    ) -> Result<Response<wire::DeleteMuteResponse>, Status> {
        let (call, r) = (self.begin(&request), request.get_ref());
        let pair = parse::pair(["muter_id", "mutee_id"], [&r.muter_id, &r.mutee_id])?;
        let message = self.write(call, pair, Action::Unmute).await?;
        Ok(Response::new(wire::DeleteMuteResponse { success: true, message }))
    }

    async fn create_block(
        &self,
        request: Request<wire::CreateBlockRequest>,
    ) -> Result<Response<wire::CreateBlockResponse>, Status> {
        let (call, r) = (self.begin(&request), request.get_ref());
        let pair = parse::pair(["blocker_id", "blocked_id"], [&r.blocker_id, &r.blocked_id])?;
        let message = self.write(call, pair, Action::Block { expires_at: None }).await?;
        Ok(Response::new(wire::CreateBlockResponse { success: true, message }))
    }

    async fn delete_block(
        &self,
        request: Request<wire::DeleteBlockRequest>,
    ) -> Result<Response<wire::DeleteBlockResponse>, Status> {
        let (call, r) = (self.begin(&request), request.get_ref());
        let pair = parse::pair(["blocker_id", "blocked_id"], [&r.blocker_id, &r.blocked_id])?;
        let message = self.write(call, pair, Action::Unblock).await?;
        Ok(Response::new(wire::DeleteBlockResponse { success: true, message }))
    }

    proto::served_elsewhere! { "read", "query-service";
        get_followers(GetFollowersRequest) -> GetFollowersResponse;
        get_following(GetFollowingRequest) -> GetFollowingResponse;
        is_following(IsFollowingRequest) -> IsFollowingResponse;
        is_muted(IsMutedRequest) -> IsMutedResponse;
        is_blocked(IsBlockedRequest) -> IsBlockedResponse;
        batch_check_following(BatchCheckFollowingRequest) -> BatchCheckFollowingResponse;
        has_block_between(HasBlockBetweenRequest) -> HasBlockBetweenResponse;
        get_blocked_users(GetBlockedUsersRequest) -> GetBlockedUsersResponse;
        are_mutual_followers(AreMutualFollowersRequest) -> AreMutualFollowersResponse;
        get_mutual_followers(GetMutualFollowersRequest) -> GetMutualFollowersResponse;
    }
}
