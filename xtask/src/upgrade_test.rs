//! `cargo xtask upgrade-test`: upgrades from an earlier revision and rolls back, on one database and under load.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context, Result};
use devstack::{
    services::{Profile, Program},
    workspace,
};

use crate::{child, signals::Interrupt, test};

const TEST: &str = "upgrade_from_a_release_and_rollback_lose_nothing";

/// Builds the binaries of the earlier revision, or takes them from a folder, and runs the test with them.
pub fn run(from: &str, interrupt: &Interrupt) -> Result<ExitCode> {
    let released = if Path::new(from).is_dir() { fs::canonicalize(from)? } else { build(from, interrupt)? };
    let arguments =
        ["-p", "tests", "--test", "it", TEST, "--", "--ignored", "--nocapture"].map(str::to_owned);
    let versions = test::Versions { services: Profile::Dev, next: false, released: Some(released) };
    test::run(&arguments, &versions, interrupt)
}

/// Builds the binaries of a revision in a git worktree and returns their folder.
fn build(revision: &str, interrupt: &Interrupt) -> Result<PathBuf> {
    let place = workspace::target().join("upgrade");
    let (tree, target) = (place.join("tree"), place.join("build"));
    fs::create_dir_all(&place).context("cannot create the folder of the earlier revision")?;
    let git = |arguments: &[&str]| {
        let mut git = Command::new("git");
        git.current_dir(workspace::root()).args(arguments);
        git
    };
    let tree_path = tree.display().to_string();
    if tree.exists() {
        child::succeed(git(&["worktree", "remove", "--force", &tree_path]), interrupt)?;
    }
    child::succeed(git(&["worktree", "add", "--detach", &tree_path, revision]), interrupt)?;
    let mut cargo = workspace::cargo();
    cargo.current_dir(&tree).env("CARGO_TARGET_DIR", &target).args(["build", "--workspace", "--bins"]);
    child::succeed(cargo, interrupt)?;
    child::succeed(git(&["worktree", "remove", "--force", &tree_path]), interrupt)?;
    let folder = target.join(Profile::Dev.folder().file_name().context("the profile has a folder")?);
    for program in Program::ALL {
        let path = folder.join(program.binary());
        anyhow::ensure!(path.exists(), "revision {revision} has no {}", program.binary());
    }
    Ok(folder)
}
