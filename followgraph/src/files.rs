//! Files by their kind, not their names: devices and pipes, links, and two names of one file.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use clap::ValueEnum;

/// Whether `path` is stdout: `-`, `/dev/stdout`, or the file to which the shell redirects stdout.
pub fn is_stdout(path: &Path) -> bool {
    path == Path::new("-") || is(path, &io::stdout())
}

/// Opens a device, a pipe, or the file of stdout or stderr, which must not be removed or replaced. `None` if `path` is
/// another regular file or does not exist.
pub fn in_place(path: &Path) -> io::Result<Option<File>> {
    // A duplicate shares its position with the stream. With two positions, each would overwrite the other.
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

/// The file that a link leads to; it need not exist.
pub fn behind_links(path: &Path) -> io::Result<PathBuf> {
    match path.canonicalize() {
        // Links in a circle have another kind.
        Err(error) if error.kind() == io::ErrorKind::NotFound => match path.read_link() {
            Ok(target) => behind_links(&path.parent().unwrap_or(Path::new("")).join(target)),
            Err(_) => Ok(path.to_owned()),
        },
        found => found,
    }
}

/// Whether an input can be read only once: `-`, a pipe, a device.
pub fn is_stream(input: &Path) -> bool {
    input == Path::new("-") || fs::metadata(input).is_ok_and(|found| !found.is_file())
}

/// Whether both names lead to one regular file; `-` is stdin.
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

/// Removes a file; it need not exist.
pub fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// How the columns of a file are separated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Delimited {
    /// By tabs, without quotes
    Tsv,
    /// By commas, with quotes where needed
    Csv,
}

/// Extension of a name in lower case, without `.gz`.
pub fn extension(path: &Path) -> String {
    let name = path.to_string_lossy().to_lowercase();
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    name.rsplit_once('.').map(|(_, extension)| extension.to_owned()).unwrap_or_default()
}

impl Delimited {
    /// The format that the name of a file tells.
    pub fn by_name(path: &Path) -> Option<Self> {
        match extension(path).as_str() {
            "tsv" | "tab" => Some(Self::Tsv),
            "csv" => Some(Self::Csv),
            _ => None,
        }
    }
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
    use std::path::PathBuf;

    /// A folder for one test; removed at its end.
    pub struct Folder(PathBuf);

    impl Folder {
        /// An empty folder with a unique name.
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
    fn devices_are_written_in_place() {
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
    fn a_link_may_lead_to_a_file_that_does_not_exist() {
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
    fn a_link_and_its_file_are_one_file() {
        let folder = Folder::new();
        let (file, link, other) = (folder.path("file"), folder.path("link"), folder.path("other"));
        fs::write(&file, "").unwrap();
        fs::hard_link(&file, &link).unwrap();
        fs::write(&other, "").unwrap();
        assert!(same_file(&file, &link) && !same_file(&file, &other));
        assert!(!same_file(&file, &folder.path("none")));
        assert!(!same_file(Path::new("/dev/null"), Path::new("/dev/null")), "writing there loses nothing");
    }
}
