//! The command line: names, defaults, environment variables and help.
//!
//! Owns every flag and the name of every variable, those of the commands in one
//! module for each topic. It must not know what the commands do with them.
//! Mistakes are told by clap, with exit code 2.

mod bulk;
mod command;
mod jobs;
mod legacy;
mod multi;
mod operations;
mod reads;
mod watch;
mod writes;

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::FalseyValueParser;
use clap::{Args as Group, Parser, Subcommand, ValueEnum};

pub use self::bulk::{
    ColumnNumbers, Delimited, ExportArgs, ExportKind, ImportArgs, ImportKind, OnConflict, Rows,
};
use self::bulk::{EXPORT_HELP, IMPORT_HELP};
pub use self::command::parse;
pub use self::jobs::{AccountArgs, EraseArgs, JobArgs, WaitArgs};
pub use self::legacy::{LegacyVerb, VerifyArgs};
pub use self::multi::{KnownArgs, PartArgs, SetArgs, SuggestArgs};
pub use self::operations::{ClockArgs, ClockVerb, MigrateArgs, RecoverArgs, ReplicaArgs, StoreArgs};
pub use self::reads::{CheckArgs, CountsArgs, FreshArgs, ListArgs, PublicListArgs, RequestsArgs};
use self::watch::WATCH_HELP;
pub use self::watch::WatchArgs;
use self::writes::BATCH_HELP;
pub use self::writes::{BatchArgs, BatchLine, PairCommand, Privacy, PrivacyArgs, ReplaceArgs};

const AFTER_HELP: &str = "\
Ids are UUIDs, or integers: an integer stands for the UUIDv5 of its decimal text in the
namespace 6ba7b812-9dad-11d1-80b4-00c04fd430c8.

Answers go to stdout, everything else to stderr; progress is drawn on a terminal only.

A JSON list that ends before its account's does has a last line with `next_page_token`; --page-token
takes it. An empty variable counts as not set.

If nobody reads stdout any more, commands that only read end quietly. Others finish their work, write
their answer to stderr and end with exit code 2.

Exit codes:
  0  yes, or done; also a watch that Ctrl-C ends, and an import of a file without rows
  1  no: a check that is false, an import with refused rows, a batch with failed commands, a job
     that still runs, a status with a problem, `erase` and `recover` without --yes
  2  error: wrong usage, a service that cannot be reached, a refused command, a job that ended early,
     an import that was interrupted, a stdout that cannot be written";

/// Talks to the follow graph: writes, reads, imports, exports and the state of the pipeline.
#[derive(Debug, Parser)]
#[command(name = "followgraph", version, after_help = AFTER_HELP)]
pub struct Args {
    /// How answers are written: for people, or as JSON (one object; one object a line for lists)
    // Before the connection, whose heading would take it in.
    #[arg(short = 'o', long = "output", value_enum, default_value_t, global = true)]
    pub output: Format,

    /// Where the services are, and how to speak to them.
    #[command(flatten)]
    pub connection: ConnectionArgs,

    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Where the services are, and how to speak to them.
#[derive(Debug, Group)]
#[command(next_help_heading = "Connection")]
pub struct ConnectionArgs {
    /// Address of the command-service
    #[arg(
        long,
        env = "FOLLOWGRAPH_COMMAND_ADDR",
        hide_env_values = true,
        value_name = "HOST:PORT",
        default_value = "127.0.0.1:9080",
        global = true
    )]
    pub command_addr: String,

    /// Address of the query-service
    #[arg(
        long,
        env = "FOLLOWGRAPH_QUERY_ADDR",
        hide_env_values = true,
        value_name = "HOST:PORT",
        default_value = "127.0.0.1:9081",
        global = true
    )]
    pub query_addr: String,

    /// Bearer token; better given by the variable, other users can read arguments
    #[arg(long, env = "FOLLOWGRAPH_TOKEN", value_name = "TOKEN", hide_env_values = true, global = true)]
    pub token: Option<String>,

    /// Seconds that a call may take
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds, global = true)]
    pub timeout: Duration,

    /// How the services are verified.
    #[command(flatten)]
    pub tls: TlsArgs,
}

