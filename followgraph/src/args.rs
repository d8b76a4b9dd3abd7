//! The command line: names, defaults, environment variables and help.
//!
//! Owns every flag and the name of every variable. It must not know what the
//! commands do with them. Mistakes are told by clap, with exit code 2.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args as Group, Parser, Subcommand, ValueEnum};

use crate::ids::Id;

const AFTER_HELP: &str = "\
Ids are UUIDs, or integers: an integer stands for the UUIDv5 of its decimal text in the
namespace 6ba7b812-9dad-11d1-80b4-00c04fd430c8.

Answers go to stdout, everything else to stderr; progress is drawn on a terminal only.

Exit codes:
  0  yes, or done
  1  no: a check that is false, an import with refused rows, a status with a problem
  2  error: wrong usage, a service that cannot be reached, a refused command, an interruption";

/// Talks to the follow graph: writes, reads, imports, exports and the state of the pipeline.
#[derive(Debug, Parser)]
#[command(name = "followgraph", version, after_help = AFTER_HELP)]
pub struct Args {
    /// Where the services are, and how to speak to them.
    #[command(flatten)]
    pub connection: ConnectionArgs,

    /// How answers are written: for people, or as JSON (one object; one object a line for lists)
    #[arg(short = 'o', long = "output", value_enum, default_value_t, global = true)]
    pub output: Format,

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
        value_name = "HOST:PORT",
        default_value = "127.0.0.1:9080",
        global = true
    )]
    pub command_addr: String,

    /// Address of the query-service
    #[arg(
        long,
        env = "FOLLOWGRAPH_QUERY_ADDR",
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
    /// Make ACTOR follow TARGET
    Follow(WriteArgs),
    /// Make ACTOR stop following TARGET
    Unfollow(WriteArgs),
    /// Tell whether VIEWER follows each TARGET; exit code 1 if it does not follow all of them
    Check(CheckArgs),
    /// List who follows USER, newest first
    Followers(ListArgs),
    /// List whom USER follows, newest first
    Following(ListArgs),
    /// Tell how many follow each USER, and how many it follows
    Counts(CountsArgs),
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
    /// After a fork: open a new epoch, with a new stream, swept read models and new tokens
    ///
    /// PostgreSQL as it is becomes the truth. What the stream alone held is lost, tokens given out before
    /// are refused with EPOCH_CHANGED, and subscribers begin again with an export.
    Recover(RecoverArgs),
}

/// One edge to write.
#[derive(Debug, Group)]
pub struct WriteArgs {
    /// Who follows
    pub actor: Id,
    /// Who is followed
    pub target: Id,
    /// A UUID of your choice: a repeat with the same one gets the first answer again
    #[arg(long, value_name = "UUID")]
    pub request_id: Option<String>,
}

/// How fresh an answer must be.
#[derive(Clone, Debug, Default, Group)]
pub struct FreshArgs {
    /// See at least the write that printed this token
    #[arg(long, value_name = "TOKEN", conflicts_with = "consistent")]
    pub fresh: Option<String>,
    /// Ask PostgreSQL, the source of truth
    #[arg(long)]
    pub consistent: bool,
}

/// Whom to check.
#[derive(Debug, Group)]
pub struct CheckArgs {
    /// Who follows or not
    pub viewer: Id,
    /// Who is followed or not; any number, asked for in batches of 1,000
    #[arg(required = true)]
    pub targets: Vec<Id>,
    /// How fresh the answer must be.
    #[command(flatten)]
    pub fresh: FreshArgs,
}

/// Which list, and how much of it.
#[derive(Debug, Group)]
pub struct ListArgs {
    /// Whose list
    pub user: Id,
    /// How many rows
    #[arg(long, value_name = "ROWS", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: u64,
    /// The whole list
    #[arg(long, conflicts_with = "limit")]
    pub all: bool,
    /// Rows a call, 1 to 1,000; by default as many as are wanted
    #[arg(long, value_name = "ROWS", value_parser = clap::value_parser!(i32).range(1..=1000))]
    pub page_size: Option<i32>,
    /// How fresh the answer must be.
    #[command(flatten)]
    pub fresh: FreshArgs,
}

/// Whose counts.
#[derive(Debug, Group)]
pub struct CountsArgs {
    /// Whose counts; any number, asked for in batches of 1,000
    #[arg(required = true)]
    pub users: Vec<Id>,
    /// How fresh the answer must be.
    #[command(flatten)]
    pub fresh: FreshArgs,
}

const IMPORT_HELP: &str = "\
A row has two ids (who follows, who is followed) and may have a date (RFC 3339, or seconds
since 1970); further columns are ignored, and so are lines that start with # and a first line
without ids. Rows may be compressed with gzip.

Lists show the edge that was imported last first. So, if the first row has a date, the rows are
sorted by date; that takes about 120 bytes of memory a row. Without dates, and with --no-sort,
rows go in file order, and any file fits.

