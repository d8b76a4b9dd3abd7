//! Neo4j Community for development and tests: its configuration, its JVM flags, and its first password.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, anyhow};
use parking_lot::Mutex;

use crate::{
    daemon::{Daemon, Server},
    fetch::{Tools, remove_folder},
    ports::loopback,
    process::complete,
    tls::{self, Tls},
};

/// The only user of Community.
const USER: &str = "neo4j";

/// Hash file of each password. The admin command that writes it starts a JVM, and tests start many servers.
static HASHED: Mutex<BTreeMap<String, Vec<u8>>> = Mutex::new(BTreeMap::new());

/// Packages of the JDK whose internals Neo4j and its network library use.
const OPENED_PACKAGES: [&str; 5] = ["java.nio", "java.io", "sun.nio.ch", "java.util.concurrent", "java.lang"];

/// Only the fast compiler of the JVM.
const FIRST_COMPILER: &str = "-XX:TieredStopAtLevel=1";

/// When it stops, Neo4j closes its databases and then waits 10 s for connections that are already closed. Tests stop it
/// often.
const QUICK_STOP: &str = "internal.server.bolt.connection_shutdown_wait_time=0s\n\
    internal.server.bolt.thread_pool_shutdown_wait_time=0s\n\
    internal.dbms.bolt.netty_server_shutdown_quiet_period=0\n";

/// Default of the transaction timeout.
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(30);

/// Keeps plans although the number of nodes changes: from 0 to thousands and back with each set of servers. Planning the
/// statements of the services again takes ten seconds of a processor.
const LASTING_PLANS: &str = "dbms.cypher.min_replan_interval=1h\n";

/// TLS with client certificates only.
const ENCRYPTION: &str = "server.bolt.tls_level=REQUIRED\n\
    dbms.ssl.policy.bolt.enabled=true\n\
    dbms.ssl.policy.bolt.client_auth=REQUIRE\n";

/// Resources of each Neo4j of a set. The other servers have fixed ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// The JVM's heap, in MiB.
    pub heap_mib: u32,
    /// Neo4j's page cache, in MiB.
    pub page_cache_mib: u32,
    /// Its niceness, 0 to 19.
    pub niceness: u8,
    /// Whether to run without the JVM's optimizing compiler, which costs more than it saves in the first minutes.
    pub short_lived: bool,
}

impl Sizes {
    /// For development: room for a million edges. Neo4j has a lower priority than the other processes, with which it
    /// shares no machine in production.
    pub const DEVELOPMENT: Self =
        Self { heap_mib: 1024, page_cache_mib: 512, niceness: 10, short_lived: false };
    /// For tests. They wait for the read model, which would starve under their load with a lower priority.
    pub const SMALL: Self = Self { heap_mib: 512, page_cache_mib: 256, niceness: 0, short_lived: true };
}

/// A Neo4j server.
#[derive(Debug)]
pub struct Neo4j {
    daemon: Daemon,
    java: PathBuf,
    jars: PathBuf,
    home: PathBuf,
    port: u16,
    password: String,
    sizes: Sizes,
    tls: Option<Tls>,
    transaction_timeout: Duration,
}

impl Neo4j {
    /// Starts Neo4j with all its files in `folder`.
    pub fn start(
        tools: &Tools,
        folder: &Path,
        log: &Path,
        port: u16,
        password: &str,
        sizes: Sizes,
        tls: Option<&Tls>,
    ) -> Result<Self> {
        let mut neo4j = Self {
            daemon: daemon(log),
            java: tools.java.clone(),
            jars: tools.neo4j_jars.clone(),
            home: folder.to_owned(),
            port,
            password: password.to_owned(),
            sizes,
            tls: tls.cloned(),
            transaction_timeout: TRANSACTION_TIMEOUT,
        };
        neo4j.start_again()?;
        Ok(neo4j)
    }

    /// Whether it runs with default settings, so that another set can use it.
    pub(crate) fn has_default_settings(&mut self) -> Result<bool> {
        let default = self.tls.is_none() && self.transaction_timeout == TRANSACTION_TIMEOUT;
        Ok(default && self.daemon.is_running()?)
    }

    /// Moves the process and its data out of `self`.
    pub(crate) fn take(&mut self) -> Self {
        let left = Self {
            daemon: daemon(self.daemon.log_path()),
            java: self.java.clone(),
            jars: self.jars.clone(),
            home: self.home.join("taken"),
            password: self.password.clone(),
            tls: self.tls.clone(),
            ..*self
        };
        std::mem::replace(self, left)
    }

    /// The Bolt URI.
    pub fn url(&self) -> String {
        match self.tls {
            Some(_) => url("bolt+s", self.port),
            None => url("bolt", self.port),
        }
    }

    /// Sets the transaction timeout from the next start on.
    pub fn set_transaction_timeout(&mut self, timeout: Duration) {
        self.transaction_timeout = timeout;
    }

    /// The user's name.
    pub fn user(&self) -> &str {
        USER
    }

    /// The user's password.
    pub fn password(&self) -> &str {
        &self.password
    }

    /// Its Bolt port.
    pub fn port(&self) -> u16 {
        self.port
    }

    fn configuration(&self) -> PathBuf {
        self.home.join("conf")
    }

