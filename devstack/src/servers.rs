//! A set of servers: PostgreSQL, NATS and a Neo4j for each read replica.
//!
//! Several sets may run at a time, each with its own folder and ports. If one server does not start, the others are
//! stopped.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
    thread,
};

use anyhow::{Context, Result, anyhow, bail};

use crate::{
    daemon::Server,
    env_file::Env,
    fetch::{Tools, remove_folder},
    lock_file,
    nats::Nats,
    neo4j::{self, Neo4j, Sizes},
    ports::Ports,
    postgres::{Postgres, Template},
    principals::Principal,
    secrets::{Secrets, random_hex},
    tls::Tls,
    user::{Unprivileged, reachable_instead_of},
    workspace,
};

/// The file of a set's passwords and keys.
const SECRETS: &str = "secrets";

/// A running Neo4j of a temporary set, for the next one: its JVM takes longer to start than everything else.
#[derive(Debug)]
pub struct SpareNeo4j {
    /// The server with its data.
    pub neo4j: Neo4j,
    ports: Ports,
}

impl SpareNeo4j {
    /// Kills it and removes its data.
    pub fn remove(mut self) -> Result<()> {
        // A frozen one would not stop.
        self.neo4j.kill9()?;
        self.neo4j.wipe()
    }
}

/// A running set. Dropping it stops all of it.
#[derive(Debug)]
pub struct Servers {
    /// PostgreSQL.
    pub postgres: Postgres,
    /// NATS.
    pub nats: Nats,
    /// The Neo4j of the first read replica.
    pub neo4j: Neo4j,
    /// Those of further ones; see [`Servers::add_read_replicas`].
    pub further_neo4j: Vec<Neo4j>,
    /// The ports of the set.
    pub ports: Ports,
    /// The claims of Neo4j's ports, if another set started it.
    neo4j_ports: Option<Ports>,
    /// Its passwords and keys.
    pub secrets: Secrets,
    sizes: Sizes,
    /// Certificates, if the servers speak TLS.
    pub tls: Option<Tls>,
    root: PathBuf,
    is_temporary: bool,
    _lock: File,
}

impl Servers {
    /// Starts a set with its data in `root`; keeps the data of an earlier run. [`Servers::add_read_replicas`] starts
    /// further read replicas.
    pub fn start(tools: &Tools, root: &Path, ports: Ports, sizes: Sizes) -> Result<Self> {
        Self::start_with(tools, root, ports, sizes, None)
    }

    fn start_with(
        tools: &Tools,
        root: &Path,
        ports: Ports,
        sizes: Sizes,
        temporary: Option<Temporary>,
    ) -> Result<Self> {
        fs::create_dir_all(root).with_context(|| format!("cannot create {}", root.display()))?;
        // Children have other working folders.
        let root = root.canonicalize().with_context(|| format!("cannot resolve {}", root.display()))?;
        let lock = lock(&root)?;
        let secrets = Secrets::load_or_create(&root.join(SECRETS))?;
        let log = |name: &str| log_file(&root, name);
        let is_temporary = temporary.is_some();
        let (neo4j_home, neo4j_log) = if is_temporary {
            // Next to the set's folder, because it may outlive the set.
            let home = PathBuf::from(format!("{}-neo4j", root.display()));
            (home.clone(), home.join("logs/output.log"))
        } else {
            (root.join("neo4j"), log("neo4j"))
        };
        let (tls, spare, template) = match temporary {
            Some(Temporary { tls, spare, template }) => (tls, spare, Some(template)),
            None => (None, None, None),
        };
        let (postgres, nats, neo4j) = thread::scope(|scope| {
            let postgres = scope.spawn(|| {
                Postgres::start(
                    tools,
                    &root.join("postgres"),
                    &log("postgres"),
                    ports.postgres,
                    &secrets,
                    tls.as_ref(),
                    template.as_ref(),
                )
            });
            let nats = scope.spawn(|| {
                Nats::start(tools, &root.join("nats"), &log("nats"), &ports, &secrets, tls.as_ref())
            });
            let neo4j = scope.spawn(|| {
                if let Some(spare) = spare {
                    return Ok((spare.neo4j, Some(spare.ports)));
                }
                let (password, tls) = (&secrets.neo4j_password, tls.as_ref());
                Neo4j::start(tools, &neo4j_home, &neo4j_log, ports.bolt, password, sizes, tls)
                    .map(|started| (started, None))
            });
            (join(postgres), join(nats), join(neo4j))
        });
        let (neo4j, neo4j_ports) = neo4j?;
        Ok(Self {
            postgres: postgres?,
            nats: nats?,
            neo4j,
            further_neo4j: Vec::new(),
            ports,
            neo4j_ports,
            secrets,
            sizes,
            tls,
            root,
            is_temporary,
            _lock: lock,
        })
    }