Edges that exist keep their dates and places, so an import can be repeated. With a file, every
answer is noted in FILE.progress; after an interruption the same command goes on from there,
and at the end it is removed. Chunks whose answer was lost are sent again: with
--on-conflict fail, their edges may then be refused although this import wrote them.

Refused rows go to the file of --refused, which exists only if there are any: line, reason,
message, and the row from the fourth column on. Once they are corrected, `cut -f4-` makes
rows of them that can be imported.";

/// What to import, and how.
#[derive(Debug, Group)]
pub struct ImportArgs {
    /// The rows: tsv or csv, plain or gzip; - for stdin
    pub file: PathBuf,
    /// What the edges mean
    #[arg(long, value_enum, default_value_t)]
    pub kind: ImportKind,
    /// How columns are separated; by default told from the file's name, or its first line
    #[arg(long, value_enum)]
    pub format: Option<Delimited>,
    /// What to do with edges that exist
    #[arg(long, value_enum, default_value_t)]
    pub on_conflict: OnConflict,
    /// Keep the order of the file, even if rows have dates
    #[arg(long)]
    pub no_sort: bool,
    /// Where refused rows go [default: FILE.refused.tsv]
    #[arg(long, value_name = "FILE")]
    pub refused: Option<PathBuf>,
    /// Start from the first row, whatever FILE.progress says
    #[arg(long)]
    pub restart: bool,
    /// Seconds without any answer after which a broken connection is given up
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = seconds)]
    pub retry_for: Duration,
}

/// Kinds that can be imported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ImportKind {
    /// The first id follows the second
    #[default]
    Follow,
}

/// How columns are separated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Delimited {
    /// By tabs, without quotes
    Tsv,
    /// By commas, with quotes where needed
    Csv,
}

/// What to do with edges that exist.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum OnConflict {
    /// Leave them as they are
    #[default]
    Skip,
    /// Refuse the rows
    Fail,
}

const EXPORT_HELP: &str = "\
tsv rows are two ids and the date, as `import` takes them; ndjson rows are objects with
source_id, target_id, created_at, expires_at and position. A name that ends in .gz is compressed.

The rows together with the events after `from_revision`, which is told at the end, give the
exact graph. A broken connection is resumed. A file gets its name when it is complete.";

/// What to export, and where to.
#[derive(Debug, Group)]
pub struct ExportArgs {
    /// Where to; - for stdout
    #[arg(default_value = "-")]
    pub file: PathBuf,
    /// What the edges mean
    #[arg(long, value_enum, default_value_t)]
    pub kind: ExportKind,
    /// How rows are written; by default told from the file's name, else ndjson with -o json, tsv without
    #[arg(long, value_enum)]
    pub format: Option<Rows>,
    /// Seconds without any answer after which a broken connection is given up
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = seconds)]
    pub retry_for: Duration,
}

/// Kinds that can be exported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ExportKind {
    /// The first id follows the second
    #[default]
    Follow,
    /// The first id has muted the second
    Mute,
    /// The first id has blocked the second
    Block,
    /// The first id has asked to follow the second
    FollowRequest,
}

/// How exported rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Rows {
    /// Tab-separated, with a header
    Tsv,
    /// One JSON object a line
    Ndjson,
}

/// Where to open a new epoch.
#[derive(Debug, Group)]
pub struct RecoverArgs {
    /// URL of PostgreSQL
    #[arg(long, env = "DATABASE_URL", value_name = "URL", hide_env_values = true)]
    pub database_url: String,
    /// Do it: without this, nothing is changed
    #[arg(long)]
    pub yes: bool,
}

/// Which stores to migrate.
#[derive(Debug, Group)]
pub struct MigrateArgs {
    /// URL of PostgreSQL
    #[arg(long, env = "DATABASE_URL", value_name = "URL", hide_env_values = true)]
    pub database_url: String,
    /// URI of Neo4j; without it, its schema is left to the projector
    #[arg(long, env = "NEO4J_URI", value_name = "URI", hide_env_values = true)]
    pub neo4j_uri: Option<String>,
    /// User of Neo4j
    #[arg(long, env = "NEO4J_USER", value_name = "NAME", default_value = "neo4j")]
    pub neo4j_user: String,
    /// Password of Neo4j
    #[arg(
        long,
        env = "NEO4J_PASSWORD",
        value_name = "PASSWORD",
        default_value = "",
        hide_env_values = true,
        hide_default_value = true
    )]
    pub neo4j_password: String,
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
        assert_eq!(list.user, "88".parse().unwrap());
        assert_eq!(list.limit, 50);
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
        assert!(parse(&["check", "1"]).is_err());
        assert!(parse(&["status", "--timeout", "0"]).is_err());
    }

    #[test]
    fn secrets_are_not_in_the_help() {
        let mut command = Args::command();
        command.build();
        for command in std::iter::once(&command).chain(command.get_subcommands()) {
            for arg in command.get_arguments() {
                if ["token", "database_url", "neo4j_uri", "neo4j_password"].contains(&arg.get_id().as_str()) {
                    assert!(arg.is_hide_env_values_set(), "{}", arg.get_id());
                }
            }
        }
    }
}
