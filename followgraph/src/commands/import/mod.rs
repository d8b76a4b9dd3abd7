//! `import`: edges from a file, or from the older system's database.
//!
//! [`reader`] parses lines, [`chunks`] groups them, [`stream`] sends them, [`ledger`] records the answers in [`progress`]
//! and [`refused`], [`bar`] shows the progress. [`older`] reads tables instead of lines.

mod args;
mod bar;
mod chunks;
mod dry_run;
mod file;
mod header;
mod ledger;
mod older;
mod paths;
mod progress;
mod reader;
mod refused;
mod resume;
mod row;
mod stream;
mod summary;

use anyhow::bail;

pub use self::args::{IMPORT_HELP, ImportArgs};
use crate::global::{GlobalArgs, Outcome};

/// Imports a file, or the older system's database.
pub async fn run(global: &GlobalArgs, args: &ImportArgs) -> anyhow::Result<Outcome> {
    match (&args.from_legacy_postgres, &args.file) {
        (Some(url), _) => older::run(global, args, url).await,
        (None, Some(input)) => file::run(global, args, input).await,
        (None, None) => bail!("nothing to import: name a file, or use --from-legacy-postgres"),
    }
}
