//! `nova.graph_service.v2.GraphService`: the older system's API, of which this
//! process serves the writes.
//!
//! Owns: its names, its words, who may call it, and that a write answers once the stream
//! has the event, because its reads have no tokens. It must not know how commands
//! are carried out.
//!
//! What can go wrong: the stream does not acknowledge in time. The write is durable
//! by then, so it is answered as the success that it is.

mod access;

use std::time::Duration;

use proto::UserId;
use proto::error::ServiceError;
use proto::legacy::v2 as wire;
use proto::legacy::v2::graph_service_server::GraphService;
use service_kit::grpc::Deadline;
use tonic::{Request, Response, Status};

pub use access::LegacyAccess;

use super::door::{Door, Origin};
use super::parse;
use crate::committer::Lane;
use crate::domain::{Action, Body, Command, PairCommand};
use crate::relay::Acknowledged;

/// What is left of the caller's time for the answer to travel.
const TRAVEL: Duration = Duration::from_millis(50);

/// The service. Clones share everything.
#[derive(Clone, Debug)]
pub struct Legacy {
    /// Carries commands out.
    pub door: Door,
    /// Knows what the stream holds.
    pub acknowledged: Acknowledged,
    /// How long an answer waits for the stream.
    pub patience: Duration,
}

/// A call that was let in.
struct Call {
    origin: Origin,
    patience: Duration,
}

impl Legacy {
    fn begin<T>(&self, request: &Request<T>) -> Call {
        // A success must not turn into a missed deadline because the stream is away.
        let left = Deadline::of(request).map(|deadline| deadline.remaining().saturating_sub(TRAVEL));
        let patience = left.map_or(self.patience, |left| left.min(self.patience));
        Call { origin: Origin::of(request), patience }
    }

    /// Carries a command out and waits for the stream; answers the state of the pair in
    /// a word or two.
    async fn write(
        &self,
        call: Call,
        (actor, other): (UserId, UserId),
        action: Action,
    ) -> Result<String, ServiceError> {
        let started = tokio::time::Instant::now();
        let state = state_after(&action);
        self.door.limit.check(actor)?;
        let command = Command::Pair(PairCommand { actor, other, action, expects: None });
        let answer = self.door.carry_out(command, None, call.origin, Lane::Command).await?;
        let patience = call.patience.saturating_sub(started.elapsed());
        // Also where nothing changed: what is there already may be as new.
        if !self.acknowledged.wait(answer.written_at, patience).await {
            tracing::debug!(written_at = %answer.written_at, "answering before the stream has the event");
        }
        let requested = matches!(&answer.body, Body::Pair(pair) if pair.requested);
        Ok(if requested && state == FOLLOWING { REQUESTED } else { state }.to_owned())
    }
}

const FOLLOWING: &str = "following";
const REQUESTED: &str = "requested";

/// What `message` says after a command that was obeyed, now or before.
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
