//! The commands, one module each, and what they share.
//!
//! Owns the choice of the command and the meaning of its outcome.

mod account;
mod batch;
mod check;
mod clock;
mod counts;
mod ending;
mod explanation;
mod export;
mod input;
mod job;
mod legacy;
mod lists;
mod migrate;
mod multi;
mod recover;
mod relationship;
mod replace;
mod status;
mod watch;
mod write;

use proto::query::v1::{Consistency, RequestDirection as Direction, consistency::Requirement};

use self::lists::Kind;
use crate::args::{Args, ClockVerb, Command, FreshArgs};
use crate::import;

/// How a command ended, as the exit code tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Yes, or done.
    Done,
    /// No: false, refused rows, a problem.
    No,
    /// Failed, and the command has told how.
    Failed,
}

impl From<bool> for Outcome {
    fn from(yes: bool) -> Self {
        if yes { Self::Done } else { Self::No }
    }
}

/// Ids that one call may carry.
const BATCH: usize = 1_000;

/// Does what the arguments ask for.
pub async fn run(args: Args) -> anyhow::Result<Outcome> {
    let (connection, output) = (args.connection, args.output);
    match args.command {
        Command::Pair(command) => write::run(&connection, output, &command).await,
        Command::Privacy(args) => account::privacy(&connection, output, &args).await,
        Command::Batch(args) => batch::run(&connection, output, &args).await,
        Command::ReplaceFollowing(args) => replace::run(&connection, output, &args).await,
        Command::Erase(args) => account::erase(&connection, output, &args).await,
        Command::Archive(args) => account::archive(&connection, output, &args).await,
        Command::Restore(args) => account::restore(&connection, output, &args).await,
        Command::Job(args) => job::run(&connection, output, &args).await,
        Command::Check(args) => check::run(&connection, output, &args).await,
        Command::Relationship(args) => relationship::run(&connection, output, &args).await,
        Command::Followers(args) => lists::public(&connection, output, &args, Kind::Followers).await,
        Command::Following(args) => lists::public(&connection, output, &args, Kind::Following).await,
        Command::Mutes(args) => lists::own(&connection, output, &args, Kind::Mutes).await,
        Command::Blocks(args) => lists::own(&connection, output, &args, Kind::Blocks).await,
        Command::Mutuals(args) => lists::own(&connection, output, &args, Kind::Mutuals).await,
        Command::Known(args) => multi::known(&connection, output, &args).await,
        Command::Set(args) => multi::set(&connection, output, &args).await,
        Command::Suggest(args) => multi::suggest(&connection, output, &args).await,
        Command::Requests(args) => {
            let direction = if args.outgoing { Direction::Outgoing } else { Direction::Incoming };
            lists::own(&connection, output, &args.list, Kind::Requests(direction)).await
        }
        Command::Counts(args) => counts::run(&connection, output, &args).await,
        Command::Watch(args) => watch::run(&connection, output, &args).await,
        Command::Import(args) => import::run(&connection, output, args).await,
        Command::Export(args) => export::run(&connection, output, &args).await,
        Command::Status => status::run(&connection, output).await,
        Command::Migrate(args) => migrate::run(output, connection.timeout, args).await,
        Command::Legacy(verb) => legacy::run(&connection, output, &verb).await,
        Command::Recover(args) => recover::run(output, connection.timeout, args).await,
        Command::Clock(ClockVerb::Accept(args)) => clock::accept(output, connection.timeout, args).await,
    }
}

/// How fresh the answer must be; `None` leaves it to the service.
fn consistency(args: &FreshArgs) -> Option<Consistency> {
    let requirement = match (&args.fresh, args.consistent) {
        (Some(token), _) => Requirement::AtLeastAsFresh(token.clone()),
        (None, true) => Requirement::FullyConsistent(true),
        (None, false) => return None,
    };
    Some(Consistency { requirement: Some(requirement) })
}