    /// The folder in which Neo4j looks for certificates.
    fn certificates(&self) -> PathBuf {
        self.home.join("certificates/bolt")
    }

    fn settings(&self) -> String {
        format!(
            "server.default_listen_address=127.0.0.1\n\
             server.bolt.listen_address=127.0.0.1:{port}\n\
             server.bolt.advertised_address=127.0.0.1:{port}\n\
             server.http.enabled=false\n\
             server.https.enabled=false\n\
             server.memory.pagecache.size={page_cache}m\n\
             db.transaction.timeout={timeout}ms\n\
             db.tx_log.rotation.retention_policy=1 files\n\
             dbms.usage_report.enabled=false\n\
             {plans}{monitor}{QUICK_STOP}{encryption}",
            encryption = if self.tls.is_some() { ENCRYPTION } else { "" },
            port = self.port,
            plans = if self.sizes.short_lived { LASTING_PLANS } else { "" },
            timeout = self.transaction_timeout.as_millis(),
            // The default is 2 s.
            monitor = if self.transaction_timeout < TRANSACTION_TIMEOUT {
                "db.transaction.monitor.check.interval=200ms\n"
            } else {
                ""
            },
            page_cache = self.sizes.page_cache_mib,
        )
    }

    fn java(&self) -> Command {
        let mut class_path = OsString::from(&self.jars);
        class_path.push("/*");
        let mut command = Command::new("nice");
        command
            .args(["-n", &self.sizes.niceness.to_string()])
            .arg(&self.java)
            .arg("-cp")
            .arg(class_path)
            .env("NEO4J_HOME", &self.home)
            .env("NEO4J_CONF", self.configuration())
            .current_dir(&self.home);
        for package in OPENED_PACKAGES {
            command.arg(format!("--add-opens=java.base/{package}=ALL-UNNAMED"));
        }
        command
    }

    /// Writes the configuration, and sets the password if there is no data yet.
    fn prepare(&self) -> Result<()> {
        fs::create_dir_all(self.configuration())
            .and_then(|()| fs::create_dir_all(self.home.join("logs")))
            .and_then(|()| fs::write(self.configuration().join("neo4j.conf"), self.settings()))
            .and_then(|()| fs::create_dir_all(self.certificates().join("revoked")))
            .with_context(|| format!("cannot write to {}", self.home.display()))?;
        if let Some(files) = &self.tls {
            tls::copy(&files.server_cert, &self.certificates().join("public.crt"))?;
            tls::copy(&files.server_key, &self.certificates().join("private.key"))?;
            tls::copy(&files.ca, &self.certificates().join("trusted/ca.crt"))?;
        }
        let first_password = self.home.join("data/dbms/auth.ini");
        if first_password.exists() {
            return Ok(());
        }
        let mut hashed = HASHED.lock();
        if let Some(known) = hashed.get(&self.password) {
            return fs::create_dir_all(self.home.join("data/dbms"))
                .and_then(|()| fs::write(&first_password, known))
                .with_context(|| format!("cannot write {}", first_password.display()));
        }
        // The command takes the password as an argument only.
        let mut command = self.java();
        command
            .args([FIRST_COMPILER, "-XX:+UseSerialGC"])
            .arg("org.neo4j.server.startup.Neo4jAdminCommand")
            .args(["dbms", "set-initial-password", &self.password]);
        complete(&mut command).map_err(|error| {
            let advice = &self.daemon.advice;
            anyhow!("Neo4j: setting the first password failed: {error:#}\nwhat to do: {advice}")
        })?;
        let made =
            fs::read(&first_password).with_context(|| format!("cannot read {}", first_password.display()))?;
        hashed.insert(self.password.clone(), made);
        Ok(())
    }
}

impl Server for Neo4j {
    fn daemon(&self) -> &Daemon {
        &self.daemon
    }

    fn daemon_mut(&mut self) -> &mut Daemon {
        &mut self.daemon
    }

    fn start_again(&mut self) -> Result<()> {
        self.prepare()?;
        let heap = self.sizes.heap_mib;
        let mut command = self.java();
        command
            .arg(format!("-Xms{heap}m"))
            .arg(format!("-Xmx{heap}m"))
            .args(["-XX:+UseParallelGC", "-XX:-OmitStackTraceInFastThrow"])
            .args(self.sizes.short_lived.then_some(FIRST_COMPILER))
            .arg("-Dfile.encoding=UTF-8")
            .arg("org.neo4j.server.CommunityEntryPoint")
            .arg(format!("--home-dir={}", self.home.display()))
            .arg(format!("--config-dir={}", self.configuration().display()))
            .arg("--console-mode");
        self.daemon.start_logged(command, "Started.")
    }

    fn remove_data(&self) -> Result<()> {
        remove_folder(&self.home)
    }
}

fn daemon(log: &Path) -> Daemon {
    Daemon::new(
        "Neo4j",
        log.to_owned(),
        "If the port is in use, stop the program that listens there. If memory is short, stop other \
         programs. If the data is damaged, remove it: `cargo xtask up --fresh`.",
    )
}

/// The Bolt URI of a server on this port.
pub(crate) fn url(scheme: &str, port: u16) -> String {
    format!("{scheme}://{}", loopback(port))
}