/// How the services are verified, and how we show them who we are.
#[derive(Debug, Default, Group)]
#[command(next_help_heading = "Encryption (TLS); clear text without any of these")]
pub struct TlsArgs {
    /// Speak TLS, and believe the authorities that this system trusts
    ///
    /// The variable is off if it is empty, 0, n, no, f, false or off.
    #[arg(long, env = "FOLLOWGRAPH_TLS", value_parser = FalseyValueParser::new(), global = true)]
    pub tls: bool,

    /// Speak TLS, and believe the authorities in this PEM file
    #[arg(long, env = "FOLLOWGRAPH_CA_FILE", value_name = "FILE", global = true)]
    pub ca: Option<PathBuf>,

    /// Our certificate, a PEM file, for services that want one
    #[arg(long, env = "FOLLOWGRAPH_CERT_FILE", value_name = "FILE", global = true)]
    pub cert: Option<PathBuf>,

    /// The private key of that certificate, a PEM file
    #[arg(long, env = "FOLLOWGRAPH_KEY_FILE", value_name = "FILE", global = true)]
    pub key: Option<PathBuf>,

    /// Name that the services' certificates must bear, where it is not that of the address
    #[arg(long, env = "FOLLOWGRAPH_SERVER_NAME", value_name = "NAME", global = true)]
    pub server_name: Option<String>,
}

/// How answers are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Tables and sentences, for people
    #[default]
    Text,
    /// JSON, for programs
    Json,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Commands on a pair of accounts.
    #[command(flatten)]
    Pair(PairCommand),
    /// Make an account private (follows need its consent) or public
    Privacy(PrivacyArgs),
    /// Carry out the commands of a file; exit code 1 if some failed
    #[command(after_help = BATCH_HELP)]
    Batch(BatchArgs),
    /// Make ACTOR follow exactly the accounts of a file
    ///
    /// Follows that stay keep their dates and places. Private accounts are asked; pending requests to
    /// others are withdrawn.
    ReplaceFollowing(ReplaceArgs),
    /// Erase all that is known of an account
    Erase(EraseArgs),
    /// Hide an account from every list, count and check
    Archive(AccountArgs),
    /// Bring back an archived account, with its old dates and places
    Restore(AccountArgs),
    /// Tell how far a job is; exit code 1 while it runs, 2 if it ended early
    Job(JobArgs),
    /// Tell whether VIEWER follows each TARGET; exit code 1 if it does not follow all of them
    Check(CheckArgs),
    /// Show all that links VIEWER with each TARGET, both ways
    Relationship(CheckArgs),
    /// List who follows USER, newest first
    Followers(PublicListArgs),
    /// List whom USER follows, newest first
    Following(PublicListArgs),
    /// List whom USER has muted, newest first
    Mutes(ListArgs),
    /// List whom USER has blocked, newest first
    Blocks(ListArgs),
    /// List who asks to follow USER, newest first
    Requests(RequestsArgs),
    /// List the friends of USER: those whom it follows and who follow it
    Mutuals(ListArgs),
    /// List the followers of TARGET whom VIEWER follows
    Known(KnownArgs),
    /// List the union, intersection or difference of two sets, such as 88.followers and 99.following
    Set(SetArgs),
    /// Suggest whom VIEWER might follow: friends of friends
    Suggest(SuggestArgs),
    /// Tell how many follow each USER, and how many it follows
    Counts(CountsArgs),
    /// Print events as they happen
    #[command(after_help = WATCH_HELP)]
    Watch(WatchArgs),
    /// Import edges from a file; an interrupted import goes on where it was
    #[command(after_help = IMPORT_HELP)]
    Import(ImportArgs),
    /// Write all edges of one kind to a file
    #[command(after_help = EXPORT_HELP)]
    Export(ExportArgs),
    /// Show the state of the pipeline; exit code 1 if something is wrong
    Status,
    /// Bring the schemas of PostgreSQL and Neo4j up to date
    Migrate(MigrateArgs),
    /// The verbs of the older system's migration tool, and what they are here
    #[command(subcommand)]
    Legacy(LegacyVerb),
    /// After a fork: open a new epoch, with a new stream, swept read models and new tokens
    ///
    /// PostgreSQL as it is becomes the truth. What the stream alone held is lost, tokens given out before
    /// are refused with EPOCH_CHANGED, and subscribers begin again with an export.
    Recover(RecoverArgs),
    /// PostgreSQL's clock, by which mutes and blocks run out and partitions are dropped
    #[command(subcommand)]
    Clock(ClockVerb),
}

