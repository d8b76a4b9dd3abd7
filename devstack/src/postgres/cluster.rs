//! Files of a PostgreSQL cluster, from `initdb` or a template.
//!
//! `initdb` takes seconds, and the tests start dozens of sets. So temporary sets copy a template: an empty cluster with
//! the owner's role and database.

use std::{
    fs::{self, DirBuilder, File},
    io::{self, Write},
    os::unix::{fs::DirBuilderExt, process::CommandExt},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, anyhow, bail};
use sha2::{Digest, Sha256};

use crate::{
    fetch::{self, cache_folder, remove_folder},
    lock_file, private_file,
    process::complete,
    secrets::random_hex,
    user::{Unprivileged, reachable_instead_of},
};

/// The database and its owner. As in production the owner is no superuser, but may make roles.
pub(super) const NAME: &str = "followgraph";
/// The cluster's superuser; only a standby uses it.
pub(super) const SUPERUSER: &str = "postgres";

/// What a person can do when PostgreSQL does not start.
pub(super) const ADVICE: &str = "If the port is in use, stop the program that listens there. If the data is damaged, remove \
     it: `cargo xtask up --fresh`.";

/// Appended to postgresql.conf.
///
/// `fsync` is on: tests kill the server and verify what it acknowledged. Shared memory is in files of the data folder,
/// so that removing the folder removes it.
const SETTINGS: &str = "
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
max_connections = 200
shared_buffers = 256MB
dynamic_shared_memory_type = mmap
max_wal_size = 2GB
fsync = on
synchronous_commit = on
password_encryption = scram-sha-256
log_line_prefix = '%m [%p] %u '
log_min_duration_statement = 1000
log_checkpoints = off
";

/// PostgreSQL's programs, and the user that runs them.
#[derive(Debug, Clone)]
pub(super) struct Programs {
    folder: PathBuf,
    pub user: Option<Unprivileged>,
}

impl Programs {
    /// The programs in `bin` of the folder `postgres`.
    pub fn new(postgres: &Path, user: Option<Unprivileged>) -> Self {
        Self { folder: postgres.join("bin"), user }
    }

    /// A program that runs in `folder` as the right user.
    pub fn command(&self, program: &str, folder: &Path) -> Command {
        let mut command = Command::new(self.folder.join(program));
        command.current_dir(folder).env_clear().env("LC_ALL", "C.UTF-8");
        if let Some(user) = &self.user {
            command.uid(user.uid).gid(user.gid);
        }
        command
    }

    /// Gives `path` to the user that runs the programs.
    pub fn own(&self, path: &Path) -> Result<()> {
        self.user.as_ref().map_or(Ok(()), |user| user.own(path))
    }

    /// Creates `folder/data`: an empty cluster with the owner's role and database, and one password for the owner and
    /// the superuser.
    pub fn make_cluster(&self, folder: &Path, password: &str) -> Result<()> {
        let data = folder.join("data");
        fs::create_dir_all(folder)
            .and_then(|()| DirBuilder::new().mode(0o700).create(&data))
            .with_context(|| format!("cannot create {}", data.display()))?;
        let password_file = folder.join("password");
        private_file::write(&password_file, password)?;
        self.own(&data)?;
        self.own(&password_file)?;
        let mut initdb = self.command("initdb", folder);
        initdb
            .args(["--username", SUPERUSER, "--auth", "scram-sha-256"])
            .args(["--encoding", "UTF8", "--locale", "C.UTF-8", "--no-sync"])
            .arg("--pwfile")
            .arg(&password_file)
            .arg("--pgdata")
            .arg(&data);
        let made = run(initdb);
        fs::remove_file(&password_file)?;
        made?;
        configure(&data, SETTINGS)?;
        let mut single = self.command("postgres", folder);
        single.args(["--single", "-D"]).arg(&data).arg("template1");
        let (statements, mut writer) = io::pipe()?;
        // One statement a line.
        writeln!(writer, "CREATE ROLE {NAME} LOGIN CREATEROLE CREATEDB PASSWORD '{password}'")?;
        writeln!(writer, "CREATE DATABASE {NAME} OWNER {NAME}")?;
        drop(writer);
        single.stdin(statements);
        let errors = run(single)?;
        // It ends with 0 even if a statement failed.
        if errors.contains("ERROR:") || errors.contains("FATAL:") {
            bail!("PostgreSQL: postgres --single failed\n{errors}\nwhat to do: {ADVICE}");
        }
        Ok(())
    }
}

/// The cluster in the cache that temporary sets of this user copy.
///
/// The sets share its password, which is in a private file: another password would cost each set another run of the
/// server.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    folder: PathBuf,
    password: String,
}

impl Template {
    /// Opens the template; generates its password if there is none. The first copy creates its files.
    pub fn open() -> Result<Self> {
        let folder = cache_folder()?.join("postgres-template");
        let _lock = lock(&folder)?;
        let file = folder.join("password");
        let known = fs::read_to_string(&file).unwrap_or_default();
        if !known.is_empty() {
            return Ok(Self { folder, password: known });
        }
        let password = random_hex(16)?;
        private_file::write(&file, &password)?;
        Ok(Self { folder, password })
    }

    /// The password of the owner and of the superuser.
    pub fn password(&self) -> &str {
        &self.password
    }

    /// Copies the cluster to `folder/data`.
    pub(super) fn copy_to(&self, programs: &Programs, folder: &Path) -> Result<()> {
        let _lock = lock(&self.folder)?;
        let place = reachable_instead_of(&self.folder.join("postgres"), programs.user.as_ref())?;
        let mark = self.folder.join("made-with");
        if fs::read_to_string(&mark).unwrap_or_default() != self.made_with() || !place.join("data").exists() {
            remove_folder(&place.join("data"))?;
            programs.make_cluster(&place, &self.password)?;
            // Written last: an interrupted template is created again.
            fs::write(&mark, self.made_with()).with_context(|| format!("cannot write {}", mark.display()))?;
        }
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        copy(&place.join("data"), &folder.join("data"))
    }

    /// A hash of what the files depend on, which includes the password.
    fn made_with(&self) -> String {
        hash(&format!("{}\n{SETTINGS}\n{NAME}\n{}", fetch::POSTGRES, self.password))
    }
}

/// Locks the template in `folder` against other processes and threads.
fn lock(folder: &Path) -> Result<File> {
    let lock = lock_file::open(&folder.join("lock"))?;
    lock.lock().with_context(|| format!("cannot lock {}", folder.display()))?;
    Ok(lock)
}

/// Hexadecimal SHA-256.
pub(super) fn hash(text: &str) -> String {
    hex::encode(Sha256::digest(text))
}

/// Adds settings to the configuration of a cluster.
pub(super) fn configure(data: &Path, settings: &str) -> Result<()> {
    let file = data.join("postgresql.conf");
    let text = format!("{}{settings}\n", fs::read_to_string(&file)?);
    fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))
}

/// Copies a stopped cluster with owners and modes.
pub(super) fn copy(from: &Path, to: &Path) -> Result<()> {
    let mut copy = Command::new("cp");
    copy.args(["--archive", "--reflink=auto", "--no-target-directory"]).arg(from).arg(to);
    run(copy).map(drop)
}

/// Runs a program to its end. Returns what it wrote to standard error.
pub(super) fn run(mut command: Command) -> Result<String> {
    let output =
        complete(&mut command).map_err(|error| anyhow!("PostgreSQL: {error:#}\nwhat to do: {ADVICE}"))?;
    Ok(String::from_utf8_lossy(&output.stderr).into_owned())
}
