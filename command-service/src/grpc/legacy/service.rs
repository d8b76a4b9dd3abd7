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

impl Legacy {
    /// Executes a command and waits for the stream. Answers with the state of the pair as the API words it, whether or
    /// not the command changed something.
    async fn write<R: LegacyWrite>(&self, request: Request<R>) -> Result<Response<R::Response>, Status> {
        let started = tokio::time::Instant::now();
        // A write that succeeds must not miss its deadline because NATS is down.
        let left =
            Deadline::of(&request).map(|deadline| deadline.remaining().saturating_sub(RESPONSE_MARGIN));
        let stream_timeout = left.map_or(self.stream_timeout, |left| left.min(self.stream_timeout));
        let (actor, other) = request.get_ref().pair()?;
        self.gateway.limit.check(actor)?;
        let command = Command::Pair(PairCommand { actor, other, action: R::ACTION, expects: None });
        let answer = self.gateway.execute(command, None, Origin::of(&request), Lane::Command).await?;
        let timeout = stream_timeout.saturating_sub(started.elapsed());
        // Also if nothing changed: an earlier write that made this state may not be in the stream yet.
        if !self.acknowledged.wait(answer.written_at, timeout).await {
            tracing::debug!(written_at = %answer.written_at, "returning before the stream has the event");
        }
        let requested =
            R::ACTION == Action::Follow && matches!(&answer.body, Body::Pair(pair) if pair.requested);
        Ok(Response::new(R::response(if requested { "requested" } else { R::STATE })))
    }
}

/// The request of a write of the older API.
trait LegacyWrite {
    /// The matching response.
    type Response;
    /// The action.
    const ACTION: Action;
    /// The `message` after the command, unless it made a follow request.
    const STATE: &'static str;

    /// The two accounts.
    fn pair(&self) -> Result<(UserId, UserId), ServiceError>;
    /// A successful response.
    fn response(message: &str) -> Self::Response;
}

/// Each row: the request with the fields of the two accounts, the response, the action, the state after it.
macro_rules! legacy_writes {
    ($($request:ident($actor:ident, $other:ident) -> $response:ident: $action:expr, $state:literal;)+) => {$(
        impl LegacyWrite for wire::$request {
            type Response = wire::$response;
            const ACTION: Action = $action;
            const STATE: &'static str = $state;

            fn pair(&self) -> Result<(UserId, UserId), ServiceError> {
                parse::pair([stringify!($actor), stringify!($other)], [&self.$actor, &self.$other])
            }

            fn response(message: &str) -> Self::Response {
                wire::$response { success: true, message: message.to_owned() }
            }
        }
    )+};
}

legacy_writes! {
    CreateFollowRequest(follower_id, followee_id) -> CreateFollowResponse: Action::Follow, "following";
    DeleteFollowRequest(follower_id, followee_id) -> DeleteFollowResponse: Action::Unfollow, "not following";
    CreateMuteRequest(muter_id, mutee_id) -> CreateMuteResponse: Action::Mute { expires_at: None }, "muted";
    DeleteMuteRequest(muter_id, mutee_id) -> DeleteMuteResponse: Action::Unmute, "not muted";
    CreateBlockRequest(blocker_id, blocked_id) -> CreateBlockResponse: Action::Block { expires_at: None }, "blocked";
    DeleteBlockRequest(blocker_id, blocked_id) -> DeleteBlockResponse: Action::Unblock, "not blocked";
}

#[tonic::async_trait]
impl GraphService for Legacy {
    proto::methods! { |self, request| self.write(request);
        create_follow(wire::CreateFollowRequest) -> wire::CreateFollowResponse;
        delete_follow(wire::DeleteFollowRequest) -> wire::DeleteFollowResponse;
        create_mute(wire::CreateMuteRequest) -> wire::CreateMuteResponse;
        delete_mute(wire::DeleteMuteRequest) -> wire::DeleteMuteResponse;
        create_block(wire::CreateBlockRequest) -> wire::CreateBlockResponse;
        delete_block(wire::DeleteBlockRequest) -> wire::DeleteBlockResponse;
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
