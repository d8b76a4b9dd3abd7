//! NATS with JetStream for development and tests.
//!
//! The permissions of its users are those of production: `migrations/roles/nats.conf`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::{
    daemon::{Daemon, Server},
    fetch::{Tools, remove_folder},
    http,
    ports::{Ports, loopback},
    principals::Principal,
    secrets::Secrets,
    tls::Tls,
};

/// Users and their permissions.
const ACCOUNTS: &str = include_str!("../../migrations/roles/nats.conf");

/// A NATS server.
#[derive(Debug)]
pub struct Nats {
    daemon: Daemon,
    program: PathBuf,
    folder: PathBuf,
    port: u16,
    monitor_port: u16,
    secrets: Secrets,
    tls: Option<Tls>,
}

impl Nats {
    /// Starts NATS with its configuration and JetStream's data in `folder`.
    pub fn start(
        tools: &Tools,
        folder: &Path,
        log: &Path,
        ports: &Ports,
        secrets: &Secrets,
        tls: Option<&Tls>,
    ) -> Result<Self> {
        let mut nats = Self {
            daemon: Daemon::new(
                "NATS",
                log.to_owned(),
                "If a port is taken, end the program that listens there. If the store is damaged, \
                 remove it: PostgreSQL fills the stream again.",
            ),
            program: tools.nats_server.clone(),
            folder: folder.to_owned(),
            port: ports.nats,
            monitor_port: ports.nats_monitor,
            secrets: secrets.clone(),
            tls: tls.cloned(),
        };
        nats.start_again()?;
        Ok(nats)
    }

    /// The URL of the operator, who has all permissions.
    pub fn url(&self) -> String {
        self.url_of(Principal::Operator)
    }

    /// The URL of a principal, password included.
    pub fn url_of(&self, who: Principal) -> String {
        format!("nats://{}:{}@{}", who.nats_user(), self.secrets.password_of(who), self.address())
    }

    /// Host and port.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The port for clients.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The URL of its HTTP monitoring.
    pub fn monitor_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.monitor_port)
    }
}

impl Nats {
    fn configuration(&self) -> String {
        let tls = self.tls.as_ref().map_or_else(String::new, |tls| {
            format!(
                "tls {{ cert_file: {:?}, key_file: {:?}, ca_file: {:?}, verify: true }}\n",
                tls.server_cert, tls.server_key, tls.ca
            )
        });
        format!(
            "listen: \"{}\"\nhttp: \"{}\"\nserver_name: followgraph-dev\n\
             jetstream {{ store_dir: {:?} }}\n{tls}include accounts.conf\n",
            self.address(),
            loopback(self.monitor_port),
            self.folder.join("store"),
        )
    }

    fn prepare(&self) -> Result<PathBuf> {
        let file = self.folder.join("nats.conf");
        fs::create_dir_all(&self.folder)
            .and_then(|()| fs::write(self.folder.join("accounts.conf"), ACCOUNTS))
            .and_then(|()| fs::write(&file, self.configuration()))
            .with_context(|| format!("cannot write to {}", self.folder.display()))?;
        Ok(file)
    }
}

impl Server for Nats {
    fn daemon(&self) -> &Daemon {
        &self.daemon
    }

    fn daemon_mut(&mut self) -> &mut Daemon {
        &mut self.daemon
    }

    fn start_again(&mut self) -> Result<()> {
        let mut command = Command::new(&self.program);
        command.arg("--config").arg(self.prepare()?);
        for who in Principal::ALL {
            command.env(who.nats_password_variable(), self.secrets.password_of(who));
        }
        let monitor = loopback(self.monitor_port);
        self.daemon.start(command, || http::is_ok(monitor, "/healthz"))
    }

    fn remove_data(&self) -> Result<()> {
        remove_folder(&self.folder)
    }
}
