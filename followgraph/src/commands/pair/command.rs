//! The commands on a pair of accounts, in the syntax that the command line and the lines of a batch share.

use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use clap::{Parser, Subcommand};
use time::OffsetDateTime;

use crate::dates;
use crate::ids::Id;

/// A command on a pair of accounts.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum PairCommand {
    /// Follow TARGET for ACTOR; if TARGET is private, request to follow it
    Follow(PairArgs),
    /// Unfollow TARGET for ACTOR, or withdraw its request to follow TARGET
    Unfollow(PairArgs),
    /// Remove FOLLOWER from the followers of ACTOR
    #[command(mut_arg("other", |arg| arg.value_name("FOLLOWER")))]
    RemoveFollower(PairArgs),
    /// Mute TARGET for ACTOR. If already muted, replace the expiry time
    Mute(ExpiringArgs),
    /// Unmute TARGET for ACTOR
    Unmute(PairArgs),
    /// Block TARGET for ACTOR, and remove follows and requests between them. If already blocked, replace the expiry time
    Block(ExpiringArgs),
    /// Unblock TARGET for ACTOR. Follows that the block removed are not restored
    Unblock(PairArgs),
    /// Accept the request of REQUESTER to follow ACTOR
    #[command(mut_arg("other", |arg| arg.value_name("REQUESTER")))]
    AcceptRequest(PairArgs),
    /// Reject the request of REQUESTER to follow ACTOR
    #[command(mut_arg("other", |arg| arg.value_name("REQUESTER")))]
    RejectRequest(PairArgs),
    /// Withdraw the request of ACTOR to follow TARGET
    CancelRequest(PairArgs),
}

impl PairCommand {
    /// Whether the expiry time is relative to now, so that a repeat would be a different command.
    pub fn is_relative(&self) -> bool {
        matches!(self, Self::Mute(args) | Self::Block(args) if args.lasting.is_some())
    }

    /// The accounts and the conditions.
    pub fn pair(&self) -> &PairArgs {
        match self {
            Self::Mute(args) | Self::Block(args) => args.pair(),
            Self::Follow(pair)
            | Self::Unfollow(pair)
            | Self::RemoveFollower(pair)
            | Self::Unmute(pair)
            | Self::Unblock(pair)
            | Self::AcceptRequest(pair)
            | Self::RejectRequest(pair)
            | Self::CancelRequest(pair) => pair,
        }
    }
}

/// A pair of accounts, and the conditions of a command on it.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct PairArgs {
    /// Account that acts
    pub actor: Id,
    /// The other account
    #[arg(value_name = "TARGET")]
    pub other: Id,
    /// Idempotency key, a UUID: a repeat with the same key returns the first answer
    #[arg(long, value_name = "UUID")]
    pub request_id: Option<String>,
    /// Execute only if the pair still has this etag (printed by `relationship` and by writes)
    #[arg(long, value_name = "ETAG", visible_alias = "if-etag", value_parser = NonEmptyStringValueParser::new())]
    pub expected_etag: Option<String>,
    /// Execute only if ACTOR follows the other account (true), or does not (false)
    #[arg(long, value_name = "true|false", conflicts_with = "expected_etag")]
    pub if_following: Option<bool>,
}

impl PairArgs {
    /// Itself, as [`ExpiringArgs::pair`] for commands that do not expire.
    pub fn pair(&self) -> &Self {
        self
    }
}

/// A pair of accounts, and when the mute or block expires.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct ExpiringArgs {
    /// The pair.
    #[command(flatten)]
    pub pair: PairArgs,
    /// Duration, such as 30m, 24h or 7d; without --for and --until, no expiry. Not with --request-id: a repeat
    /// would have another expiry time, and be another command
    #[arg(long = "for", value_name = "DURATION", conflicts_with = "request_id",
          value_parser = humantime::parse_duration)]
    pub lasting: Option<Duration>,
    /// Expiry time, such as 2027-01-01T00:00:00Z or 2027-01-01; without a time zone, UTC
    #[arg(long, value_name = "DATE", conflicts_with = "lasting", value_parser = dates::parse)]
    pub until: Option<OffsetDateTime>,
}

impl ExpiringArgs {
    /// The pair without its expiry time.
    pub fn pair(&self) -> &PairArgs {
        &self.pair
    }

    /// The expiry time; `None` without one.
    pub fn expires_at(&self, now: OffsetDateTime) -> Option<OffsetDateTime> {
        let end_of = |lasting| {
            let lasting = time::Duration::try_from(lasting).unwrap_or(time::Duration::MAX);
            // The service refuses a date that is too far away.
            now.saturating_add(lasting)
        };
        self.until.or(self.lasting.map(end_of))
    }
}

/// A line of a batch.
#[derive(Debug, Parser)]
#[command(no_binary_name = true, disable_help_flag = true, disable_help_subcommand = true)]
pub struct BatchLine {
    /// The command.
    #[command(subcommand)]
    pub command: PairCommand,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<PairCommand, clap::Error> {
        BatchLine::try_parse_from(line.split_whitespace()).map(|line| line.command)
    }

    #[test]
    fn a_line_has_the_syntax_of_the_command_line() {
        for name in [
            "follow",
            "unfollow",
            "remove-follower",
            "mute",
            "unmute",
            "block",
            "unblock",
            "accept-request",
            "reject-request",
            "cancel-request",
        ] {
            let command = parse(&format!("{name} 1 2 --if-following false --request-id x")).unwrap();
            assert_eq!(command.pair().actor, "1".parse().unwrap());
            assert_eq!(command.pair().other, "2".parse().unwrap());
            assert_eq!(command.pair().if_following, Some(false));
            assert_eq!(command.pair().request_id.as_deref(), Some("x"));
        }
        assert!(parse("check 1 2").is_err(), "it does not write");
        assert!(parse("help").is_err());
    }

    #[test]
    fn an_expiry_time_is_a_duration_or_a_date() {
        let now = dates::parse("2026-07-01T00:00:00Z").unwrap();
        let end = |line: &str| match parse(line).unwrap() {
            PairCommand::Mute(args) | PairCommand::Block(args) => args.expires_at(now).map(dates::format),
            other => panic!("{other:?}"),
        };
        assert_eq!(end("mute 1 2"), None);
        assert_eq!(end("mute 1 2 --for 30m").as_deref(), Some("2026-07-01T00:30:00Z"));
        assert_eq!(end("block 1 2 --for 7d").as_deref(), Some("2026-07-08T00:00:00Z"));
        let until = "2027-01-01T00:00:00Z";
        assert_eq!(end(&format!("block 1 2 --until {until}")).as_deref(), Some(until));
        assert!(end("mute 1 2 --for 9999999y").unwrap().starts_with("9999-"), "the service refuses it");
    }

    #[test]
    fn contradictions_are_refused() {
        assert!(parse("mute 1 2 --for 1h --until 2027-01-01T00:00:00Z").is_err());
        assert!(parse("mute 1 2 --for ever").is_err());
        assert!(parse("mute 1 2 --for 1h --request-id x").is_err(), "a repeat would be another command");
        assert!(parse("follow 1 2 --for 1h").is_err(), "follows do not expire");
        assert!(parse("follow 1 2 --expected-etag 1.a --if-following true").is_err());
        assert!(parse("follow 1 2 --if-following maybe").is_err());
    }
}
