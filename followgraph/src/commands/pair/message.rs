//! The messages and calls of the commands on a pair. The contract has one of each per command; they differ in their names,
//! in the name of the second account, and in whether they have an expiry time.

use proto::command::v1::{self as wire, write::Command};
use proto::graph::v1::Relationship;
use time::OffsetDateTime;

use super::command::PairCommand;
use crate::client::{CallFailed, CommandClient, CommandRpc};

/// The answer of each of these commands.
#[derive(Debug)]
pub struct Changed {
    /// Whether the command changed something.
    pub changed: bool,
    /// Token of the write.
    pub written_at: String,
    /// The pair after the command.
    pub relationship: Relationship,
}

/// One row per command: its name, our variant, the contract's variant and message, the module of the message's
/// precondition, the field of the second account, and the method.
macro_rules! commands {
    ($($name:literal $ours:ident $theirs:ident $message:ident $module:ident $other:ident $method:ident
       $(expires $expires_at:ident)?;)*) => {
        /// Name of a command on the command line.
        pub fn name(command: &PairCommand) -> &'static str {
            match command {
                $(PairCommand::$ours(_) => $name,)*
            }
        }

        /// Message of a command.
        pub fn message(command: &PairCommand, now: OffsetDateTime) -> Command {
            match command {
                $(PairCommand::$ours(args) => {
                    let pair = args.pair();
                    Command::$theirs(wire::$message {
                        actor_id: pair.actor.user().to_string(),
                        $other: pair.other.user().to_string(),
                        request_id: pair.request_id.clone().unwrap_or_default(),
                        precondition: match (&pair.expected_etag, pair.if_following) {
                            (Some(etag), _) => Some(wire::$module::Precondition::ExpectedEtag(etag.clone())),
                            (None, Some(is)) => Some(wire::$module::Precondition::ExpectedFollowing(is)),
                            (None, None) => None,
                        },
                        $($expires_at: args.expires_at(now).map(proto::timestamp::to_proto),)?
                    })
                })*
            }
        }

        /// Sends a command with its own method.
        pub async fn send(client: &mut CommandClient, command: Command) -> Result<Changed, CallFailed> {
            Ok(match command {
                $(Command::$theirs(message) => {
                    let answer = client.call(message, CommandRpc::$method).await?;
                    let relationship = answer.relationship.unwrap_or_default();
                    Changed { changed: answer.changed, written_at: answer.written_at, relationship }
                })*
            })
        }
    };
}

commands! {
    "follow" Follow Follow FollowRequest follow_request target_id follow;
    "unfollow" Unfollow Unfollow UnfollowRequest unfollow_request target_id unfollow;
    "remove-follower" RemoveFollower RemoveFollower RemoveFollowerRequest remove_follower_request follower_id
        remove_follower;
    "mute" Mute Mute MuteRequest mute_request target_id mute expires expires_at;
    "unmute" Unmute Unmute UnmuteRequest unmute_request target_id unmute;
    "block" Block Block BlockRequest block_request target_id block expires expires_at;
    "unblock" Unblock Unblock UnblockRequest unblock_request target_id unblock;
    "accept-request" AcceptRequest AcceptFollowRequest AcceptFollowRequestRequest accept_follow_request_request
        requester_id accept_follow_request;
    "reject-request" RejectRequest RejectFollowRequest RejectFollowRequestRequest reject_follow_request_request
        requester_id reject_follow_request;
    "cancel-request" CancelRequest CancelFollowRequest CancelFollowRequestRequest cancel_follow_request_request
        target_id cancel_follow_request;
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use proto::command::v1::{
        AcceptFollowRequestRequest, MuteRequest, RemoveFollowerRequest, accept_follow_request_request,
        mute_request,
    };

    use super::*;
    use crate::commands::pair::command::BatchLine;
    use crate::dates;

    const ACTOR: &str = "f47ac10b-58cc-4372-a567-0e02b2c3d479";
    const OTHER: &str = "0b0f8f0e-4f4b-4b7e-8d0e-0e02b2c3d479";

    fn of(line: &str) -> Command {
        let line = BatchLine::try_parse_from(line.split_whitespace()).unwrap();
        message(&line.command, dates::parse("2026-07-01T00:00:00Z").unwrap())
    }

    #[test]
    fn each_message_names_its_second_account() {
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
    fn a_mute_has_an_expiry_time_and_a_precondition() {
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

    #[test]
    fn names_are_those_of_the_command_line() {
        for name in ["follow", "remove-follower", "cancel-request"] {
            let line = BatchLine::try_parse_from([name, ACTOR, OTHER]).unwrap();
            assert_eq!(super::name(&line.command), name);
        }
    }
}
