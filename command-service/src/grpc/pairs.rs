//! The ten commands about a pair. Their messages differ in the name of one field and in the action.

use proto::command::v1 as wire;
use proto::error::{Reason, ServiceError};
use tonic::{Request, Response, Status};

use super::gateway::{CommandGateway, Origin};
use super::parse;
use crate::committer::Lane;
use crate::domain::{Action, Answer, Body, Command, Expects, PairCommand, RequestKey};

/// The request of a command about a pair.
pub trait PairRequest {
    /// Checks the whole request.
    fn read(&self) -> Result<(PairCommand, Option<RequestKey>), ServiceError>;
}

/// Each row: the request with its precondition and the field of the other account, the response, the action.
macro_rules! pair_requests {
    ($($request:ident($precondition:ident, $other:ident) -> $response:ident: |$r:ident| $action:expr;)+) => {$(
        impl PairRequest for wire::$request {
            fn read(&self) -> Result<(PairCommand, Option<RequestKey>), ServiceError> {
                use wire::$precondition::Precondition::{ExpectedEtag, ExpectedFollowing};
                let fields = ["actor_id", stringify!($other)];
                let (actor, other) = parse::pair(fields, [&self.actor_id, &self.$other])?;
                let $r = self;
                let action = $action;
                let expects = match &self.precondition {
                    Some(ExpectedEtag(etag)) => Some(parse::etag("expected_etag", etag)?),
                    Some(ExpectedFollowing(following)) => Some(Expects::Following(*following)),
                    None => None,
                };
                let command = PairCommand { actor, other, action, expects };
                let key = parse::request_key(&self.request_id, actor, || parse::pair_content(&command))?;
                Ok((command, key))
            }
        }

        impl From<Answer> for wire::$response {
            fn from(answer: Answer) -> Self {
                let relationship = match answer.body {
                    Body::Pair(relationship) => Some(*relationship),
                    _ => None,
                };
                Self { changed: answer.changed, written_at: answer.written_at.to_string(), relationship }
            }
        }
    )+};
}

pair_requests! {
    FollowRequest(follow_request, target_id) -> FollowResponse: |_r| Action::Follow;
    UnfollowRequest(unfollow_request, target_id) -> UnfollowResponse: |_r| Action::Unfollow;
    RemoveFollowerRequest(remove_follower_request, follower_id) -> RemoveFollowerResponse:
        |_r| Action::RemoveFollower;
    MuteRequest(mute_request, target_id) -> MuteResponse:
        |r| Action::Mute { expires_at: parse::time("expires_at", r.expires_at.as_ref())? };
    UnmuteRequest(unmute_request, target_id) -> UnmuteResponse: |_r| Action::Unmute;
    BlockRequest(block_request, target_id) -> BlockResponse:
        |r| Action::Block { expires_at: parse::time("expires_at", r.expires_at.as_ref())? };
    UnblockRequest(unblock_request, target_id) -> UnblockResponse: |_r| Action::Unblock;
    AcceptFollowRequestRequest(accept_follow_request_request, requester_id) -> AcceptFollowRequestResponse:
        |_r| Action::AcceptRequest;
    RejectFollowRequestRequest(reject_follow_request_request, requester_id) -> RejectFollowRequestResponse:
        |_r| Action::RejectRequest;
    CancelFollowRequestRequest(cancel_follow_request_request, target_id) -> CancelFollowRequestResponse:
        |_r| Action::CancelRequest;
}

/// Executes a command about a pair.
pub async fn execute<R: PairRequest, A: From<Answer>>(
    gateway: &CommandGateway,
    request: Request<R>,
) -> Result<Response<A>, Status> {
    let origin = Origin::of(&request);
    let (command, key) = request.get_ref().read()?;
    gateway.limit.check(command.actor)?;
    let answer = gateway.execute(Command::Pair(command), key, origin, Lane::Command).await?;
    Ok(Response::new(answer.into()))
}

/// Checks one command of a batch.
pub fn write(write: &wire::Write) -> Result<(PairCommand, Option<RequestKey>), ServiceError> {
    let unset = || ServiceError::field(Reason::FieldRequired, "command", "must be set");
    named(write).ok_or_else(unset)?.1.read()
}

/// Adds the position in a batch to the error of one command; its field gets the path from the top of the message.
pub fn in_batch(index: usize, write: &wire::Write, mut error: ServiceError) -> ServiceError {
    let field = error.field.take().filter(|field| field != "command");
    let inner = [named(write).map(|(name, _)| name.to_owned()), field].into_iter().flatten();
    let path = [format!("writes[{index}]")].into_iter().chain(inner).collect::<Vec<_>>().join(".");
    error.field = Some(path);
    error.with("index", index)
}

/// Name and request of a command of a batch; `None` if it is not set.
fn named(write: &wire::Write) -> Option<(&'static str, &dyn PairRequest)> {
    use wire::write::Command as W;
    let command: (&'static str, &dyn PairRequest) = match write.command.as_ref()? {
        W::Follow(r) => ("follow", r),
        W::Unfollow(r) => ("unfollow", r),
        W::RemoveFollower(r) => ("remove_follower", r),
        W::Mute(r) => ("mute", r),
        W::Unmute(r) => ("unmute", r),
        W::Block(r) => ("block", r),
        W::Unblock(r) => ("unblock", r),
        W::AcceptFollowRequest(r) => ("accept_follow_request", r),
        W::RejectFollowRequest(r) => ("reject_follow_request", r),
        W::CancelFollowRequest(r) => ("cancel_follow_request", r),
    };
    Some(command)
}
