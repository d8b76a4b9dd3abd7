//! Files by what they are, whatever their names: those that must be written in place, and names of one file.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// True if what is written to `path` goes to stdout: `-`, `/dev/stdout`, or the file to which the shell sends stdout.
pub fn is_stdout(path: &Path) -> bool {
    path == Path::new("-") || is(path, &io::stdout())
}

/// Opens a file that must not be removed or replaced: a device, a pipe, the file of stdout or stderr. `None` if `path` is
/// a regular file or does not exist.
pub fn in_place(path: &Path) -> io::Result<Option<File>> {
    // They share their position with the duplicate. With a position of its own, each would overwrite the other.
    if is(path, &io::stdout()) {
        return duplicate(&io::stdout()).map(Some);
    }
    if is(path, &io::stderr()) {
        return duplicate(&io::stderr()).map(Some);
    }
    match fs::metadata(path) {
        Ok(found) if !found.is_file() => OpenOptions::new().write(true).open(path).map(Some),
        _ => Ok(None),
    }
}

/// The file that links lead to, which need not exist yet.
pub fn behind_links(path: &Path) -> io::Result<PathBuf> {
    match path.canonicalize() {
        // Links in a circle are another error.
        Err(error) if error.kind() == io::ErrorKind::NotFound => match path.read_link() {
            Ok(target) => behind_links(&path.parent().unwrap_or(Path::new("")).join(target)),
            Err(_) => Ok(path.to_owned()),
        },
        found => found,
    }
}

/// True if an input can be read only once: `-`, a pipe, a device.
pub fn is_stream(input: &Path) -> bool {
    input == Path::new("-") || fs::metadata(input).is_ok_and(|found| !found.is_file())
}

/// True if both names lead to one regular file; `-` is stdin.
pub fn same_file(a: &Path, b: &Path) -> bool {
    let found = |path: &Path| {
        if path == Path::new("-") {
            duplicate(&io::stdin()).and_then(|file| file.metadata())
        } else {
            fs::metadata(path)
        }
    };
    matches!((found(a), found(b)), (Ok(a), Ok(b)) if a.is_file() && are_one(&a, &b))
}

fn is(path: &Path, stream: &impl AsFd) -> bool {
    let stream = duplicate(stream).and_then(|file| file.metadata());
    matches!((fs::metadata(path), stream), (Ok(a), Ok(b)) if are_one(&a, &b))
}

fn are_one(a: &Metadata, b: &Metadata) -> bool {
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}

fn duplicate(stream: &impl AsFd) -> io::Result<File> {
    stream.as_fd().try_clone_to_owned().map(File::from)
}

#[cfg(test)]
pub mod testing {
    //! A folder for one test.

    use std::path::PathBuf;

    /// Removed at the end.
    pub struct Folder(PathBuf);

    impl Folder {
        /// A new one.
        #[expect(clippy::disallowed_methods, reason = "a name that no other test has")]
        pub fn new() -> Self {
            let path = std::env::temp_dir().join(format!("followgraph-{}", uuid::Uuid::new_v4()));
            std::fs::create_dir(&path).unwrap();
            Self(path)
        }

        /// A path in it.
        pub fn path(&self, name: &str) -> PathBuf {
            self.0.join(name)
        }

        /// A named pipe in it.
        pub fn pipe(&self, name: &str) -> PathBuf {
            let path = self.path(name);
            let made = std::process::Command::new("mkfifo").arg(&path).status();
            assert!(made.is_ok_and(|status| status.success()), "mkfifo of coreutils");
            path
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::Folder;
    use super::*;

    #[test]
    fn only_what_is_no_regular_file_is_written_in_place() {
        let folder = Folder::new();
        let file = folder.path("file");
        assert!(in_place(&file).unwrap().is_none(), "it does not exist");
        fs::write(&file, "").unwrap();
        assert!(in_place(&file).unwrap().is_none());
        assert!(in_place(Path::new("/dev/null")).unwrap().is_some());
        assert!(in_place(&folder.path(".")).is_err(), "a folder");
        assert!(is_stream(Path::new("-")) && is_stream(Path::new("/dev/null")) && !is_stream(&file));
        assert!(is_stdout(Path::new("-")) && is_stdout(Path::new("/dev/stdout")) && !is_stdout(&file));
    }

    #[test]
    fn links_lead_to_files_that_do_not_exist_yet() {
        use std::os::unix::fs::symlink;
        let folder = Folder::new();
        let (file, one, two) = (folder.path("file"), folder.path("one"), folder.path("two"));
        symlink("file", &one).unwrap();
        symlink(&one, &two).unwrap();
        for path in [&file, &one, &two] {
            assert_eq!(behind_links(path).unwrap(), file);
        }
        fs::write(&file, "").unwrap();
        assert_eq!(behind_links(&two).unwrap(), file.canonicalize().unwrap());
        symlink("circle", folder.path("circle")).unwrap();
        assert!(behind_links(&folder.path("circle")).is_err());
    }

    #[test]
    fn links_lead_to_one_file() {
        let folder = Folder::new();
        let (file, link, other) = (folder.path("file"), folder.path("link"), folder.path("other"));
        fs::write(&file, "").unwrap();
        fs::hard_link(&file, &link).unwrap();
        fs::write(&other, "").unwrap();
        assert!(same_file(&file, &link) && !same_file(&file, &other));
        assert!(!same_file(&file, &folder.path("none")));
        assert!(!same_file(Path::new("/dev/null"), Path::new("/dev/null")), "nothing is lost there");
    }
}
