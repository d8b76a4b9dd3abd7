//! PostgreSQL for development and tests.
//!
//! It creates the database and its owner. `followgraph migrate --roles` creates the services' roles and the tables.
//!
//! PostgreSQL refuses to run as root: started by root, it runs as another user, with its data where that user can reach
//! it. After a SIGKILL of the postmaster, a new one refuses to start until all backends have noticed; the start is
//! retried.

mod cluster;

use std::{
    fs::{self, DirBuilder},
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

pub(crate) use cluster::Template;
use cluster::{ADVICE, NAME, Programs, SUPERUSER, configure, copy, hash, run};

use crate::{
    daemon::{Daemon, Server},
    fake_time::{FakeTime, Threads},
    fetch::{Tools, remove_folder},
    principals::Principal,
    process::Signal,
    secrets::Secrets,
    tls::{self, Tls},
    user::{Unprivileged, reachable_instead_of},
};

/// Fast shutdown: clients are disconnected instead of waited for.
const STOP_SIGNAL: Signal = Signal::SIGINT;

/// What a primary or a standby logs once it accepts logins.
const READY: &str = "database system is ready to accept ";

/// Settings of a server that speaks TLS; the files are in the data folder.
const TLS_FILES: [&str; 4] =
    ["ssl=on", "ssl_cert_file=server.crt", "ssl_key_file=server.key", "ssl_ca_file=ca.crt"];

/// A PostgreSQL server.
#[derive(Debug)]
pub struct Postgres {
    daemon: Daemon,
    programs: Programs,
    /// Holds `data`, and `password-hash`, which names the set that the data belongs to.
    folder: PathBuf,
    /// The cluster to copy, instead of running `initdb`.
    template: Option<Template>,
    port: u16,
    /// The port of a proxy for the services, if there is one.
    services_port: Option<u16>,
    secrets: Secrets,
    tls: Option<Tls>,
    /// A clock of its own.
    fake_time: Option<FakeTime>,
}

impl Postgres {
    /// Starts PostgreSQL with its data in `folder` or, as root, in a folder that its user can reach. Without data, it
    /// starts with a copy of `template`, whose password must be in `secrets`.
    pub(crate) fn start(
        tools: &Tools,
        folder: &Path,
        log: &Path,
        port: u16,
        secrets: &Secrets,
        tls: Option<&Tls>,
        template: Option<&Template>,
    ) -> Result<Self> {
        let user = Unprivileged::if_we_are_root()?;
        let folder = reachable_instead_of(folder, user.as_ref())?;
        let programs = Programs::new(&tools.postgres, user);
        let mut postgres = Self::stopped(programs, folder, log, port, secrets, tls);
        postgres.template = template.cloned();
        postgres.start_again()?;
        Ok(postgres)
    }

    fn stopped(
        programs: Programs,
        folder: PathBuf,
        log: &Path,
        port: u16,
        secrets: &Secrets,
        tls: Option<&Tls>,
    ) -> Self {
        let mut daemon = Daemon::new("PostgreSQL", log.to_owned(), ADVICE);
        daemon.stop_signal = STOP_SIGNAL;
        // Immediate shutdown: the postmaster also ends its children and removes its shared memory.
        daemon.on_parent_death = Signal::SIGQUIT;
        Self {
            daemon,
            programs,
            folder,
            template: None,
            port,
            services_port: None,
            secrets: secrets.clone(),
            tls: tls.cloned(),
            fake_time: None,
        }
    }

    /// Restarts this server with a synchronous standby. The standby starts with a copy of the data: the artifact has no
    /// `pg_basebackup`.
    pub fn start_again_with_standby(&mut self, log: &Path, port: u16) -> Result<Self> {
        let (programs, folder) = (self.programs.clone(), self.folder.join("standby"));
        let mut standby = Self::stopped(programs, folder, log, port, &self.secrets, self.tls.as_ref());
        DirBuilder::new().mode(0o700).create(&standby.folder)?;
        self.programs.own(&standby.folder)?;
        self.stop()?;
        copy(&self.data(), &standby.data())?;
        fs::write(standby.password_hash_file(), standby.password_hash())?;
        let primary = format!(
            "primary_conninfo = 'host=127.0.0.1 port={} user={SUPERUSER} password={}'",
            self.port, self.secrets.postgres_password
        );
        configure(&standby.data(), &primary)?;
        standby.make_standby()?;
        configure(&self.data(), "synchronous_standby_names = '*'")?;
        self.start_again()?;
        standby.start_again()?;
        Ok(standby)
    }

    /// The owner's connection URL, with the password.
    pub fn url(&self) -> String {
        self.url_with(NAME, &self.secrets.postgres_password, self.port)
    }

    /// The connection URL of a service; the owner's for a principal without a role.
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

    /// The folder of all its files. As root it may be outside of the set's folder.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Stops it without a checkpoint (immediate shutdown), before its data is removed. After a SIGKILL its backends
    /// would still run for a moment in the data folder.
    pub(crate) fn stop_at_once(&mut self) -> Result<()> {
        self.daemon.stop_signal = Signal::SIGQUIT;
        let stopped = self.stop();
        self.daemon.stop_signal = STOP_SIGNAL;
        stopped
    }

    /// Gives it the returned clock from the next start on.
    pub fn fake_time(&mut self) -> Result<FakeTime> {
        let clock = FakeTime::new(self.folder.join("faketime"), Threads::One)?;
        self.fake_time = Some(clock.clone());
        Ok(clock)
    }

    /// Services that start from now on connect to this port of a proxy; the owner does not.
    pub fn lead_services_through(&mut self, port: u16) {
        self.services_port = Some(port);
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Makes the stopped server a read-only standby at its next start.
    pub fn make_standby(&self) -> Result<()> {
        let signal = self.data().join("standby.signal");
        fs::write(&signal, "").with_context(|| format!("cannot write {}", signal.display()))?;
        self.programs.own(&signal)
    }

    /// Promotes the running standby and waits until it is the primary.
    pub fn promote(&self) -> Result<()> {
        let mut promote = self.programs.command("pg_ctl", &self.folder);
        promote.arg("promote").arg("--wait").arg("--pgdata").arg(self.data());
        run(promote).map(drop)
    }

    /// Copies the stopped server's data.
    pub fn copy_data(&self) -> Result<()> {
        copy(&self.data(), &self.copy())
    }

    /// Swaps the stopped server's data and the copy.
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
        hash(&self.secrets.postgres_password)
    }

    /// Creates an empty cluster unless there is one with our password.
    fn prepare(&self) -> Result<()> {
        let known = fs::read_to_string(self.password_hash_file()).unwrap_or_default();
        if known == self.password_hash() {
            return Ok(());
        }
        self.remove_cluster()?;
        match &self.template {
            Some(template) => template.copy_to(&self.programs, &self.folder)?,
            None => self.programs.make_cluster(&self.folder, &self.secrets.postgres_password)?,
        }
        // Written last: an interrupted run starts over.
        fs::write(self.password_hash_file(), self.password_hash())?;
        Ok(())
    }

    fn remove_cluster(&self) -> Result<()> {
        // First the mark of complete data.
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

    /// Copies the certificates for the server and requires client certificates.
    fn encrypt(&self, tls: &Tls) -> Result<()> {
        let files = [(&tls.ca, "ca.crt"), (&tls.server_cert, "server.crt"), (&tls.server_key, "server.key")];
        for (from, name) in files {
            let to = self.data().join(name);
            tls::copy(from, &to)?;
            // PostgreSQL refuses a key that others may read.
            fs::set_permissions(&to, fs::Permissions::from_mode(0o600))?;
            self.programs.own(&to)?;
        }
        let access = "hostssl all all 127.0.0.1/32 scram-sha-256 clientcert=verify-ca\n";
        fs::write(self.data().join("pg_hba.conf"), access).context("cannot write pg_hba.conf")
    }

    /// Removes the lock file of a server that has ended. PostgreSQL does that itself, except if another process of the
    /// same user has its id now, for example after a restart of the machine.
    ///
    /// The file also protects from backends that outlived their postmaster. All of them have the data folder as their
    /// working folder, so the file is removed only if no process has.
    fn remove_stale_lock(&self) -> Result<()> {
        let file = self.data().join("postmaster.pid");
        if !file.exists() || is_worked_in(&self.data()) {
            return Ok(());
        }
        fs::remove_file(&file).with_context(|| format!("cannot remove {}", file.display()))
    }
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
            let mut command = self.programs.command("postgres", &self.folder);
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
            let started = self.daemon.start_logged(command, READY);
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
        // As root the folder may be outside of the clone, so it is removed if it is empty.
        match fs::remove_dir(&self.folder) {
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                Err(error).context("cannot remove PostgreSQL's folder")
            }
            _ => Ok(()),
        }
    }
}

/// Whether a process has `folder` as its working folder. Ignores processes of other users.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_works_in_a_folder_is_seen() {
        let here = std::env::current_dir().unwrap();
        assert!(is_worked_in(&here));
        assert!(!is_worked_in(&here.join("nobody-works-here")));
    }
}
