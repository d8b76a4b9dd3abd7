//! Names of the files of progress and refused rows.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::args::ImportArgs;
use crate::files;

/// A prefix in the folder of `--state-dir`, else as it is.
pub fn in_state_dir(args: &ImportArgs, name: &Path) -> PathBuf {
    args.state_dir.as_ref().map_or_else(|| name.to_owned(), |folder| folder.join(name))
}

/// Prefix of the files of an input: its path. In the folder of `--state-dir` the prefix has a hash of the path, so that
/// inputs of the same name do not share files.
pub fn state_prefix(args: &ImportArgs, input: &Path) -> PathBuf {
    if files::is_stream(input) {
        return in_state_dir(args, Path::new("stdin"));
    }
    match (&args.state_dir, input.file_name()) {
        (Some(_), Some(name)) => {
            let name = with_suffix(Path::new(name), &format!(".{}", short_hash(input)));
            in_state_dir(args, &name)
        }
        _ => input.to_owned(),
    }
}

/// Hash of the absolute path.
fn short_hash(path: &Path) -> String {
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let hash = Uuid::new_v5(&Uuid::NAMESPACE_URL, path.as_os_str().as_encoded_bytes());
    hash.simple().to_string().chars().take(8).collect()
}

/// The file of refused rows. A stream gets a new file: its rows may be those of an earlier file of refused rows.
pub fn refused_path(args: &ImportArgs, input: &Path) -> PathBuf {
    let name = state_prefix(args, input);
    match &args.refused {
        Some(path) => path.clone(),
        None if files::is_stream(input) => free_path(&name),
        None => with_suffix(&name, ".refused.tsv"),
    }
}

/// The first of `NAME.refused.tsv`, `NAME.refused.2.tsv` and so on that does not exist.
fn free_path(name: &Path) -> PathBuf {
    let numbered = (2_u32..).map(|number| with_suffix(name, &format!(".refused.{number}.tsv")));
    let mut paths = std::iter::once(with_suffix(name, ".refused.tsv")).chain(numbered);
    paths.find(|path| !path.exists()).unwrap_or_default()
}

/// The absolute path, as progress files store it.
pub fn absolute(path: &Path) -> String {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string()
}

/// A path with a suffix.
pub fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::files::testing::Folder;

    fn import(arguments: &[&str]) -> ImportArgs {
        crate::text::parse_args(arguments).expect("good arguments")
    }

    #[test]
    fn inputs_of_one_name_have_separate_files() {
        let folder = Folder::new();
        let [a, b] = ["a", "b"].map(|name| {
            fs::create_dir(folder.path(name)).unwrap();
            let file = folder.path(name).join("part.tsv");
            fs::write(&file, "").unwrap();
            file
        });
        let beside_it = import(&["FILE"]);
        assert_eq!(state_prefix(&beside_it, &a), a);
        let elsewhere = import(&["FILE", "--state-dir", "state"]);
        assert_ne!(refused_path(&elsewhere, &a), refused_path(&elsewhere, &b));
        let again = folder.path("b/../a/part.tsv");
        assert_eq!(refused_path(&elsewhere, &a), refused_path(&elsewhere, &again));
        let name = state_prefix(&elsewhere, &a).display().to_string();
        assert!(name.starts_with("state/part.tsv.") && name.len() == "state/part.tsv.".len() + 8, "{name}");
        assert_eq!(in_state_dir(&elsewhere, Path::new("legacy")), Path::new("state/legacy"));
    }

    #[test]
    fn a_pipe_has_the_prefix_of_stdin() {
        let folder = Folder::new();
        let pipe = folder.pipe("rows.tsv");
        let args = import(&["FILE"]);
        assert_eq!(state_prefix(&args, &pipe), Path::new("stdin"));
        assert_eq!(refused_path(&args, &pipe), refused_path(&args, Path::new("-")));
    }

    #[test]
    fn existing_names_are_skipped() {
        let folder = Folder::new();
        let name = folder.path("stdin");
        assert_eq!(free_path(&name), folder.path("stdin.refused.tsv"));
        fs::write(folder.path("stdin.refused.tsv"), "").unwrap();
        assert_eq!(free_path(&name), folder.path("stdin.refused.2.tsv"));
    }
}
