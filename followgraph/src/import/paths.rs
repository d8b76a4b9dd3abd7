//! Where an import notes its progress and its refused rows.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::args::ImportArgs;

/// What the names of the notes begin with: the input's own name, if need be in another folder.
pub fn notes_at(args: &ImportArgs, input: &Path) -> PathBuf {
    let name = if input == Path::new("-") { Path::new("stdin") } else { input };
    match (&args.state_dir, name.file_name()) {
        (Some(folder), Some(name)) => folder.join(name),
        _ => name.to_owned(),
    }
}

/// Rows from stdin may be those of any file, also of the one that an earlier import has left.
pub fn refused_path(args: &ImportArgs, input: &Path) -> PathBuf {
    let name = notes_at(args, input);
    match &args.refused {
        Some(path) => path.clone(),
        None if input == Path::new("-") => free_path(&name),
        None => beside(&name, ".refused.tsv"),
    }
}

/// The first of `NAME.refused.tsv`, `NAME.refused.2.tsv` and so on that does not exist.
fn free_path(name: &Path) -> PathBuf {
    let numbered = (2_u32..).map(|number| beside(name, &format!(".refused.{number}.tsv")));
    let mut paths = std::iter::once(beside(name, ".refused.tsv")).chain(numbered);
    paths.find(|path| !path.exists()).unwrap_or_default()
}

/// A name as notes have it: the same from any folder.
pub fn noted(path: &Path) -> String {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string()
}

/// A file's name with something behind it.
pub fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::files::testing::Folder;

    #[test]
    fn names_that_are_taken_are_passed_over() {
        let folder = Folder::new();
        let name = folder.path("stdin");
        assert_eq!(free_path(&name), folder.path("stdin.refused.tsv"));
        fs::write(folder.path("stdin.refused.tsv"), "").unwrap();
        assert_eq!(free_path(&name), folder.path("stdin.refused.2.tsv"));
    }
}
