//! The commands and their help. Each command's arguments are in its own module.

use clap::{Parser, Subcommand};

use crate::commands::account::{AccountArgs, EraseArgs, PrivacyArgs};
use crate::commands::batch::{BATCH_HELP, BatchArgs};
use crate::commands::check::CheckArgs;
use crate::commands::clock::ClockVerb;
use crate::commands::counts::CountsArgs;
use crate::commands::export::{EXPORT_HELP, ExportArgs};
use crate::commands::import::{IMPORT_HELP, ImportArgs};
use crate::commands::job::JobArgs;
use crate::commands::legacy::LegacyVerb;
use crate::commands::lists::List;
use crate::commands::migrate::MigrateArgs;
use crate::commands::pair::PairCommand;
use crate::commands::recover::RecoverArgs;
use crate::commands::replace::ReplaceArgs;
use crate::commands::suggest::SuggestArgs;
use crate::commands::watch::{WATCH_HELP, WatchArgs};
use crate::global::GlobalArgs;

const AFTER_HELP: &str = "\
Ids are UUIDs or integers. An integer stands for the UUIDv5 of its decimal text in the namespace
6ba7b812-9dad-11d1-80b4-00c04fd430c8.

Answers go to stdout, everything else to stderr. Progress is shown only on a terminal.

If a JSON list is incomplete, its last line is an object with `next_page_token`, for --page-token. An empty
variable counts as not set.

If stdout is closed early, commands that only read end without an error. Other commands finish their work, write
their answer to stderr and end with exit code 2.

Exit codes:
  0  yes, or done; also a watch ended by Ctrl-C, and an import of a file without rows
  1  no: a check that is false, an import with refused rows, a batch with failed commands, a job
     that is still running, a status with a problem, `erase` and `recover` without --yes
  2  error: wrong usage, an unreachable service, a refused command, a job that ended early,
     an interrupted import, a stdout that cannot be written";

/// Command line of the follow graph: writes, reads, imports, exports, and the state of the pipeline.
#[derive(Debug, Parser)]
#[command(name = "followgraph", version, after_help = AFTER_HELP)]
pub struct Args {
    /// Options that every command has.
    #[command(flatten)]
    pub global: GlobalArgs,

    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// The command.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Commands on a pair of accounts.
    #[command(flatten)]
    Pair(PairCommand),
    /// Make an account private (follows need its consent) or public
    Privacy(PrivacyArgs),
    /// Execute the commands in a file; exit code 1 if one fails
    #[command(after_help = BATCH_HELP)]
    Batch(BatchArgs),
    /// Replace the accounts that ACTOR follows by those in a file
    ///
    /// Existing follows keep their dates and positions. Sends follow requests to private accounts, and withdraws pending
    /// requests to accounts not in the file. More than 1,000 changes are made by a job, and so are fewer if ACTOR keeps
    /// changing the list during the call. The job overwrites follows and unfollows made while it runs.
    ReplaceFollowing(ReplaceArgs),
    /// Erase an account and all its edges
    Erase(EraseArgs),
    /// Hide an account from all lists, counts and checks
    Archive(AccountArgs),
    /// Restore an archived account; its edges keep their dates and positions
    Restore(AccountArgs),
    /// Show the progress of a job; exit code 1 while it runs, 2 if it ended early
    Job(JobArgs),
    /// Check whether VIEWER follows each TARGET; exit code 1 if it does not follow all of them
    Check(CheckArgs),
    /// Show all relations between VIEWER and each TARGET, in both directions
    Relationship(CheckArgs),
    /// The lists.
    #[command(flatten)]
    List(List),
    /// Suggest accounts for VIEWER to follow: those followed by accounts that VIEWER follows
    Suggest(SuggestArgs),
    /// Show how many accounts follow each USER, and how many USER follows
    Counts(CountsArgs),
    /// Print events as they happen
    #[command(after_help = WATCH_HELP)]
    Watch(WatchArgs),
    /// Import edges from a file; repeat the command to resume an interrupted import
    #[command(after_help = IMPORT_HELP)]
    Import(ImportArgs),
    /// Export all edges of one kind to a file
    #[command(after_help = EXPORT_HELP)]
    Export(ExportArgs),
    /// Show the state of the pipeline; exit code 1 if there is a problem
    Status,
    /// Migrate the schemas of PostgreSQL and Neo4j
    Migrate(MigrateArgs),
    /// Equivalents of the commands of the older system's migration tool
    #[command(subcommand)]
    Legacy(LegacyVerb),
    /// Open a new epoch after a fork or a restore: a new stream, swept read models, new tokens
    ///
    /// The current state of PostgreSQL becomes the truth. Events that only the stream had are lost, older tokens
    /// are refused with EPOCH_CHANGED, and subscribers must start again with an export.
    Recover(RecoverArgs),
    /// Manage trust in PostgreSQL's clock, which ends mutes and blocks and drops partitions
    #[command(subcommand)]
    Clock(ClockVerb),
}

impl Command {
    /// Whether the command changes nothing, so that a closed stdout is not an error.
    pub fn only_reads(&self) -> bool {
        match self {
            Self::Job(_)
            | Self::Check(_)
            | Self::Relationship(_)
            | Self::List(_)
            | Self::Suggest(_)
            | Self::Counts(_)
            | Self::Watch(_)
            | Self::Status
            | Self::Legacy(_) => true,
            Self::Export(args) => args.to_stdout(),
            _ => false,
        }
    }
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
        let Command::List(List::Followers(list)) = parse(&["followers", "88"]).unwrap().command else {
            panic!("another command");
        };
        assert_eq!(list.list.user, "88".parse().unwrap());
        assert_eq!(list.list.page.limit, 50);
    }

    #[test]
    fn usage_names_the_other_account() {
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
    fn a_bad_id_is_a_usage_error() {
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
