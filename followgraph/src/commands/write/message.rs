//! The messages of the commands on pairs: the contract has one of its own for each.
//!
//! Owns the translation of the command line to the contract. It must not know how
//! answers are shown. What can go wrong: the call fails.

use proto::command::v1::{
    AcceptFollowRequestRequest, BlockRequest, CancelFollowRequestRequest, FollowRequest, MuteRequest,
    RejectFollowRequestRequest, RemoveFollowerRequest, UnblockRequest, UnfollowRequest, UnmuteRequest,
    accept_follow_request_request, block_request, cancel_follow_request_request, follow_request,
    mute_request, reject_follow_request_request, remove_follower_request, unblock_request, unfollow_request,
    unmute_request, write::Command,
};
use proto::graph::v1::Relationship;
use time::OffsetDateTime;

use crate::args::PairCommand;
use crate::client::{CallFailed, CommandClient};

/// What every one of these commands answers.
#[derive(Debug)]
pub struct Written {
    /// Something changed.
    pub changed: bool,
    /// The token of the write.
    pub written_at: String,
    /// The pair after the command.
    pub relationship: Relationship,
}

/// The message of a command.
pub fn message(command: &PairCommand, now: OffsetDateTime) -> Command {
    // The types differ in their names, in the name of the second account, and in
    // whether they have an expiry.
    macro_rules! request {
        ($pair:expr, $request:ident, $module:ident, $other:ident $(, $field:ident: $value:expr)?) => {
            $request {
                actor_id: $pair.actor.user().to_string(),
                $other: $pair.other.user().to_string(),
                request_id: $pair.request_id.clone().unwrap_or_default(),
                precondition: match (&$pair.expected_etag, $pair.if_following) {
                    (Some(etag), _) => Some($module::Precondition::ExpectedEtag(etag.clone())),
                    (None, Some(following)) => Some($module::Precondition::ExpectedFollowing(following)),
                    (None, None) => None,
                },
                $($field: $value,)?
            }
        };
    }
    let pair = command.pair();
    match command {
        PairCommand::Follow(_) => Command::Follow(request!(pair, FollowRequest, follow_request, target_id)),
        PairCommand::Unfollow(_) => {
            Command::Unfollow(request!(pair, UnfollowRequest, unfollow_request, target_id))
        }
        PairCommand::RemoveFollower(_) => Command::RemoveFollower(request!(
            pair,
            RemoveFollowerRequest,
            remove_follower_request,
            follower_id
        )),
        PairCommand::Mute(args) => {
            let expires_at = args.expires_at(now).map(proto::timestamp::to_proto);
            Command::Mute(request!(pair, MuteRequest, mute_request, target_id, expires_at: expires_at))
        }
        PairCommand::Unmute(_) => Command::Unmute(request!(pair, UnmuteRequest, unmute_request, target_id)),
        PairCommand::Block(args) => {
            let expires_at = args.expires_at(now).map(proto::timestamp::to_proto);
            Command::Block(request!(pair, BlockRequest, block_request, target_id, expires_at: expires_at))
        }
        PairCommand::Unblock(_) => {
            Command::Unblock(request!(pair, UnblockRequest, unblock_request, target_id))
        }
        PairCommand::AcceptRequest(_) => Command::AcceptFollowRequest(request!(
            pair,
            AcceptFollowRequestRequest,
            accept_follow_request_request,
            requester_id
        )),
        PairCommand::RejectRequest(_) => Command::RejectFollowRequest(request!(
            pair,
            RejectFollowRequestRequest,
            reject_follow_request_request,
            requester_id
        )),
        PairCommand::CancelRequest(_) => Command::CancelFollowRequest(request!(
            pair,
            CancelFollowRequestRequest,
            cancel_follow_request_request,
            target_id
        )),
    }
}

/// Sends a command by the call that is made for it.
pub async fn send(client: &mut CommandClient, command: Command) -> Result<Written, CallFailed> {
    // The answers differ in the names of their types only.
    macro_rules! call {
        ($method:ident, $message:expr) => {{
            let request = client.request($message);
            let answer = client.rpc.$method(request).await.map_err(|s| client.failed(s))?.into_inner();
            Written {
                changed: answer.changed,
                written_at: answer.written_at,
                relationship: answer.relationship.unwrap_or_default(),
            }
        }};
    }
    Ok(match command {
        Command::Follow(message) => call!(follow, message),
        Command::Unfollow(message) => call!(unfollow, message),
        Command::RemoveFollower(message) => call!(remove_follower, message),
        Command::Mute(message) => call!(mute, message),
        Command::Unmute(message) => call!(unmute, message),
        Command::Block(message) => call!(block, message),
        Command::Unblock(message) => call!(unblock, message),
        Command::AcceptFollowRequest(message) => call!(accept_follow_request, message),
        Command::RejectFollowRequest(message) => call!(reject_follow_request, message),
        Command::CancelFollowRequest(message) => call!(cancel_follow_request, message),
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::BatchLine;
    use crate::dates;

    const ACTOR: &str = "f47ac10b-58cc-4372-a567-0e02b2c3d479";
    const OTHER: &str = "0b0f8f0e-4f4b-4b7e-8d0e-0e02b2c3d479";

    fn of(line: &str) -> Command {
        let line = BatchLine::try_parse_from(line.split_whitespace()).unwrap();
        message(&line.command, dates::parse("2026-07-01T00:00:00Z").unwrap())
    }

    #[test]
    fn the_second_account_goes_where_the_contract_wants_it() {
        assert_eq!(
            of(&format!("remove-follower {ACTOR} {OTHER} --request-id x")),
            Command::RemoveFollower(RemoveFollowerRequest {
                actor_id: ACTOR.to_owned(),
                follower_id: OTHER.to_owned(),
                request_id: "x".to_owned(),
                precondition: None,
            })
        );
        assert_eq!(
            of(&format!("accept-request {ACTOR} {OTHER} --if-following false")),
            Command::AcceptFollowRequest(AcceptFollowRequestRequest {
                actor_id: ACTOR.to_owned(),
                requester_id: OTHER.to_owned(),
                request_id: String::new(),
                precondition: Some(accept_follow_request_request::Precondition::ExpectedFollowing(false)),
            })
        );
    }

    #[test]
    fn a_mute_carries_its_end_and_its_condition() {
        assert_eq!(
            of(&format!("mute {ACTOR} {OTHER} --for 1h --expected-etag 1.a")),
            Command::Mute(MuteRequest {
                actor_id: ACTOR.to_owned(),
                target_id: OTHER.to_owned(),
                request_id: String::new(),
                expires_at: Some(proto::timestamp::to_proto(dates::parse("2026-07-01T01:00:00Z").unwrap())),
                precondition: Some(mute_request::Precondition::ExpectedEtag("1.a".to_owned())),
            })
        );
    }
}
