//! Files with one entry per line. Empty lines and lines that start with # are ignored.

use std::fmt::Display;
use std::fs;
use std::io::{self, Read as _};
use std::path::Path;

use anyhow::{Context as _, bail};

use crate::text;

/// Number of mistakes in an error message; the rest is only counted.
const SHOWN_MISTAKES: usize = 20;

#[derive(Debug, PartialEq, Eq)]
pub struct Line<T> {
    /// Line number in the file, from 1.
    pub number: usize,
    pub content: T,
}

/// Reads a file, or stdin for `-`, and parses all lines. An error names every line that cannot be parsed.
pub fn read<T, E: Display>(
    file: &Path,
    parser: impl FnMut(&str) -> Result<T, E>,
) -> anyhow::Result<Vec<Line<T>>> {
    let bytes = if file == Path::new("-") {
        let mut bytes = Vec::new();
        io::stdin().read_to_end(&mut bytes).map(|_| bytes)
    } else {
        fs::read(file)
    };
    let bytes = bytes.with_context(|| format!("cannot read {}", file.display()))?;
    if let Some(encoding) = text::other_encoding(&bytes) {
        bail!("{} is {encoding}: write it as UTF-8 (iconv -f {encoding} -t UTF-8)", file.display());
    }
    let lines = String::from_utf8(bytes).with_context(|| format!("{} is not UTF-8", file.display()))?;
    parse(&lines, parser)
}

fn parse<T, E: Display>(
    content: &str,
    mut parser: impl FnMut(&str) -> Result<T, E>,
) -> anyhow::Result<Vec<Line<T>>> {
    let mut lines = Vec::new();
    let mut mistakes = Vec::new();
    for (index, line) in content.lines().enumerate() {
        let (number, line) = (index + 1, text::trimmed(line));
        if line.contains('\r') {
            bail!("line {number}: {}", text::CR_ALONE);
        }
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match parser(line) {
            Ok(content) => lines.push(Line { number, content }),
            Err(mistake) => mistakes.push(format!("line {number}: {mistake}")),
        }
    }
    let more = mistakes.len().saturating_sub(SHOWN_MISTAKES);
    mistakes.truncate(SHOWN_MISTAKES);
    if more > 0 {
        mistakes.push(format!("and {more} more"));
    }
    if !mistakes.is_empty() {
        bail!("{}", mistakes.join("\n  "));
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_lines_count_for_line_numbers() {
        let lines = parse("# ids\n\n 7 \r\n8", str::parse::<u32>).unwrap();
        assert_eq!(lines, [Line { number: 3, content: 7 }, Line { number: 4, content: 8 }]);
        let lines = parse("\u{feff}# ids\n7", str::parse::<u32>).unwrap();
        assert_eq!(lines, [Line { number: 2, content: 7 }], "a byte order mark is ignored");
        let lines = parse("\u{feff}7", str::parse::<u32>).unwrap();
        assert_eq!(lines, [Line { number: 1, content: 7 }]);
    }

    #[test]
    fn line_ends_with_cr_alone_are_refused() {
        for text in ["# ids\r7\r8\r", "7\r8", "7\n8\r9\n"] {
            let error = parse(text, str::parse::<u32>).unwrap_err().to_string();
            assert!(error.contains("CR alone"), "{error}");
        }
    }

    #[test]
    fn all_mistakes_are_named_up_to_a_limit() {
        let error = parse("1\nx\n2\ny", str::parse::<u32>).unwrap_err().to_string();
        assert!(error.starts_with("line 2: ") && error.contains("\n  line 4: "), "{error}");
        let error = parse(&"x\n".repeat(30), str::parse::<u32>).unwrap_err().to_string();
        assert!(error.ends_with("and 10 more"), "{error}");
    }
}
