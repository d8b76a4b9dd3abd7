//! Limits of NATS that reject the stream or an event: the status names the setting to change, and then the relay
//! continues.

use std::path::PathBuf;
use std::process::Command;

use devstack::daemon::Daemon;
use devstack::env_file::Env;
use devstack::ports::{Claim, loopback};
use devstack::process::Signal;
use devstack::{Tools, http};
use proto::command::v1::GetStatusRequest;
use proto::graph::v1::StreamState;
use tests::database::Database;
use tests::own::command_service_beside;
use tests::status::until_stream_is;
use tests::{Commands, Endpoints, LIMIT, importing, new_user, until};
use tokio::task::block_in_place;

/// A NATS whose account requires a size limit for each stream.
struct LimitedNats {
    daemon: Daemon,
    folder: PathBuf,
    claims: [Claim; 2],
}

impl LimitedNats {
    fn start(max_payload: &str) -> Self {
        let claims = [(); 2].map(|()| Claim::any().expect("a free port"));
        let folder = std::env::temp_dir().join(format!("followgraph-nats-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let daemon = Daemon::new("NATS with limits", folder.join("nats.log"), "Read the log above.");
        let mut server = Self { daemon, folder, claims };
        server.configure(max_payload);
        let mut command = Command::new(Tools::install().expect("the tools are installed").nats_server);
        command.arg("--config").arg(server.folder.join("nats.conf"));
        let monitor = loopback(server.claims[1].port);
        server.daemon.start(command, || http::is_ok(monitor, "/healthz")).expect("the server starts");
        server
    }

    fn configure(&self, max_payload: &str) {
        let text = format!(
            "listen: \"{}\"\nhttp: \"{}\"\nmax_payload: {max_payload}\n\
             jetstream {{ store_dir: \"{}\" }}\n\
             accounts {{ F {{ jetstream: {{ max_file: 1G, max_bytes_required: true }}, users: [{{ user: f, password: f }}] }} }}\n",
            loopback(self.claims[0].port),
            loopback(self.claims[1].port),
            self.folder.join("store").display(),
        );
        std::fs::write(self.folder.join("nats.conf"), text).expect("written");
    }

    fn url(&self) -> String {
        format!("nats://f:f@{}", loopback(self.claims[0].port))
    }
}

impl Drop for LimitedNats {
    fn drop(&mut self) {
        // Files that are left are in the temporary folder.
        let _ = self.daemon.stop();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

async fn until_check_fails(commands: &Commands, name: &str, words: &str) {
    until(&format!("the check {name}: {words}"), || {
        let mut commands = commands.clone();
        async move {
            let status = commands.get_status(GetStatusRequest {}).await.map_err(|s| s.to_string())?;
            let checks = status.into_inner().checks;
            let found = checks.iter().any(|check| check.name == name && check.reason.contains(words));
            if found { Ok(()) } else { Err(format!("{checks:?}")) }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_of_nats_are_named_and_lifting_them_is_enough() {
    let shared = Endpoints::shared();
    let mut nats = block_in_place(|| LimitedNats::start("65536"));
    let database = Database::create(&shared).await;
    let env = Env::default()
        .with("DATABASE_URL", &database.url)
        .with("NATS_URL", nats.url())
        .with("AUTH_TOKENS", format!("read+write+admin:{}", shared.token));
    let mut service = command_service_beside(&shared, env);
    let commands = shared.through(&service).commands();

    until_stream_is(&commands, StreamState::Blocked, "STREAM_MAX_BYTES").await;
    until_check_fails(&commands, "publishing", "STREAM_MAX_BYTES").await;
    block_in_place(|| {
        service.stop().expect("it stops");
        service.spec.env.set("STREAM_MAX_BYTES", "100000000");
        service.start_again().expect("it starts");
        service.wait_ready(LIMIT).expect("it gets ready");
    });
    until_stream_is(&commands, StreamState::Ok, "").await;
    until_check_fails(&commands, "message size", "65536").await;

    let edges: Vec<_> = (0..1_000).map(|_| (new_user(), new_user())).collect();
    let (accepted, unchanged) = importing::all(&mut commands.clone(), &edges, edges.len()).await;
    assert_eq!(accepted + unchanged, 1_000, "writes continue");
    let stuck = until_stream_is(&commands, StreamState::Blocked, "max_payload").await;
    assert!(stuck.problem.contains("revision 1 "), "{stuck:?}");

    nats.configure("1MB");
    nats.daemon.signal(Signal::SIGHUP).expect("a signal");
    let healed = until("the event in the stream", || async {
        let stream = until_stream_is(&commands, StreamState::Ok, "").await;
        if stream.last_revision == 1 { Ok(stream) } else { Err(format!("{stream:?}")) }
    });
    healed.await;
    drop(service);
    database.remove(&shared).await;
}
