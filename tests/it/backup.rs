//! Runs the commands under "Back up" and "Restore" of docs/operations.md as they are written there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use devstack::Ports;
use devstack::env_file::Env;
use devstack::user::Unprivileged;
use proto::Token;
use proto::command::v1::GetStatusRequest;
use proto::graph::v1::{Check, CheckState};
use sqlx::{Connection as _, Executor as _, PgConnection, PgPool};
use tests::clients::follow;
use tests::own::{binaries, command_service_beside};
use tests::truth::postgres::snapshot;
use tests::{Endpoints, new_user};
use tokio::task::block_in_place;

/// The fenced blocks between two headings.
pub fn commands(document: &str, from: &str, to: &str) -> Vec<String> {
    let (_, rest) = document.split_once(from).expect("a heading");
    let (part, _) = rest.split_once(to).expect("the heading after it");
    let blocks = part.split("```").skip(1).step_by(2);
    blocks.map(|block| block.lines().map(str::trim).collect::<Vec<_>>().join("\n")).collect()
}

/// A cluster of the system's PostgreSQL, of the same version as its `pg_dump`.
struct Cluster {
    programs: PathBuf,
    folder: PathBuf,
    ports: Ports,
    user: Option<Unprivileged>,
}

impl Cluster {
    fn start(folder: &Path) -> Self {
        let programs = newest_programs();
        let user = Unprivileged::if_we_are_root().expect("a user for PostgreSQL");
        if let Some(user) = &user {
            user.own(folder).expect("its folder");
        }
        let cluster =
            Self { programs, folder: folder.to_owned(), ports: Ports::free().expect("ports"), user };
        let data = cluster.folder.join("data");
        let data = data.to_str().expect("UTF-8");
        cluster.succeed("initdb", &["--username", "postgres", "--auth", "trust", "--no-sync", "-D", data]);
        let options = format!(
            "-p {} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c fsync=off",
            cluster.ports.postgres
        );
        let log = cluster.folder.join("log");
        let log = log.to_str().expect("UTF-8");
        cluster.succeed("pg_ctl", &["start", "--wait", "-D", data, "-l", log, "-o", &options]);
        cluster
    }

    fn url(&self, role: &str, database: &str) -> String {
        format!("postgres://{role}@127.0.0.1:{}/{database}", self.ports.postgres)
    }

    fn program(&self, name: &str, arguments: &[&str]) -> Output {
        use std::os::unix::process::CommandExt as _;
        let mut command = Command::new(self.programs.join(name));
        command.args(arguments).current_dir(&self.folder).stdin(Stdio::null());
        // The server keeps inherited files open.
        command.stdout(Stdio::null()).stderr(Stdio::null());
        if let Some(user) = &self.user {
            command.uid(user.uid).gid(user.gid);
        }
        command.output().expect("it runs")
    }

    fn succeed(&self, name: &str, arguments: &[&str]) {
        let log = || fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        assert!(self.program(name, arguments).status.success(), "{name} {arguments:?}: {}", log());
    }

    /// Runs lines in an operator's shell.
    fn shell(&self, folder: &Path, script: &str) {
        let path = std::env::var("PATH").expect("a PATH");
        let output = Command::new("bash")
            .args(["-c", script])
            .current_dir(folder)
            .env("PATH", format!("{}:{}:{path}", self.programs.display(), binaries().display()))
            .env("DATABASE_URL", self.url("followgraph", "followgraph"))
            .env("NEW", self.url("followgraph", "followgraph_restored"))
            .env_remove("NEO4J_URI")
            .output()
            .expect("bash runs");
        assert!(output.status.success(), "{script}\n{}", String::from_utf8_lossy(&output.stderr));
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let data = self.folder.join("data");
        self.program("pg_ctl", &["stop", "--mode", "immediate", "-D", data.to_str().unwrap_or_default()]);
    }
}

