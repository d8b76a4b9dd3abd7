//! PostgreSQL for development and tests.
//!
//! Owns: the cluster's data, its configuration, the user it runs as, and the owner of the database. The
//! services' roles are made by `followgraph migrate --roles`. It must not know any table.
//!
//! What can go wrong: PostgreSQL refuses to run as root, so as root it runs as another user, with data
//! where that user can reach it. After a SIGKILL of the postmaster its backends need a moment to
//! notice; until then a new postmaster refuses to start, and is started again.

use std::{
    fs,
    io::{Read, Write},
    os::unix::{
        fs::{DirBuilderExt, PermissionsExt},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::{
    daemon::{Daemon, Server},
    fake_time::{FakeTime, Threads},
    fetch::{Tools, remove_folder},
    http,
    ports::loopback,
    principals::Principal,
    process::Signal,
    secrets::{Secrets, write_private},
    tls::{self, Tls},
    user::{Unprivileged, reachable_instead_of},
};

/// The database, and its owner: no superuser, as in production, but one who may make roles.
const NAME: &str = "followgraph";
/// The cluster's superuser, whom nobody uses.
const SUPERUSER: &str = "postgres";

/// Written into postgresql.auto.conf's place, after the defaults of initdb.
///
/// `fsync` stays on: tests kill the server and look for what it acknowledged. Shared memory is kept in
/// files of the data folder, so that removing the folder removes everything.
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

/// Settings of a server that speaks TLS; the files are in the data folder.
const TLS_FILES: [&str; 4] =
    ["ssl=on", "ssl_cert_file=server.crt", "ssl_key_file=server.key", "ssl_ca_file=ca.crt"];

/// A PostgreSQL server.
#[derive(Debug)]
pub struct Postgres {
    daemon: Daemon,
    programs: PathBuf,
    /// Holds `data`, and `password-hash`, which tells whose data it is.
    folder: PathBuf,
    user: Option<Unprivileged>,
    port: u16,
    /// The port that the services use, if there is a proxy before it.
    services_port: Option<u16>,
    secrets: Secrets,
    tls: Option<Tls>,
    /// Its own clock, if it has one.
    fake_time: Option<FakeTime>,
}

impl Postgres {
    /// Starts PostgreSQL with its data in `folder` (or, as root, where its user can reach it).
    pub fn start(
        tools: &Tools,
        folder: &Path,
        log: &Path,
        port: u16,
        secrets: &Secrets,
        tls: Option<&Tls>,
    ) -> Result<Self> {
        let user = Unprivileged::if_we_are_root()?;
        let folder = reachable_instead_of(folder, user.as_ref())?;
        let mut postgres = Self {
            daemon: daemon(log),
            programs: tools.postgres.join("bin"),
            folder,
            user,
            port,
            services_port: None,
            secrets: secrets.clone(),
            tls: tls.cloned(),
            fake_time: None,
        };
        postgres.start_again()?;
        Ok(postgres)
    }

    /// Starts this server again, and a standby that follows it by streaming replication and that commits wait for. The
    /// standby begins with a copy of the data: there is no `pg_basebackup` among the programs.
    pub fn start_again_with_standby(&mut self, log: &Path, port: u16) -> Result<Self> {
        let mut standby = Self {
            daemon: daemon(log),
            programs: self.programs.clone(),
            folder: self.folder.join("standby"),
            user: self.user.clone(),
            port,
            services_port: None,
            secrets: self.secrets.clone(),
            tls: self.tls.clone(),
            fake_time: None,
        };
        fs::DirBuilder::new().mode(0o700).create(&standby.folder)?;
        self.user.as_ref().map_or(Ok(()), |user| user.own(&standby.folder))?;
        self.stop()?;
        let mut copy = Command::new("cp");
        copy.args(["--archive", "--no-target-directory"]).arg(self.data()).arg(standby.data());
        self.run("cp", copy, "")?;
        fs::write(standby.password_hash_file(), standby.password_hash())?;
        let primary = format!(
            "primary_conninfo = 'host=127.0.0.1 port={} user={SUPERUSER} password={}'",
            self.port, self.secrets.postgres_password
        );
        standby.configure(&primary)?;
        standby.make_standby()?;
        self.configure("synchronous_standby_names = '*'")?;
        self.start_again()?;
        standby.start_again()?;
        Ok(standby)
    }

    /// The owner's connection URL, with the password.
    pub fn url(&self) -> String {
        self.url_with(NAME, &self.secrets.postgres_password, self.port)
    }

    /// The connection URL of a service; the owner's for whoever has no role.
    pub fn url_of(&self, who: Principal) -> String {
        match who.postgres_role() {
            Some((role, _)) => {
                let port = self.services_port.unwrap_or(self.port);
                self.url_with(role, self.secrets.password_of(who), port)
            }
            None => self.url(),
        }
    }

    fn url_with(&self, user: &str, password: &str, port: u16) -> String {
        let parameters = self.tls.as_ref().map(Tls::postgres_parameters).unwrap_or_default();
        format!("postgres://{user}:{password}@127.0.0.1:{port}/{NAME}{parameters}")
    }

    /// From the next start on it has the returned clock.
    pub fn fake_time(&mut self) -> Result<FakeTime> {
        let clock = FakeTime::new(self.folder.join("faketime"), Threads::One)?;
        self.fake_time = Some(clock.clone());
        Ok(clock)
    }

    /// Services that start from now on connect to this port, where a proxy listens. The owner does not.
    pub fn lead_services_through(&mut self, port: u16) {
        self.services_port = Some(port);
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Makes the stopped server a standby at its next start: it recovers, answers reads, and takes no writes.
    pub fn make_standby(&self) -> Result<()> {
        let signal = self.data().join("standby.signal");
        fs::write(&signal, "").with_context(|| format!("cannot write {}", signal.display()))?;
        self.user.as_ref().map_or(Ok(()), |user| user.own(&signal))
    }

    /// Makes the running standby the primary, and waits until it is.
    pub fn promote(&self) -> Result<()> {
        let mut promote = self.command("pg_ctl");
        promote.arg("promote").arg("--wait").arg("--pgdata").arg(self.data());
        self.run("pg_ctl promote", promote, "")
    }

    /// Keeps a copy of the stopped server's data.
    pub fn copy_data(&self) -> Result<()> {
        let mut copy = Command::new("cp");
        copy.args(["--archive", "--no-target-directory"]).arg(self.data()).arg(self.copy());
        self.run("cp", copy, "")
    }

    /// Exchanges the stopped server's data and the copy.
    pub fn swap_with_copy(&self) -> Result<()> {
        let aside = self.folder.join("aside");
        fs::rename(self.data(), &aside)?;
        fs::rename(self.copy(), self.data())?;
        fs::rename(&aside, self.copy())?;
        Ok(())
    }

    fn copy(&self) -> PathBuf {
        self.folder.join("copy")
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn password_hash_file(&self) -> PathBuf {
        self.folder.join("password-hash")
    }

    fn password_hash(&self) -> String {
        hex::encode(Sha256::digest(&self.secrets.postgres_password))
    }

    /// One of PostgreSQL's programs, to be run as the right user.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command.current_dir(&self.folder).env_clear().env("LC_ALL", "C.UTF-8");
        if let Some(user) = &self.user {
            command.uid(user.uid).gid(user.gid);
        }
        command
    }

    /// Makes an empty cluster, unless one with our password is there.
    fn prepare(&mut self) -> Result<()> {
        let hash = fs::read_to_string(self.password_hash_file()).unwrap_or_default();
        if hash == self.password_hash() {
            return Ok(());
        }
        self.remove_cluster()?;
        fs::create_dir_all(&self.folder)
            .and_then(|()| fs::DirBuilder::new().mode(0o700).create(self.data()))
            .with_context(|| format!("cannot create {}", self.data().display()))?;
        let password_file = self.folder.join("password");
        write_private(&password_file, &self.secrets.postgres_password)?;
        if let Some(user) = &self.user {
            user.own(&self.data())?;
            user.own(&password_file)?;
        }
        let mut initdb = self.command("initdb");
        initdb
            .args(["--username", SUPERUSER, "--auth", "scram-sha-256"])
            .args(["--encoding", "UTF8", "--locale", "C.UTF-8", "--no-sync"])
            .arg("--pwfile")
            .arg(&password_file)
            .arg("--pgdata")
            .arg(self.data());
        let made = self.run("initdb", initdb, "");
        fs::remove_file(&password_file)?;
        made?;
        self.configure(SETTINGS)?;
        let mut single = self.command("postgres");
        single.args(["--single", "-D"]).arg(self.data()).arg("template1");
        // One statement a line.
        let statements = format!(
            "CREATE ROLE {NAME} LOGIN CREATEROLE CREATEDB PASSWORD '{}'\nCREATE DATABASE {NAME} OWNER {NAME}\n",
            self.secrets.postgres_password
        );
        self.run("postgres --single", single, &statements)?;
        // Written last: a run that was interrupted before begins again.
        fs::write(self.password_hash_file(), self.password_hash())?;
        Ok(())
    }

    /// Adds settings to its configuration.
    fn configure(&self, settings: &str) -> Result<()> {
        let file = self.data().join("postgresql.conf");
        let text = format!("{}{settings}\n", fs::read_to_string(&file)?);
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))
    }

    /// Runs a program of PostgreSQL to its end; its output is shown only if it fails.
    fn run(&self, name: &str, mut command: Command, input: &str) -> Result<()> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot run {name} of PostgreSQL"))?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input.as_bytes())?;
        }
        let output = child.wait_with_output()?;
        let errors = String::from_utf8_lossy(&output.stderr);
        // The single-user server ends with 0 even if its statement failed.
        if !output.status.success() || errors.contains("ERROR:") || errors.contains("FATAL:") {
            bail!(
                "PostgreSQL: {name} failed ({})\n{}{errors}\nwhat to do: {}",
                output.status,
                String::from_utf8_lossy(&output.stdout),
                self.daemon.advice
            );
        }
        Ok(())
    }

    fn remove_cluster(&self) -> Result<()> {
        // First the mark that the data is whole.
        match fs::remove_file(self.password_hash_file()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).context("cannot remove PostgreSQL's data");
            }
            _ => {}
        }
        if let Some(clock) = &self.fake_time {
            clock.forget();
        }
        remove_folder(&self.data())
    }

    /// Puts the certificates where the server may read them, and lets in nobody without one.
    fn encrypt(&self, tls: &Tls) -> Result<()> {
        let files = [(&tls.ca, "ca.crt"), (&tls.server_cert, "server.crt"), (&tls.server_key, "server.key")];
        for (from, name) in files {
            let to = self.data().join(name);
            tls::copy(from, &to)?;
            // PostgreSQL refuses a key that others may read.
            fs::set_permissions(&to, fs::Permissions::from_mode(0o600))?;
            if let Some(user) = &self.user {
                user.own(&to)?;
            }
        }
        let access = "hostssl all all 127.0.0.1/32 scram-sha-256 clientcert=verify-ca\n";
        fs::write(self.data().join("pg_hba.conf"), access).context("cannot write pg_hba.conf")
    }

    /// Removes the lock file of a server that is gone. PostgreSQL does that itself, except when another
    /// process of the same user has got the same id since, after a restart of the machine for instance.
    ///
    /// The file also guards against backends that outlived their postmaster. Postmaster and backends all
    /// work in the data folder; so it is removed only if nobody does.
    fn remove_stale_lock(&self) -> Result<()> {
        let file = self.data().join("postmaster.pid");
        if !file.exists() || is_worked_in(&self.data()) {
            return Ok(());
        }
        fs::remove_file(&file).with_context(|| format!("cannot remove {}", file.display()))
    }
}

