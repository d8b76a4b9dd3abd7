//! Arguments of `import` and `export`.
//!
//! Owns their flags and what their help says about files. It must not know how
//! files are read or written.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args as Group, ValueEnum};

use super::seconds;
use crate::files;

/// What the help of `import` adds.
pub(super) const IMPORT_HELP: &str = "\
A row has two ids (who follows, who is followed) and may have a date; that of a mute or block may
have another one, when it runs out. Lines that start with # are ignored. Rows may be compressed with
gzip. The text is UTF-8, and lines end with LF or CR LF; anything else ends the import.

A row is a line. A row of csv whose field in quotes has line ends is refused with all of its lines
(SEVERAL_LINES); a quote that is not closed within 100 lines ends the import.

A first line of names says which column is what, in any order: source_id, target_id, created_at,
expires_at, or follower_id and following_id, muter_id and muted_id, blocker_id and blocked_id. A name
that is not known ends the import before anything is sent; --columns then numbers the columns. With it, a
first line is left out if one of its names is known, or is only `id`, `user_id` or such; otherwise it is a row.
Without names and numbers, columns go by their places, and further ones are ignored.

Dates are written 2024-03-05T12:00:00Z, 2024-03-05 12:00:00+00 (as PostgreSQL does) or 2024-03-05;
without a time zone they are taken as UTC. A number of 9 or 10 digits is seconds since 1970, any other
number is refused.

Blocks end follows and requests, and a follow across a block is refused: import them first.

Lists show the edge that was imported last first. So, if the first row has a date, the rows are
sorted by date; that takes about 120 bytes of memory a row. Without dates, and with --no-sort,
rows go in file order, and any file fits.

Edges that exist keep their dates and places, so an import can be repeated. With a file, every
answer is noted in FILE.progress; after an interruption the same command goes on from there,
and at the end it is removed. Chunks whose answer was lost are sent again: with
--on-conflict fail, their edges may then be refused although this import wrote them.

Refused rows go to the file of --refused, which exists only if there are any, with line, reason and
message; a device or a pipe is written to as it is. An import that begins replaces the file of an earlier one, one that
goes on needs the same file, and any other file is an error. Once the rows are corrected there, that file can be imported
as it is. If FILE's folder cannot be
written, --state-dir names another one for both files; that is found out before anything is sent. There their
names have a hash of FILE's path, so that files of one name in several folders keep their own. Rows of stdin, a
pipe or a device are noted nowhere, and such an import cannot go on; refused ones go to a new file
stdin.refused.tsv in the present folder or that of --state-dir.

--from-legacy-postgres reads the older system's tables users, follows, mutes and blocks instead
of a file: one snapshot, in the order of dates, blocks first. Edges of accounts that are marked
as deleted are left out and counted. It notes its progress in legacy.KIND.progress of the present
folder or of --state-dir, and what is refused in legacy.KIND.refused.tsv; --refused gives both another
beginning than `legacy`. The password of the older database is better given by PGPASSWORD or ~/.pgpass:
other users can read arguments.";

/// What to import, and how.
#[derive(Debug, Group)]
pub struct ImportArgs {
    /// The rows: tsv or csv, plain or gzip; a file, a pipe, or - for stdin
    #[arg(required_unless_present = "from_legacy_postgres")]
    pub file: Option<PathBuf>,
    /// The older system's PostgreSQL, instead of a file: its follows, mutes and blocks
    #[arg(long, value_name = "URL", conflicts_with_all = ["file", "kind", "format", "columns", "no_sort", "dry_run"])]
    pub from_legacy_postgres: Option<String>,
    /// What the edges mean
    #[arg(long, value_enum, default_value_t)]
    pub kind: ImportKind,
    /// How columns are separated; by default told from the file's name, or its first line
    #[arg(long, value_enum)]
    pub format: Option<Delimited>,
    /// Numbers of the columns from 1: source, target, date and end, 0 for none; by default told from the header, else
    /// 1,2,3,4
    #[arg(long, value_name = "NUMBERS")]
    pub columns: Option<ColumnNumbers>,
    /// What to do with edges that exist
    #[arg(long, value_enum, default_value_t)]
    pub on_conflict: OnConflict,
    /// Keep the order of the file, even if rows have dates
    #[arg(long)]
    pub no_sort: bool,
    /// Where refused rows go [default: FILE.refused.tsv]
    #[arg(long, value_name = "FILE")]
    pub refused: Option<PathBuf>,
    /// Folder of FILE.HASH.progress and FILE.HASH.refused.tsv, where that of FILE cannot be written
    #[arg(long, value_name = "FOLDER")]
    pub state_dir: Option<PathBuf>,
    /// Send nothing: only read the rows, and count those that would be refused for what they are
    #[arg(long)]
    pub dry_run: bool,
    /// Start from the first row, whatever FILE.progress says
    #[arg(long)]
    pub restart: bool,
    /// Seconds without any answer after which a broken connection is given up
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = seconds)]
    pub retry_for: Duration,
}

/// Which column is what, by numbers from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ColumnNumbers([Option<usize>; 4]);

impl ColumnNumbers {
    /// The columns; source and target are always there.
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
        let mut used: Vec<_> = numbers.iter().flatten().collect();
        used.sort_unstable();
        used.dedup();
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
    /// The first id has muted the second
    Mute,
    /// The first id has blocked the second
    Block,
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

/// What the help of `export` adds.
pub(super) const EXPORT_HELP: &str = "\
tsv and csv rows are two ids and the date, and for mutes and blocks when they run out, under a header of
their names, as `import` takes them; ndjson rows are objects with source_id, target_id, created_at,
expires_at and position. A name that ends in .gz is compressed.

The rows together with the events after `from_revision`, which is told at the end, give the
exact graph. A broken connection is resumed. A file gets its name when it is complete; a device or a pipe
is written to as it is.";

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

impl ExportArgs {
    /// Whether the rows go to stdout.
    pub fn to_stdout(&self) -> bool {
        files::is_stdout(&self.file)
    }
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
    /// Comma-separated, with a header
    Csv,
    /// One JSON object a line
    Ndjson,
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
