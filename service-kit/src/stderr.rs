//! Output of a process before its log is set up, and of a health check.

use std::io::Write;

/// Writes a line to stderr. `eprintln!` would panic if stderr is closed, and hide the exit code.
pub(crate) fn line(text: &str) {
    put(std::io::stderr(), text);
}

fn put(mut to: impl Write, text: &str) {
    // There is nowhere left to report a failure.
    let _ = to.write_all(format!("{text}\n").as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_has_gone_is_no_panic() {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        put(writer, "unheard");
        let mut heard = Vec::new();
        put(&mut heard, "heard");
        assert_eq!(heard, b"heard\n");
    }
}
