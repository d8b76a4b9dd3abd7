//! Errors of an input.

use std::io;
use std::path::PathBuf;

use crate::commands::import::header;
use crate::text;

/// Maximum number of lines of a row, so that a quote that is never closed cannot swallow the file.
pub const LONGEST_ROW: u64 = 100;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot open {}", path.display())]
    Open {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// A read failed; a gzip file may be truncated.
    #[error("cannot read line {line} of the input")]
    Read {
        /// Line number, from 1.
        line: u64,
        #[source]
        source: io::Error,
    },
    #[error("the input is {0}: write it as UTF-8 (iconv -f {0} -t UTF-8)")]
    Encoding(&'static str),
    #[error("line {line}: {}", text::CR_ALONE)]
    CrAlone {
        /// Line number, from 1.
        line: u64,
    },
    #[error(
        "line {line}: a quote is not closed within {} lines; write one that belongs to the text twice",
        LONGEST_ROW
    )]
    OpenQuote {
        /// First line of the row, from 1.
        line: u64,
    },
    #[error("line {line}: {mistake}; {}", header::ADVICE)]
    Header {
        /// Line number, from 1.
        line: u64,
        mistake: header::Mistake,
    },
    #[error("none of the first {rows} rows is an edge, nothing was sent; line {line}: {message}")]
    NoEdges { rows: usize, line: u64, message: String },
}
