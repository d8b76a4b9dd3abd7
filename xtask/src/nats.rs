//! NATS with JetStream for development and tests.
//!
//! Owns: its command line. It must not know any stream.
//!
//! What can go wrong: after a SIGKILL it reads its store again before it is healthy.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{
    daemon::{Daemon, Server},
    fetch::{Tools, remove_folder},
    http,
    ports::loopback,
};

/// A NATS server.
#[derive(Debug)]
pub struct Nats {
    daemon: Daemon,
    program: PathBuf,
    store: PathBuf,
    port: u16,
    monitor_port: u16,
}

impl Nats {
    /// Starts NATS with JetStream's data in `folder`.
    pub fn start(tools: &Tools, folder: &Path, log: &Path, port: u16, monitor_port: u16) -> Result<Self> {
        let mut nats = Self {
            daemon: Daemon::new(
                "NATS",
                log.to_owned(),
                "If a port is taken, end the program that listens there. If the store is damaged, \
                 remove it: the stream is made again from PostgreSQL.",
            ),
            program: tools.nats_server.clone(),
            store: folder.to_owned(),
            port,
            monitor_port,
        };
        nats.start_again()?;
        Ok(nats)
    }

    /// The URL for clients.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Where it listens for clients.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The URL of its HTTP monitoring.
    pub fn monitor_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.monitor_port)
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
        fs::create_dir_all(&self.store).with_context(|| format!("cannot create {}", self.store.display()))?;
        let mut command = Command::new(&self.program);
        command
            .args(["--addr", "127.0.0.1", "--port", &self.port.to_string()])
            .args(["--http_port", &self.monitor_port.to_string()])
            .args(["--server_name", "followgraph-dev", "--jetstream", "--store_dir"])
            .arg(&self.store);
        let monitor = loopback(self.monitor_port);
        self.daemon.start(command, || http::is_ok(monitor, "/healthz"))
    }

    fn wipe(&mut self) -> Result<()> {
        if self.daemon.is_running()? {
            bail!("NATS must be stopped before its data is removed");
        }
        remove_folder(&self.store)
    }
}
