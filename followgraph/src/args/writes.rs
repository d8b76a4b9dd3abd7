//! Arguments of the commands that write: on pairs of accounts, several at once,
//! and on whole accounts.
//!
//! Owns their flags, and the syntax that the lines of a batch share with the
//! command line. It must not know what is sent. What can go wrong in a line of a
//! batch is told by clap, as for the command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args as Group, Parser, Subcommand, ValueEnum};
use time::OffsetDateTime;

use super::jobs::WaitArgs;
use crate::dates;
use crate::ids::Id;

/// One command on a pair of accounts.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum PairCommand {
    /// Make ACTOR follow TARGET, or ask to where TARGET is private
    Follow(PairArgs),
    /// Make ACTOR stop following TARGET, or withdraw its request to
    Unfollow(PairArgs),
    /// Make FOLLOWER stop following ACTOR
    #[command(mut_arg("other", |arg| arg.value_name("FOLLOWER")))]
    RemoveFollower(PairArgs),
    /// Make ACTOR mute TARGET; again: with another end
    Mute(ExpiringArgs),
    /// End the mute of TARGET by ACTOR
    Unmute(PairArgs),
    /// Make ACTOR block TARGET, which ends follows and requests between them; again: with another end
    Block(ExpiringArgs),
    /// End the block of TARGET by ACTOR; what it ended does not come back
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
    /// Its name, as it is typed.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Follow(_) => "follow",
            Self::Unfollow(_) => "unfollow",
            Self::RemoveFollower(_) => "remove-follower",
            Self::Mute(_) => "mute",
            Self::Unmute(_) => "unmute",
            Self::Block(_) => "block",
            Self::Unblock(_) => "unblock",
            Self::AcceptRequest(_) => "accept-request",
            Self::RejectRequest(_) => "reject-request",
            Self::CancelRequest(_) => "cancel-request",
        }
    }

    /// Whether its end is counted from now, so that a repeat would be another command.
    pub fn is_relative(&self) -> bool {
        matches!(self, Self::Mute(args) | Self::Block(args) if args.lasting.is_some())
    }

    /// The pair that it is about.
    pub fn pair(&self) -> &PairArgs {
        match self {
            Self::Mute(args) | Self::Block(args) => &args.pair,
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

/// A pair of accounts, and on what condition something happens to it.
#[derive(Clone, Debug, PartialEq, Eq, Group)]
pub struct PairArgs {
    /// Who acts
    pub actor: Id,
    /// The other account
    #[arg(value_name = "TARGET")]
    pub other: Id,
    /// A UUID of your choice: a repeat with the same one gets the first answer again
    #[arg(long, value_name = "UUID")]
    pub request_id: Option<String>,
    /// Only if the pair is still in the state that had this etag, as `relationship` or a write printed it
    #[arg(long, value_name = "ETAG", visible_alias = "if-etag", value_parser = NonEmptyStringValueParser::new())]
    pub expected_etag: Option<String>,
    /// Only if ACTOR follows the other account, or does not
    #[arg(long, value_name = "true|false", conflicts_with = "expected_etag")]
    pub if_following: Option<bool>,
}

/// A pair of accounts, and when what happens to it ends by itself.
#[derive(Clone, Debug, PartialEq, Eq, Group)]
pub struct ExpiringArgs {
    /// The pair.
    #[command(flatten)]
    pub pair: PairArgs,
    /// For how long, such as 30m, 24h or 7d; without it and --until, for good. Not with --request-id: a repeat
    /// would ask for another end, and be another command
    #[arg(long = "for", value_name = "DURATION", conflicts_with = "request_id",
          value_parser = humantime::parse_duration)]
    pub lasting: Option<Duration>,
    /// Until when, such as 2027-01-01T00:00:00Z or 2027-01-01; without a time zone, UTC
    #[arg(long, value_name = "DATE", conflicts_with = "lasting", value_parser = dates::parse)]
    pub until: Option<OffsetDateTime>,
}

impl ExpiringArgs {
    /// When it ends; `None`: never.
    pub fn expires_at(&self, now: OffsetDateTime) -> Option<OffsetDateTime> {
        let end_of = |lasting| {
            let lasting = time::Duration::try_from(lasting).unwrap_or(time::Duration::MAX);
            // A date that is too far away is refused by the service.
            now.saturating_add(lasting)
        };
        self.until.or(self.lasting.map(end_of))
    }
}