impl Command {
    /// Whether it changes nothing and leaves nothing behind, so that a closed stdout may end it quietly.
    pub fn only_reads(&self) -> bool {
        match self {
            Self::Job(_)
            | Self::Check(_)
            | Self::Relationship(_)
            | Self::Followers(_)
            | Self::Following(_)
            | Self::Mutes(_)
            | Self::Blocks(_)
            | Self::Requests(_)
            | Self::Mutuals(_)
            | Self::Known(_)
            | Self::Set(_)
            | Self::Suggest(_)
            | Self::Counts(_)
            | Self::Watch(_)
            | Self::Status
            | Self::Legacy(_) => true,
            Self::Export(args) => args.to_stdout(),
            Self::Pair(_)
            | Self::Privacy(_)
            | Self::Batch(_)
            | Self::ReplaceFollowing(_)
            | Self::Erase(_)
            | Self::Archive(_)
            | Self::Restore(_)
            | Self::Import(_)
            | Self::Migrate(_)
            | Self::Recover(_)
            | Self::Clock(_) => false,
        }
    }
}

/// Reads a time such as `10` or `0.5`.
fn seconds(text: &str) -> Result<Duration, String> {
    text.parse()
        .ok()
        .filter(|s: &f64| *s > 0.0)
        .and_then(|s| Duration::try_from_secs_f64(s).ok())
        .ok_or_else(|| "must be a number of seconds above 0".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn parse(args: &[&str]) -> Result<Args, clap::Error> {
        Args::try_parse_from([&["followgraph"], args].concat())
    }

    #[test]
    fn the_definition_is_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn ids_may_be_integers() {
        let Command::Followers(list) = parse(&["followers", "88"]).unwrap().command else {
            panic!("another command");
        };
        assert_eq!(list.list.user, "88".parse().unwrap());
        assert_eq!(list.list.limit, 50);
    }

    #[test]
    fn the_other_account_has_the_name_of_what_it_is() {
        let usage = |name: &str| {
            let mut command = Args::command();
            command.build();
            command.find_subcommand_mut(name).unwrap().render_usage().to_string()
        };
        assert!(usage("mute").ends_with("<ACTOR> <TARGET>"), "{}", usage("mute"));
        assert!(usage("remove-follower").ends_with("<ACTOR> <FOLLOWER>"));
        assert!(usage("accept-request").ends_with("<ACTOR> <REQUESTER>"));
    }

    #[test]
    fn a_bad_id_is_a_usage_error_that_names_the_argument() {
        let error = parse(&["check", "88", "nobody"]).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        let text = error.to_string();
        assert!(text.contains("<TARGETS>...") && text.contains("UUID or an integer"), "{text}");
    }

    #[test]
    fn contradictions_are_refused() {
        assert!(parse(&["counts", "1", "--fresh", "x", "--consistent"]).is_err());
        assert!(parse(&["followers", "1", "--all", "--limit", "3"]).is_err());
        assert!(parse(&["followers", "1", "--page-size", "1001"]).is_err());
        assert!(parse(&["followers", "1", "--relationships"]).is_err());
        assert!(parse(&["check", "1"]).is_err());
        assert!(parse(&["status", "--timeout", "0"]).is_err());
    }

    #[test]
    fn secrets_are_not_in_the_help() {
        let mut command = Args::command();
        command.build();
        for command in std::iter::once(&command).chain(command.get_subcommands()) {
            for arg in command.get_arguments() {
                if arg.get_id().as_str().ends_with("password")
                    || ["token", "database_url", "neo4j_uri", "neo4j_uris"].contains(&arg.get_id().as_str())
                {
                    assert!(arg.is_hide_env_values_set(), "{}", arg.get_id());
                }
            }
        }
    }
}