fn daemon(log: &Path) -> Daemon {
    let mut daemon = Daemon::new(
        "PostgreSQL",
        log.to_owned(),
        "If the port is taken, end the program that listens there. If the data is damaged, begin without \
         it: `cargo xtask up --fresh`; nothing in it is precious.",
    );
    // Fast shutdown: clients are disconnected instead of waited for.
    daemon.stop_signal = Signal::SIGINT;
    // Immediate shutdown: the postmaster ends its children too, and removes its shared memory.
    daemon.on_parent_death = Signal::SIGQUIT;
    daemon
}

impl Server for Postgres {
    fn daemon(&self) -> &Daemon {
        &self.daemon
    }

    fn daemon_mut(&mut self) -> &mut Daemon {
        &mut self.daemon
    }

    fn start_again(&mut self) -> Result<()> {
        self.prepare()?;
        let deadline = Instant::now() + self.daemon.start_limit;
        loop {
            self.remove_stale_lock()?;
            let mut command = self.command("postgres");
            command.arg("-D").arg(self.data());
            command.args(["-p", &self.port.to_string()]);
            if let Some(clock) = &self.fake_time {
                command.envs(clock.env().iter());
            }
            if let Some(tls) = &self.tls {
                self.encrypt(tls)?;
                for file in TLS_FILES {
                    command.args(["-c", file]);
                }
            }
            // In clear, a server that wants TLS does not ask for a password: how far it is, its log tells.
            let port = self.port;
            let started = match self.tls {
                None => self.daemon.start(command, || accepts_connections(port)),
                Some(_) => {
                    self.daemon.start_logged(command, "database system is ready to accept connections")
                }
            };
            match started {
                Err(error) if has_backends_left(&error) && Instant::now() < deadline => {
                    thread::sleep(Duration::from_millis(100));
                }
                result => return result,
            }
        }
    }

