//! Files by what they are, whatever their names.

use std::path::Path;

/// Whether two names are of one file.
pub fn same_file(a: &Path, b: &Path) -> bool {
    match (a.canonicalize(), b.canonicalize()) {
        (Ok(a), Ok(b)) => a == b,
        _ => a == b,
    }
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
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}
