//! Arguments of `import`.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::ValueEnum;
use proto::command::v1::OnConflict as WireOnConflict;
use proto::graph::v1::EdgeKind;

use crate::files::Delimited;
use crate::text;

/// Text after the help of `import`.
pub const IMPORT_HELP: &str = "\
A row has two ids (who follows, who is followed) and optionally a date; a row of a mute or block may also have an
expiry time. Lines that start with # are ignored. Files may be compressed with gzip. The text must be UTF-8 with LF
or CR LF line ends; anything else ends the import.

Each row is one line. A csv row with line ends in a quoted field is refused (SEVERAL_LINES); a quote that is not
closed within 100 lines ends the import.

A header names the columns in any order: source_id, target_id, created_at, expires_at, or follower_id and
following_id, muter_id and muted_id, blocker_id and blocked_id. An unknown name ends the import before anything is
sent; use --columns to number the columns instead. With --columns, the first line counts as a header if one of its
names is known, or is only `id`, `user_id` or similar. Without names and numbers, columns are read by position, and
further columns are ignored.

Dates have the form 2024-03-05T12:00:00Z, 2024-03-05 12:00:00+00 (PostgreSQL) or 2024-03-05. Without a time zone,
they are UTC. A number of 9 or 10 digits is seconds since 1970; other numbers are refused.

Blocks remove follows and requests, and a follow across a block is refused: import blocks first.

Lists show the last imported edge first. If the first row has a date, the rows are therefore sorted by date, which
needs about 120 bytes of memory per row. Without dates, or with --no-sort, rows keep the order of the file, and files
may have any size.

Existing edges keep their dates and positions, so an import can be repeated. While a file is imported, FILE.progress
records every answer. After an interruption, the same command resumes there; at the end the file is removed. Chunks
whose answer was lost are sent again: with --on-conflict fail, their edges may be refused although this import wrote
them.

Refused rows are written to the file of --refused with line, reason and message. The file exists only if a row was
refused; a device or pipe is written in place. A new import replaces the file of an earlier one, a resumed import needs
the same file, and any other file is an error. Correct the rows and import that file as it is. If the folder of FILE
cannot be written, use --state-dir for both files; the import checks this before it sends anything. There, the names
contain a hash of FILE's path. Rows from stdin, a pipe or a device have no progress file, and such an import cannot
be resumed; its refused rows go to a new file stdin.refused.tsv in the current folder or that of --state-dir.

--from-legacy-postgres imports the tables users, follows, mutes and blocks of the older system: from one snapshot, in
the order of dates, blocks first. Edges of accounts that are marked as deleted are left out and counted. The progress
is in legacy.KIND.progress and refused rows are in legacy.KIND.refused.tsv, in the current folder or that of
--state-dir; --refused sets another prefix than `legacy`. Prefer PGPASSWORD or ~/.pgpass for the password: other users
can read arguments.";

/// Edges to import.
#[derive(Debug, clap::Args)]
pub struct ImportArgs {
    /// File with the rows: tsv or csv, plain or gzip; - for stdin
    #[arg(required_unless_present = "from_legacy_postgres")]
    pub file: Option<PathBuf>,
    /// URL of the older system's PostgreSQL, to import its follows, mutes and blocks instead of a file
    #[arg(long, value_name = "URL", conflicts_with_all = ["file", "kind", "format", "columns", "no_sort", "dry_run"])]
    pub from_legacy_postgres: Option<String>,
    /// Kind of edges
    #[arg(long, value_enum, default_value_t)]
    pub kind: ImportKind,
    /// Separator of columns [default: by the name of the file, or its first line]
    #[arg(long, value_enum)]
    pub format: Option<Delimited>,
    /// Numbers of the columns from 1: source, target, date and expiry time, 0 for none [default: by the header, else
    /// 1,2,3,4]
    #[arg(long, value_name = "NUMBERS")]
    pub columns: Option<ColumnNumbers>,
    /// What to do with existing edges
    #[arg(long, value_enum, default_value_t)]
    pub on_conflict: OnConflict,
    /// Keep the order of the file even if rows have dates
    #[arg(long)]
    pub no_sort: bool,
    /// File for refused rows [default: FILE.refused.tsv]
    #[arg(long, value_name = "FILE")]
    pub refused: Option<PathBuf>,
    /// Folder for FILE.HASH.progress and FILE.HASH.refused.tsv, if that of FILE cannot be written
    #[arg(long, value_name = "FOLDER")]
    pub state_dir: Option<PathBuf>,
    /// Send nothing: read the rows, and count those that are refused whatever the graph contains
    #[arg(long)]
    pub dry_run: bool,
    /// Start from the first row, and ignore FILE.progress
    #[arg(long)]
    pub restart: bool,
    /// Give up after this many seconds of failed connections
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = text::seconds)]
    pub retry_for: Duration,
}

/// Numbers of columns, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ColumnNumbers([Option<usize>; 4]);

impl ColumnNumbers {
    /// Source, target, date and expiry time, from 0.
    pub fn get(self) -> (usize, usize, Option<usize>, Option<usize>) {
        let [source, target, created_at, expires_at] = self.0.map(|number| number.map(|n| n - 1));
        (source.unwrap_or(0), target.unwrap_or(1), created_at, expires_at)
    }
}

impl FromStr for ColumnNumbers {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || "must be two to four numbers such as 2,1 or 1,2,0,3, each once, and 0 for none".to_owned();
        let given: Result<Vec<usize>, _> = text.split(',').map(|number| number.trim().parse()).collect();
        let given = given.map_err(|_| wrong())?;
        let mut numbers = [None; 4];
        for (number, place) in given.iter().zip(&mut numbers) {
            *place = (*number > 0).then_some(*number);
        }
        let used: BTreeSet<_> = numbers.iter().flatten().collect();
        let sound = (2..=4).contains(&given.len())
            && numbers[0].is_some()
            && numbers[1].is_some()
            && used.len() == given.iter().filter(|number| **number > 0).count()
            && given.iter().all(|number| *number <= 1_000);
        if sound { Ok(Self(numbers)) } else { Err(wrong()) }
    }
}

/// Kinds that can be imported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ImportKind {
    /// The first id follows the second
    #[default]
    Follow,
    /// The first id mutes the second
    Mute,
    /// The first id blocks the second
    Block,
}

/// What to do with existing edges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum OnConflict {
    /// Keep them unchanged
    #[default]
    Skip,
    /// Refuse their rows
    Fail,
}

impl From<ImportKind> for EdgeKind {
    fn from(kind: ImportKind) -> Self {
        match kind {
            ImportKind::Follow => Self::Follow,
            ImportKind::Mute => Self::Mute,
            ImportKind::Block => Self::Block,
        }
    }
}

impl From<OnConflict> for WireOnConflict {
    fn from(on_conflict: OnConflict) -> Self {
        match on_conflict {
            OnConflict::Skip => Self::Skip,
            OnConflict::Fail => Self::Fail,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_numbered_from_one() {
        let get = |text: &str| text.parse::<ColumnNumbers>().map(ColumnNumbers::get);
        assert_eq!(get("2,1"), Ok((1, 0, None, None)));
        assert_eq!(get("1, 2, 0, 3"), Ok((0, 1, None, Some(2))));
        for wrong in
            ["", "1", "1,1", "0,1", "1,0", "1,2,2", "1,2,3,4,5", "a,b", "-1,2", "1,99999999999999999999"]
        {
            assert!(get(wrong).is_err(), "{wrong}");
        }
    }
}