    fn remove_data(&self) -> Result<()> {
        self.remove_cluster()?;
        // As root the folder may be one of ours outside the clone; an empty one is not left behind.
        match fs::remove_dir(&self.folder) {
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                Err(error).context("cannot remove PostgreSQL's folder")
            }
            _ => Ok(()),
        }
    }
}

/// Whether some process has `folder` as its working folder. Those that cannot be looked at belong to
/// other users, and do not.
fn is_worked_in(folder: &Path) -> bool {
    let Ok(folder) = folder.canonicalize() else {
        return false;
    };
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|process| fs::read_link(process.path().join("cwd")).ok())
        .any(|working_folder| working_folder == folder)
}

/// Backends of a killed postmaster still hold its shared memory.
fn has_backends_left(error: &anyhow::Error) -> bool {
    let text = error.to_string();
    text.contains("pre-existing shared memory block")
        || text.contains("lock file \"postmaster.pid\" already exists")
}

/// Whether the server lets a client begin to log in. While it starts or recovers it answers an error.
fn accepts_connections(port: u16) -> bool {
    let ask = || -> std::io::Result<u8> {
        let mut stream = http::connect(loopback(port))?;
        stream.write_all(&startup_message())?;
        let mut kind = [0];
        stream.read_exact(&mut kind)?;
        Ok(kind[0])
    };
    // 'R' asks for the password.
    ask().is_ok_and(|kind| kind == b'R')
}

/// The first message of a client: length, protocol 3.0, and pairs of zero-terminated texts.
fn startup_message() -> Vec<u8> {
    let mut body = 196_608_u32.to_be_bytes().to_vec();
    for text in ["user", NAME, "database", NAME, ""] {
        body.extend_from_slice(text.as_bytes());
        body.push(0);
    }
    let length = u32::try_from(body.len() + 4).unwrap_or_default();
    let mut message = length.to_be_bytes().to_vec();
    message.extend(body);
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_works_in_a_folder_is_seen() {
        let here = std::env::current_dir().unwrap();
        assert!(is_worked_in(&here));
        assert!(!is_worked_in(&here.join("nobody-works-here")));
    }

    #[test]
    fn the_startup_message_counts_its_own_length() {
        let message = startup_message();
        let length = u32::from_be_bytes([message[0], message[1], message[2], message[3]]);
        assert_eq!(usize::try_from(length).unwrap(), message.len());
        assert!(message.ends_with(b"followgraph\0\0"));
    }
}
