//! PgBouncer in front of a PostgreSQL of the development servers, for tests of pooled sessions.
//!
//! Like PostgreSQL, it refuses to run as root.

use std::{
    env, fs,
    net::{Ipv6Addr, TcpListener},
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::{
    daemon::Daemon,
    debian,
    fetch::{Cache, remove_folder},
    http,
    ports::{Claim, loopback},
    prerequisites::on_path,
    private_file,
    user::{Unprivileged, reachable_instead_of},
};

/// The program, and the folder of libraries that came with it.
#[derive(Debug, Clone)]
struct Program {
    program: PathBuf,
    libraries: Option<PathBuf>,
}

impl Program {
    /// The program on PATH, else that of the distribution's package, fetched into the cache.
    fn install() -> Result<Self> {
        if let Some(program) = on_path("pgbouncer") {
            return Ok(Self { program, libraries: None });
        }
        debian::require("pgbouncer", "it; 1.18 or later")?;
        let fetch = |folder: &Path| debian::unpack_with_libraries("pgbouncer", folder);
        let folder = Cache::lock()?.install_in_reach("pgbouncer", fetch)?;
        let libraries = format!("usr/lib/{}-linux-gnu", env::consts::ARCH);
        Ok(Self { program: folder.join("usr/sbin/pgbouncer"), libraries: Some(folder.join(libraries)) })
    }
}

/// A running pooler. Dropping it stops it and removes its files.
#[derive(Debug)]
pub struct PgBouncer {
    daemon: Daemon,
    program: Program,
    folder: PathBuf,
    user: Option<Unprivileged>,
    settings: String,
    server: u16,
    port: Claim,
}

impl PgBouncer {
    /// Starts one in front of the PostgreSQL at port `server` of this machine, for these users and their passwords, with
    /// a `folder` of its own for its files. `settings` are lines of its section `[pgbouncer]`, in addition to defaults.
    pub fn start(folder: &Path, server: u16, users: &[(&str, &str)], settings: &str) -> Result<Self> {
        let program = Program::install()?;
        let user = Unprivileged::if_we_are_root()?;
        let folder = reachable_instead_of(folder, user.as_ref())?;
        fs::create_dir_all(&folder)
            .and_then(|()| fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)))
            .with_context(|| format!("cannot create {}", folder.display()))?;
        let lines: String =
            users.iter().map(|(name, password)| format!("\"{name}\" \"{password}\"\n")).collect();
        let list = folder.join("users");
        private_file::write(&list, &lines)?;
        if let Some(user) = &user {
            user.own(&folder)?;
            user.own(&list)?;
        }
        let advice = "Read the log above; its settings are in pgbouncer.ini in the same folder.";
        let log = folder.join("pgbouncer.log");
        let mut pooler = Self {
            daemon: Daemon::new("PgBouncer", log, advice),
            program,
            folder,
            user,
            settings: String::new(),
            server,
            port: Claim::any()?,
        };
        pooler.restart_with(settings)?;
        Ok(pooler)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port.port
    }

    /// The folder of its socket.
    pub fn socket_folder(&self) -> &Path {
        &self.folder
    }

    /// The URL of PostgreSQL with the port of this pooler.
    pub fn url_instead_of(&self, url: &str) -> String {
        url.replacen(&format!(":{}/", self.server), &format!(":{}/", self.port()), 1)
    }

    /// Restarts it with other settings; closes all connections.
    pub fn restart_with(&mut self, settings: &str) -> Result<()> {
        self.daemon.stop()?;
        settings.clone_into(&mut self.settings);
        let file = self.folder.join("pgbouncer.ini");
        let text = format!(
            "[databases]\n* = host=127.0.0.1 port={}\n\n[pgbouncer]\nlisten_addr = {}\nlisten_port = {}\n\
             unix_socket_dir = {}\nauth_type = scram-sha-256\nauth_file = {}\n{}\n",
            self.server,
            if has_ipv6() { "127.0.0.1,::1" } else { "127.0.0.1" },
            self.port(),
            self.folder.display(),
            self.folder.join("users").display(),
            self.settings
        );
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        let mut command = Command::new(&self.program.program);
        command.arg(&file).current_dir(&self.folder).env_clear();
        if let Some(libraries) = &self.program.libraries {
            command.env("LD_LIBRARY_PATH", libraries);
        }
        if let Some(user) = &self.user {
            command.uid(user.uid).gid(user.gid);
        }
        let address = loopback(self.port());
        self.daemon.start(command, || http::connect(address).is_ok())
    }

    /// The last lines of its log.
    pub fn log_tail(&self, lines: usize) -> String {
        self.daemon.log_tail(lines)
    }
}

/// Whether this machine has the IPv6 loopback address.
pub fn has_ipv6() -> bool {
    TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok()
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        // A temporary folder may remain.
        let _ = self.daemon.stop();
        let _ = remove_folder(&self.folder);
    }
}
