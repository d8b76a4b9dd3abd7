//! Programs and files from Go modules, in pinned versions with their hashes.
//!
//! Fetches Go into the cache if the machine has none that is new enough.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

use crate::{
    fetch::{Cache, run},
    pins::{self, Module},
    prerequisites::on_path,
};

/// The oldest Go that builds the modules.
const GO_MIN: (u32, u32) = (1, 24);
/// The Go command.
pub struct Go {
    program: PathBuf,
}

impl Go {
    /// The machine's if it is new enough, else one in the cache.
    pub fn find(cache: &Cache) -> Result<Self> {
        if let Some(program) = on_path("go").filter(|program| is_new_enough(program)) {
            return Ok(Self { program });
        }
        let folder = cache.wheel_folder("go")?;
        run(Command::new("chmod")
            .args(["-R", "a+x"])
            .args([folder.join("go/bin"), folder.join("go/pkg/tool")]))?;
        Ok(Self { program: folder.join("go/bin/go") })
    }

    fn command(&self, folder: &Path) -> Command {
        let mut command = Command::new(&self.program);
        // Overrides the user's settings for other projects.
        command
            .env("GOFLAGS", "-modcacherw")
            .env("GOWORK", "off")
            .env("GOTOOLCHAIN", "local")
            .current_dir(folder);
        command
    }

    /// The folder with the files of a module.
    fn download(&self, module: &Module, folder: &Path) -> Result<PathBuf> {
        let name = format!("{}@{}", module.path, module.version);
        let output = self
            .command(folder)
            .args(["mod", "download", "-json", &name])
            .stdin(Stdio::null())
            .output()
            .context("cannot run go")?;
        let answer: serde_json::Value = serde_json::from_slice(&output.stdout)
            .with_context(|| format!("cannot fetch {name}: {}", String::from_utf8_lossy(&output.stderr)))?;
        if let Some(error) = answer["Error"].as_str() {
            bail!("cannot fetch {name}: {error}\nwhat to do: check the network and GOPROXY");
        }
        if answer["Sum"] != module.sum.as_str() {
            bail!("{name} does not match its pinned hash: {}, expected {}", answer["Sum"], module.sum);
        }
        let folder = answer["Dir"].as_str().context("go does not say where the module is")?;
        Ok(PathBuf::from(folder))
    }

    /// Builds the program of a module.
    pub fn program(&self, cache: &Cache, name: &str) -> Result<PathBuf> {
        let module = pins::module(name)?;
        let folder = cache.install(&format!("{name}-{}", module.version), |folder| {
            self.download(module, folder)?;
            let Module { path, package, version, .. } = module;
            run(self
                .command(folder)
                .args(["install", "-trimpath", &format!("{path}{package}@{version}")])
                .env("GOBIN", folder))
        })?;
        Ok(folder.join(name))
    }

    /// The folder `name` of the cache, with the programs of `packages`, built from the modules that the `go.mod` and
    /// `go.sum` in `pinned` name. For programs whose own `go.mod` replaces modules, which `go install` rejects. `variables`
    /// of packages, as `PACKAGE.NAME=VALUE`, are set by the linker.
    pub fn programs(
        &self,
        cache: &Cache,
        name: &str,
        pinned: &Path,
        packages: &[&str],
        variables: &[&str],
    ) -> Result<PathBuf> {
        cache.install(name, |folder| {
            let output = format!("{}/", folder.display());
            let flags: String = variables.iter().map(|variable| format!(" -X {variable}")).collect();
            run(self
                .command(pinned)
                .args(["build", "-mod=readonly", "-trimpath", "-o", &output])
                .args(["-ldflags", &format!("-s -w{flags}")])
                .args(packages))
        })
    }

    /// The files of a module.
    pub fn files(&self, cache: &Cache, name: &str) -> Result<Vec<PathBuf>> {
        let module = pins::module(name)?;
        let within = |folder: &Path, file: &str| folder.join(file.rsplit('/').next().unwrap_or(file));
        let folder = cache.install(&format!("{name}-{}", module.version), |folder| {
            let source = self.download(module, folder)?;
            for file in &module.files {
                fs::copy(source.join(file), within(folder, file))
                    .with_context(|| format!("{name} has no {file}"))?;
            }
            Ok(())
        })?;
        Ok(module.files.iter().map(|file| within(&folder, file)).collect())
    }
}

fn is_new_enough(program: &Path) -> bool {
    let output = Command::new(program).args(["env", "GOVERSION"]).env("GOTOOLCHAIN", "local").output();
    output.is_ok_and(|output| {
        go_version(&String::from_utf8_lossy(&output.stdout)).is_some_and(|version| version >= GO_MIN)
    })
}

/// Reads `go1.26.8`.
fn go_version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.trim().strip_prefix("go")?.split(['.', '-', ' ']);
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_go_are_read() {
        assert_eq!(go_version("go1.26.8\n"), Some((1, 26)));
        assert_eq!(go_version("go1.19 X:foo"), Some((1, 19)));
        assert_eq!(go_version("devel"), None);
    }
}
