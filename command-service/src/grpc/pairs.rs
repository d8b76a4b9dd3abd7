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
    /// Name of the field with the other account.
    const OTHER: &'static str;
    /// The matching response.
    type Response: From<PairAnswer>;

    /// The actor and the other account.
    fn accounts(&self) -> (&str, &str);
    /// The request_id; empty if there is none.
    fn request_id(&self) -> &str;
    /// The action; fails for an invalid expiry.
    fn action(&self) -> Result<Action, ServiceError>;
    /// The precondition; fails for an empty etag.
    fn expects(&self) -> Result<Option<Expects>, ServiceError>;

    /// Checks the accounts, the action and the precondition.
    fn command(&self) -> Result<PairCommand, ServiceError> {
        let (actor, other) = self.accounts();
        let (actor, other) = parse::pair(["actor_id", Self::OTHER], [actor, other])?;
        Ok(PairCommand { actor, other, action: self.action()?, expects: self.expects()? })
    }

    /// Checks the whole request.
    fn read(&self) -> Result<(PairCommand, Option<RequestKey>), ServiceError> {
        let command = self.command()?;
        let key = parse::request_key(self.request_id(), command.actor, &Command::Pair(command))?;
        Ok((command, key))
    }
}

/// The fields that all responses about a pair have.
pub struct PairAnswer {
    changed: bool,
    written_at: String,
    relationship: Option<proto::graph::v1::Relationship>,
}

impl From<Answer> for PairAnswer {
    fn from(answer: Answer) -> Self {
        let relationship = match answer.body {
            Body::Pair(relationship) => Some(*relationship),
            _ => None,
        };
        Self { changed: answer.changed, written_at: answer.written_at.to_string(), relationship }
    }
}

/// `$other` is the field with the other account.
macro_rules! pair_request {
    ($request:ident, $response:ident, $precondition:ident, $other:ident, |$r:ident| $action:expr) => {
        impl PairRequest for wire::$request {
            const OTHER: &'static str = stringify!($other);
            type Response = wire::$response;

            fn accounts(&self) -> (&str, &str) {
                (&self.actor_id, &self.$other)
            }

            fn request_id(&self) -> &str {
                &self.request_id
            }

            fn action(&self) -> Result<Action, ServiceError> {
                let $r = self;
                Ok($action)
            }

            fn expects(&self) -> Result<Option<Expects>, ServiceError> {
                use wire::$precondition::Precondition::{ExpectedEtag, ExpectedFollowing};
                let precondition = self.precondition.as_ref().map(|precondition| match precondition {
                    ExpectedEtag(etag) => parse::etag("expected_etag", etag),
                    ExpectedFollowing(following) => Ok(Expects::Following(*following)),
                });
                precondition.transpose()
            }
        }

        impl From<PairAnswer> for wire::$response {
            fn from(answer: PairAnswer) -> Self {
                let PairAnswer { changed, written_at, relationship } = answer;
                Self { changed, written_at, relationship }
            }
        }
    };
}

pair_request!(FollowRequest, FollowResponse, follow_request, target_id, |_r| Action::Follow);
pair_request!(UnfollowRequest, UnfollowResponse, unfollow_request, target_id, |_r| Action::Unfollow);
pair_request!(RemoveFollowerRequest, RemoveFollowerResponse, remove_follower_request, follower_id, |_r| {
    Action::RemoveFollower
});
pair_request!(MuteRequest, MuteResponse, mute_request, target_id, |r| Action::Mute {
    expires_at: parse::expiry("expires_at", r.expires_at.as_ref())?
});
pair_request!(UnmuteRequest, UnmuteResponse, unmute_request, target_id, |_r| Action::Unmute);
pair_request!(BlockRequest, BlockResponse, block_request, target_id, |r| Action::Block {
    expires_at: parse::expiry("expires_at", r.expires_at.as_ref())?
});
pair_request!(UnblockRequest, UnblockResponse, unblock_request, target_id, |_r| Action::Unblock);
pair_request!(
    AcceptFollowRequestRequest,
    AcceptFollowRequestResponse,
    accept_follow_request_request,
    requester_id,
    |_r| Action::AcceptRequest
);
pair_request!(
    RejectFollowRequestRequest,
    RejectFollowRequestResponse,
    reject_follow_request_request,
    requester_id,
    |_r| Action::RejectRequest
);
pair_request!(
    CancelFollowRequestRequest,
    CancelFollowRequestResponse,
    cancel_follow_request_request,
    target_id,
    |_r| Action::CancelRequest
);

/// Executes a command about a pair.
pub async fn execute<R: PairRequest>(
    gateway: &CommandGateway,
    request: Request<R>,
) -> Result<Response<R::Response>, Status> {
    let origin = Origin::of(&request);
    let (command, key) = request.get_ref().read()?;
    gateway.limit.check(command.actor)?;
    let answer = gateway.execute(Command::Pair(command), key, origin, Lane::Command).await?;
    Ok(Response::new(PairAnswer::from(answer).into()))
}

/// Checks one command of a batch.
pub fn write(write: &wire::Write) -> Result<(PairCommand, Option<RequestKey>), ServiceError> {
    use wire::write::Command as W;
    match &write.command {
        None => Err(ServiceError::field(Reason::FieldRequired, "command", "must be set")),
        Some(W::Follow(r)) => r.read(),
        Some(W::Unfollow(r)) => r.read(),
        Some(W::RemoveFollower(r)) => r.read(),
        Some(W::Mute(r)) => r.read(),
        Some(W::Unmute(r)) => r.read(),
        Some(W::Block(r)) => r.read(),
        Some(W::Unblock(r)) => r.read(),
        Some(W::AcceptFollowRequest(r)) => r.read(),
        Some(W::RejectFollowRequest(r)) => r.read(),
        Some(W::CancelFollowRequest(r)) => r.read(),
    }
}

/// Adds the position in a batch to the error of one command; its field gets the path from the top of the message.
pub fn in_batch(index: usize, write: &wire::Write, mut error: ServiceError) -> ServiceError {
    let field = error.field.take().filter(|field| field != "command");
    let inner = [name(write).map(str::to_owned), field].into_iter().flatten();
    let path = [format!("writes[{index}]")].into_iter().chain(inner).collect::<Vec<_>>().join(".");
    error.field = Some(path);
    error.with("index", index)
}

fn name(write: &wire::Write) -> Option<&'static str> {
    use wire::write::Command as W;
    Some(match write.command.as_ref()? {
        W::Follow(_) => "follow",
        W::Unfollow(_) => "unfollow",
        W::RemoveFollower(_) => "remove_follower",
        W::Mute(_) => "mute",
        W::Unmute(_) => "unmute",
        W::Block(_) => "block",
        W::Unblock(_) => "unblock",
        W::AcceptFollowRequest(_) => "accept_follow_request",
        W::RejectFollowRequest(_) => "reject_follow_request",
        W::CancelFollowRequest(_) => "cancel_follow_request",
    })
}