    /// Like [`Self::start`], but removes the data of an earlier run first.
    pub fn start_fresh(tools: &Tools, root: &Path, ports: Ports, sizes: Sizes) -> Result<Self> {
        remove_left_over(root)?;
        Self::start(tools, root, ports, sizes)
    }

    /// Starts an empty set; dropping it removes data and logs. Also removes sets of programs that were killed.
    pub fn temporary(tools: &Tools, ports: Ports, sizes: Sizes) -> Result<Self> {
        Self::temporary_with(tools, ports, sizes, None, None)
    }

    /// Like [`Self::temporary`]. With certificates, all servers speak TLS only. A spare Neo4j, which must be empty,
    /// replaces a new one.
    pub fn temporary_with(
        tools: &Tools,
        ports: Ports,
        sizes: Sizes,
        tls: Option<Tls>,
        spare: Option<SpareNeo4j>,
    ) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}-{number}-{}", std::process::id(), random_hex(4)?);
        Self::remove_abandoned()?;
        let root = temporary_folder().join(name);
        let template = Template::open()?;
        Secrets::begin_temporary(&root.join(SECRETS), template.password())?;
        Self::start_with(tools, &root, ports, sizes, Some(Temporary { tls, spare, template }))
    }

    /// Removes temporary sets of programs that were killed.
    pub fn remove_abandoned() -> Result<()> {
        for entry in fs::read_dir(temporary_folder()).into_iter().flatten().flatten() {
            if is_abandoned(&entry.path()) {
                remove_left_over(&entry.path())?;
            }
        }
        Ok(())
    }

    /// Takes Neo4j out of a temporary set that has ended; `None` if it does not run or has other settings.
    pub fn spare_neo4j(&mut self) -> Option<SpareNeo4j> {
        let usable = self.is_temporary && self.neo4j.has_default_settings().is_ok_and(|usable| usable);
        let ports = self.neo4j_ports.as_ref().unwrap_or(&self.ports).clone();
        usable.then(|| SpareNeo4j { neo4j: self.neo4j.take(), ports })
    }

    /// Starts a Neo4j for each further read replica that has ports and does not run; the set may be in use.
    pub fn add_read_replicas(&mut self, tools: &Tools) -> Result<()> {
        let begun = self.further_neo4j.len();
        let (root, password, sizes) = (&self.root, &self.secrets.neo4j_password, self.sizes);
        let started: Vec<Result<Neo4j>> = thread::scope(|scope| {
            let threads = self.ports.further.iter().enumerate().skip(begun).map(|(number, ports)| {
                let name = format!("neo4j-{}", number + 1);
                scope.spawn(move || {
                    let log = log_file(root, &name);
                    Neo4j::start(tools, &root.join(&name), &log, ports.bolt, password, sizes, None)
                })
            });
            // Spawns all before it waits for the first.
            let threads: Vec<_> = threads.collect();
            threads.into_iter().map(join).collect()
        });
        for neo4j in started {
            self.further_neo4j.push(neo4j?);
        }
        Ok(())
    }

    /// The folder of the set.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The log file of the process `name`.
    pub fn log_file(&self, name: &str) -> PathBuf {
        log_file(&self.root, name)
    }

    /// URLs with the passwords of the operator, who has all permissions, under the names that the CLI reads.
    pub fn env(&self) -> Env {
        self.env_of(Principal::Operator)
    }

    /// URLs of a principal, under the names that services read.
    pub fn env_of(&self, who: Principal) -> Env {
        let env = self
            .tls
            .as_ref()
            .map(Tls::env)
            .unwrap_or_default()
            .with("DATABASE_URL", self.postgres.url_of(who))
            .with("NATS_URL", self.nats.url_of(who))
            .with("NEO4J_URI", self.neo4j.url())
            .with("NEO4J_USER", self.neo4j.user())
            .with("NEO4J_PASSWORD", self.neo4j.password());
        if self.ports.further.is_empty() {
            return env;
        }
        // Also replicas that do not run yet: a reader may know them before.
        let further = self.ports.further.iter().map(|ports| neo4j::url("bolt", ports.bolt));
        let all: Vec<String> = std::iter::once(self.neo4j.url()).chain(further).collect();
        env.with("NEO4J_URIS", all.join(","))
    }

    /// All servers.
    pub fn all(&mut self) -> Vec<&mut (dyn Server + Send)> {
        let mut all: Vec<&mut (dyn Server + Send)> =
            vec![&mut self.postgres, &mut self.nats, &mut self.neo4j];
        for neo4j in &mut self.further_neo4j {
            all.push(neo4j);
        }
        all
    }

    /// Stops all of them, at the same time.
    pub fn stop(&mut self) -> Result<()> {
        thread::scope(|scope| {
            let threads = self.all().into_iter().map(|server| scope.spawn(|| server.stop()));
            // Spawns all before it waits for the first.
            let threads: Vec<_> = threads.collect();
            threads.into_iter().try_for_each(join)
        })
    }

    /// Stops all of them and removes their data; keeps the logs.
    pub fn wipe(&mut self) -> Result<()> {
        self.stop()?;
        for server in self.all() {
            server.wipe()?;
        }
        Ok(())
    }

    /// Ends all of them without an orderly stop and removes all files of the set.
    fn discard(&mut self) -> Result<()> {
        self.postgres.stop_at_once()?;
        for server in self.all() {
            server.kill9()?;
            server.wipe()?;
        }
        // With copies and standbys. It may be outside of the root.
        remove_folder(self.postgres.folder())?;
        remove_folder(&self.root)
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        let result = if self.is_temporary { self.discard() } else { self.stop() };
        if let Err(error) = result {
            eprintln!("while stopping the servers: {error:#}");
        }
    }
}