pub fn newest_programs() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let folders = versions.map(|version| version.path().join("bin"));
    let complete = folders.filter(|folder| {
        ["initdb", "pg_ctl", "pg_dump", "pg_restore", "psql"].iter().all(|name| folder.join(name).exists())
    });
    let newest = complete.max_by_key(|folder| {
        folder.parent().and_then(|version| version.file_name()?.to_str()?.parse::<u32>().ok())
    });
    newest.expect("PostgreSQL with its tools below /usr/lib/postgresql: apt-get install postgresql")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documented_backup_is_restored_by_the_documented_commands() {
    let shared = Endpoints::shared();
    let folder = std::env::temp_dir().join(format!("followgraph-backup-{}", uuid::Uuid::new_v4().simple()));
    fs::create_dir(&folder).expect("a folder");
    let work = folder.join("work");
    fs::create_dir(&work).expect("a folder");
    let document = devstack::workspace::root().join("docs/operations.md");
    let document = fs::read_to_string(document).expect("the document");
    let backup = commands(&document, "\n## Back up\n", "\n## Restore\n");
    let restore = commands(&document, "\n## Restore\n", "\n### After PostgreSQL has lost commits\n");
    assert_eq!((backup.len(), restore.len()), (1, 2), "{backup:?} {restore:?}");

    let cluster = block_in_place(|| Cluster::start(&folder));
    let mut operator = PgConnection::connect(&cluster.url("postgres", "postgres")).await.expect("a session");
    for statement in
        ["CREATE ROLE followgraph LOGIN CREATEROLE CREATEDB", "CREATE DATABASE followgraph OWNER followgraph"]
    {
        operator.execute(statement).await.expect(statement);
    }
    block_in_place(|| cluster.shell(&work, "followgraph migrate --roles"));

    // Writes do not need NATS.
    let settings = |database: &str| {
        Env::default()
            .with("AUTH_TOKENS", format!("read+write+admin:{}", shared.token))
            .with("DATABASE_URL", cluster.url("followgraph_command", database))
            .with("NATS_URL", "nats://127.0.0.1:1")
    };
    let service = command_service_beside(&shared, settings("followgraph"));
    let mut commands = shared.through(&service).commands();
    for _ in 0..20 {
        follow(&mut commands, &new_user(), &new_user()).await.expect("a follow");
    }
    // A backup may be older than an outage lasts when it is restored.
    let owner = PgPool::connect(&cluster.url("followgraph", "followgraph")).await.expect("the owner");
    let aged = "UPDATE clock SET seen_at = now() - interval '2 hours'";
    owner.execute(aged).await.expect("an old date");
    owner.close().await;
    block_in_place(|| {
        cluster.shell(&work, &backup[0]);
        for block in &restore {
            cluster.shell(&work, block);
        }
    });
    drop(service);

    let pools = ["followgraph", "followgraph_restored"].map(|name| cluster.url("followgraph", name));
    let old = snapshot(&PgPool::connect(&pools[0]).await.expect("the old one")).await;
    let new = snapshot(&PgPool::connect(&pools[1]).await.expect("the new one")).await;
    assert_eq!((&old.edges, &old.accounts), (&new.edges, &new.accounts));
    assert_eq!(old.edges.len(), 20);
    assert_eq!(old.head.revision, new.head.revision);
    assert!(new.head.epoch > old.head.epoch, "another history");

    let service = command_service_beside(&shared, settings("followgraph_restored"));
    let mut commands = shared.through(&service).commands();
    tests::until("the clock to be trusted", || {
        let mut commands = commands.clone();
        async move {
            let status =
                commands.get_status(GetStatusRequest {}).await.map_err(|status| status.to_string())?;
            let passes = |check: &Check| check.name == "clock" && check.state() == CheckState::Ok;
            if status.get_ref().checks.iter().any(passes) { Ok(()) } else { Err(format!("{status:?}")) }
        }
    })
    .await;
    let written_at = follow(&mut commands, &new_user(), &new_user()).await.expect("a follow").written_at;
    assert_eq!(
        Token::parse(&written_at).expect("a token"),
        Token::new(new.head.epoch, new.head.revision.next())
    );
    drop(service);
    drop(cluster);
    fs::remove_dir_all(&folder).expect("removed");
}
