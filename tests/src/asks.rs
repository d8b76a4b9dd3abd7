//! The ten commands between two accounts as values, so that tests can generate them, send them, repeat them and put
//! them into batches. Their effects are in [`crate::model`].

use proto::command::v1 as wire;
use proto::command::v1::write::Command;
use proto::graph::v1::Relationship;
use proto::timestamp;
use proto::{Etag, Token, UserId};
use time::OffsetDateTime;
use tonic::Status;
use uuid::Uuid;

use crate::clients::Commands;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    Follow,
    Unfollow,
    RemoveFollower,
    Mute,
    Unmute,
    Block,
    Unblock,
    Accept,
    Reject,
    Cancel,
}

/// The state of the pair that a command requires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// The pair's etag.
    Etag(Etag),
    /// Whether the actor follows the other account.
    Following(bool),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    pub act: Act,
    pub actor: UserId,
    pub other: UserId,
    /// The idempotency key.
    pub request_id: Option<Uuid>,
    /// Expiry; for Mute and Block.
    pub expires_at: Option<OffsetDateTime>,
    pub expected: Option<Expected>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The command changed something.
    pub changed: bool,
    pub written_at: String,
    /// The pair afterwards.
    pub relationship: Relationship,
}

impl Answer {
    /// The token as epoch and revision.
    ///
    /// # Panics
    /// If it is invalid.
    pub fn token(&self) -> Token {
        Token::parse(&self.written_at).expect("a token")
    }
}

/// The etag of a pair as a response contains it.
///
/// # Panics
/// If there is none.
pub fn etag(pair: &Relationship) -> Etag {
    Etag::parse(&pair.etag).unwrap_or_else(|| panic!("{pair:?} has no etag"))
}

macro_rules! request {
    ($ask:expr, $message:ident, $module:ident, $other:ident $(, $expires_at:ident)?) => {
        wire::$message {
            actor_id: $ask.actor.to_string(),
            $other: $ask.other.to_string(),
            request_id: $ask.request_id.map(|id| id.to_string()).unwrap_or_default(),
            $($expires_at: $ask.expires_at.map(timestamp::to_proto),)?
            precondition: $ask.expected.map(|expected| match expected {
                Expected::Etag(etag) => wire::$module::Precondition::ExpectedEtag(etag.to_string()),
                Expected::Following(follows) => wire::$module::Precondition::ExpectedFollowing(follows),
            }),
        }
    };
}

macro_rules! answer {
    ($call:expr) => {{
        let answer = $call.await?.into_inner();
        Ok(Answer {
            changed: answer.changed,
            written_at: answer.written_at,
            relationship: answer.relationship.expect("an answer shows the pair"),
        })
    }};
}

impl Ask {
    /// A command without extras.
    pub fn new(act: Act, actor: UserId, other: UserId) -> Self {
        Self { act, actor, other, request_id: None, expires_at: None, expected: None }
    }

    /// Adds an idempotency key.
    #[must_use]
    pub fn under(self, request_id: Uuid) -> Self {
        Self { request_id: Some(request_id), ..self }
    }

    /// Adds an expiry.
    #[must_use]
    pub fn until(self, expires_at: OffsetDateTime) -> Self {
        Self { expires_at: Some(expires_at), ..self }
    }

    /// Adds a precondition.
    #[must_use]
    pub fn expecting(self, expected: Expected) -> Self {
        Self { expected: Some(expected), ..self }
    }

    /// The command as part of a batch.
    pub fn command(&self) -> Command {
        match self.act {
            Act::Follow => Command::Follow(request!(self, FollowRequest, follow_request, target_id)),
            Act::Unfollow => Command::Unfollow(request!(self, UnfollowRequest, unfollow_request, target_id)),
            Act::RemoveFollower => Command::RemoveFollower(request!(
                self,
                RemoveFollowerRequest,
                remove_follower_request,
                follower_id
            )),
            Act::Mute => Command::Mute(request!(self, MuteRequest, mute_request, target_id, expires_at)),
            Act::Unmute => Command::Unmute(request!(self, UnmuteRequest, unmute_request, target_id)),
            Act::Block => Command::Block(request!(self, BlockRequest, block_request, target_id, expires_at)),
            Act::Unblock => Command::Unblock(request!(self, UnblockRequest, unblock_request, target_id)),
            Act::Accept => Command::AcceptFollowRequest(request!(
                self,
                AcceptFollowRequestRequest,
                accept_follow_request_request,
                requester_id
            )),
            Act::Reject => Command::RejectFollowRequest(request!(
                self,
                RejectFollowRequestRequest,
                reject_follow_request_request,
                requester_id
            )),
            Act::Cancel => Command::CancelFollowRequest(request!(
                self,
                CancelFollowRequestRequest,
                cancel_follow_request_request,
                target_id
            )),
        }
    }

    /// Sends the command.
    ///
    /// # Errors
    /// The server's error.
    pub async fn send(&self, commands: &Commands) -> Result<Answer, Status> {
        let mut commands = commands.clone();
        match self.command() {
            Command::Follow(request) => answer!(commands.follow(request)),
            Command::Unfollow(request) => answer!(commands.unfollow(request)),
            Command::RemoveFollower(request) => answer!(commands.remove_follower(request)),
            Command::Mute(request) => answer!(commands.mute(request)),
            Command::Unmute(request) => answer!(commands.unmute(request)),
            Command::Block(request) => answer!(commands.block(request)),
            Command::Unblock(request) => answer!(commands.unblock(request)),
            Command::AcceptFollowRequest(request) => answer!(commands.accept_follow_request(request)),
            Command::RejectFollowRequest(request) => answer!(commands.reject_follow_request(request)),
            Command::CancelFollowRequest(request) => answer!(commands.cancel_follow_request(request)),
        }
    }
}

impl Ask {
    /// Sends it and requires success.
    ///
    /// # Panics
    /// If it is rejected.
    pub async fn done(&self, commands: &Commands) -> Answer {
        self.send(commands).await.unwrap_or_else(|status| panic!("{self:?}: {status:?}"))
    }

    /// Sends it and requires a rejection; returns the reason.
    ///
    /// # Panics
    /// If it succeeds.
    pub async fn refused(&self, commands: &Commands) -> Status {
        match self.send(commands).await {
            Ok(answer) => panic!("{self:?} succeeded: {answer:?}"),
            Err(status) => status,
        }
    }
}

/// Sends a batch.
///
/// # Errors
/// The server's error.
pub async fn batch(
    commands: &Commands,
    asks: &[Ask],
    atomic: bool,
    request_id: Option<Uuid>,
) -> Result<wire::BatchWriteResponse, Status> {
    let writes = asks.iter().map(|ask| wire::Write { command: Some(ask.command()) }).collect();
    let request_id = request_id.map(|id| id.to_string()).unwrap_or_default();
    let request = wire::BatchWriteRequest { writes, atomic, request_id };
    commands.clone().batch_write(request).await.map(tonic::Response::into_inner)
}

/// The time in this many hours, to the second.
pub fn in_hours(hours: i64) -> OffsetDateTime {
    let now = OffsetDateTime::now_utc().replace_nanosecond(0).expect("a whole second");
    now + time::Duration::hours(hours)
}
