//! Unpacks Debian packages into the cache. Installing them would start their servers.

use std::{fs, path::Path, process::Command};

use anyhow::{Result, bail};

use crate::{
    fetch::run,
    prerequisites::{self, on_path},
};

/// Whether this machine can fetch packages.
pub fn is_here() -> bool {
    on_path("apt-get").is_some() && on_path("dpkg-deb").is_some()
}

/// Fails if this machine cannot fetch packages with the missing `programs`.
pub(crate) fn require(programs: &str, install: &str) -> Result<()> {
    if !is_here() {
        bail!("missing on this machine: {programs}\nwhat to do: install {install}");
    }
    Ok(())
}

/// Unpacks a package into `folder`, with the libraries that it depends on except the C library.
pub(crate) fn unpack_with_libraries(package: &str, folder: &Path) -> Result<()> {
    update_unless_known(package)?;
    let output = Command::new("apt-cache").args(["depends", package]).output()?;
    let libraries = libraries(&String::from_utf8_lossy(&output.stdout));
    let all = std::iter::once(package.to_owned()).chain(libraries);
    download(&all.collect::<Vec<_>>(), folder)
}

/// Unpacks a package into `folder`.
pub fn unpack(package: &str, folder: &Path) -> Result<()> {
    update_unless_known(package)?;
    download(&[package.to_owned()], folder)
}

fn download(packages: &[String], folder: &Path) -> Result<()> {
    let download = folder.join("download");
    fs::create_dir_all(&download)?;
    run(Command::new("apt-get").args(["download", "-q"]).args(packages).current_dir(&download))?;
    for entry in fs::read_dir(&download)? {
        run(Command::new("dpkg-deb").arg("-x").arg(entry?.path()).arg(folder))?;
    }
    Ok(fs::remove_dir_all(&download)?)
}

fn update_unless_known(package: &str) -> Result<()> {
    if prerequisites::apt_knows(package) { Ok(()) } else { prerequisites::apt(&["update", "-q"]) }
}

/// The libraries in the output of `apt-cache depends`.
fn libraries(depends: &str) -> Vec<String> {
    let named = depends.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
    named.filter(|name| name.starts_with("lib") && *name != "libc6").map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_told_from_other_packages() {
        let depends = "pgbouncer\n  PreDepends: init-system-helpers\n  Depends: postgresql-common\n  \
                       Depends: libc6\n  Depends: libevent-2.1-7\n  Depends: libsystemd0\n    libelogind0\n  \
                       Suggests: libother\n";
        assert_eq!(libraries(depends), ["libevent-2.1-7", "libsystemd0"]);
    }
}