/// What only temporary sets have.
struct Temporary {
    tls: Option<Tls>,
    spare: Option<SpareNeo4j>,
    template: Template,
}

/// Locks the folder of a set for this process.
fn lock(root: &Path) -> Result<File> {
    let file = lock_file::open(&root.join("servers.lock"))?;
    if file.try_lock().is_err() {
        bail!("another process runs servers in {}\nwhat to do: wait for it, or stop it", root.display());
    }
    Ok(file)
}

/// Whether the process of this temporary set has ended; the folder's name begins with its id.
fn is_abandoned(root: &Path) -> bool {
    let name = root.file_name().unwrap_or_default().to_string_lossy();
    let process = name.split('-').next().unwrap_or_default();
    !Path::new("/proc").join(process).exists() && lock(root).is_ok()
}

/// Removes all files of a set in `root`, including PostgreSQL's outside of it.
fn remove_left_over(root: &Path) -> Result<()> {
    if !root.exists() {
        return Ok(());
    }
    let _lock = lock(root)?;
    let root = root.canonicalize()?;
    let user = Unprivileged::if_we_are_root()?;
    remove_folder(&reachable_instead_of(&root.join("postgres"), user.as_ref())?)?;
    remove_folder(&root)
}

fn temporary_folder() -> PathBuf {
    workspace::dev().join("temporary")
}

fn log_file(root: &Path, name: &str) -> PathBuf {
    root.join("logs").join(format!("{name}.log"))
}

fn join<T>(thread: thread::ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    thread.join().unwrap_or_else(|_| Err(anyhow!("the thread of a server has panicked")))
}