/// What the help of `batch` adds.
pub(super) const BATCH_HELP: &str = "\
A line is one command as on the command line, without `followgraph`, for example:

  follow 1 2
  unfollow 1 3 --expected-etag 1.aa8fdbcd3df76691ea5ff2a07af3e88c
  mute 1 4 --for 24h
  block 1 5 --until 2027-01-01T00:00:00Z --request-id 0c9f8a44-7a1e-4c8e-9d75-0a3a35c7a1b5

Commands are follow, unfollow, remove-follower, mute, unmute, block, unblock, accept-request,
reject-request and cancel-request. Empty lines and lines that start with # are left out. Nothing
is sent before all lines have been read and understood.

More than 300 commands go in several calls, which --atomic does not allow: with it all commands
are carried out, or none. A command that fails makes the exit code 1.";

/// Several commands.
#[derive(Debug, Group)]
pub struct BatchArgs {
    /// The commands, one a line; - for stdin
    pub file: PathBuf,
    /// All of them or none
    #[arg(long)]
    pub atomic: bool,
    /// A UUID of your choice for all of them: a repeat with the same one gets the first answer again
    #[arg(long, value_name = "UUID", requires = "atomic")]
    pub request_id: Option<String>,
}

/// A line of a batch.
#[derive(Debug, Parser)]
#[command(no_binary_name = true, disable_help_flag = true, disable_help_subcommand = true)]
pub struct BatchLine {
    /// The command.
    #[command(subcommand)]
    pub command: PairCommand,
}

/// Whom an account is to follow.
#[derive(Debug, Group)]
pub struct ReplaceArgs {
    /// Who follows
    pub actor: Id,
    /// Whom it is to follow, an id a line, listed in this order; - for stdin
    pub file: PathBuf,
    /// Change nothing, only show what would change
    #[arg(long)]
    pub dry_run: bool,
    /// Take a file without ids: ACTOR is to follow nobody
    #[arg(long)]
    pub allow_empty: bool,
    /// A UUID of your choice: a repeat with the same one gets the first answer again
    #[arg(long, value_name = "UUID")]
    pub request_id: Option<String>,
    /// Whether to wait for the job of a long list.
    #[command(flatten)]
    pub wait: WaitArgs,
}

/// Whether an account is private.
#[derive(Debug, Group)]
pub struct PrivacyArgs {
    /// The account
    pub account: Id,
    /// What it is to be; going public accepts all pending requests
    #[arg(value_enum)]
    pub privacy: Privacy,
    /// A UUID of your choice: a repeat with the same one gets the first answer again
    #[arg(long, value_name = "UUID")]
    pub request_id: Option<String>,
    /// Whether to wait for the requests to be accepted.
    #[command(flatten)]
    pub wait: WaitArgs,
}

/// Whether follows need the consent of the account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Privacy {
    /// Follows need its consent
    Private,
    /// Anybody may follow
    Public,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<PairCommand, clap::Error> {
        BatchLine::try_parse_from(line.split_whitespace()).map(|line| line.command)
    }

    #[test]
    fn a_line_is_a_command_as_it_is_typed() {
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
            assert_eq!(command.name(), name);
            assert_eq!(command.pair().actor, "1".parse().unwrap());
            assert_eq!(command.pair().other, "2".parse().unwrap());
            assert_eq!(command.pair().if_following, Some(false));
            assert_eq!(command.pair().request_id.as_deref(), Some("x"));
        }
        assert!(parse("check 1 2").is_err(), "it does not write");
        assert!(parse("help").is_err());
    }

    #[test]
    fn an_end_is_a_time_from_now_or_a_date() {
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
        assert!(end("mute 1 2 --for 9999999y").unwrap().starts_with("9999-"), "for the service to refuse");
    }

    #[test]
    fn contradictions_are_refused() {
        assert!(parse("mute 1 2 --for 1h --until 2027-01-01T00:00:00Z").is_err());
        assert!(parse("mute 1 2 --for ever").is_err());
        assert!(parse("mute 1 2 --for 1h --request-id x").is_err(), "a repeat would be another command");
        assert!(parse("follow 1 2 --for 1h").is_err(), "follows do not end by themselves");
        assert!(parse("follow 1 2 --expected-etag 1.a --if-following true").is_err());
        assert!(parse("follow 1 2 --if-following maybe").is_err());
    }
}
