//! A process uses renewed NATS credentials as soon as the file is written, without a restart.

use std::time::Duration;

use devstack::env_file::Env;
use devstack::ports::{Claim, loopback};
use devstack::services::{Program, Service, ServiceSpec};
use tests::metrics::scrape;
use tests::nats_operator::NatsOperator;
use tests::own::binaries;
use tests::until;
use tokio::task::block_in_place;

/// Long enough to connect, short enough to wait for its expiry.
const SHORT: Duration = Duration::from_secs(5);
const LONG: Duration = Duration::from_secs(3_600);

fn metric(service: &Service, name: &str) -> Result<f64, String> {
    let sample = scrape(service.admin_addr()).into_iter().find(|sample| sample.metric == name);
    sample.map(|sample| sample.value).ok_or_else(|| format!("no {name}"))
}

async fn wait_connected(service: &Service, wanted: bool) {
    let _running = until("the state of the connection", || async {
        if !devstack::http::is_ok(service.admin_addr(), "/livez") {
            return Err("the admin port does not answer".to_owned());
        }
        let connected = metric(service, "nats_connected")?;
        if (connected > 0.0) == wanted { Ok(()) } else { Err(format!("nats_connected {connected}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn renewed_nats_credentials_are_used_without_a_restart() {
    let server = block_in_place(NatsOperator::start);
    let file = server.folder().join("user.creds");
    let (first, second) = (server.login(SHORT), server.login(LONG));
    std::fs::write(&file, first.file()).expect("written");

    let admin = Claim::any().expect("a free port");
    let log = server.folder().join("projector.log");
    let nowhere = "127.0.0.1:1";
    let mut projector = Service::start(ServiceSpec {
        program: Program::Projector,
        name: "projector-credentials".to_owned(),
        binaries: binaries(),
        env: Env::default()
            .with("NATS_URL", server.url())
            .with("NATS_CREDENTIALS_FILE", file.display().to_string())
            .with("DATABASE_URL", format!("postgres://app:pw@{nowhere}/main"))
            .with("NEO4J_URI", format!("bolt://{nowhere}"))
            .with("NEO4J_USER", "neo4j")
            .with("NEO4J_PASSWORD", "pw")
            .with("LOG_LEVEL", "debug"),
        grpc: None,
        admin: loopback(admin.port),
        log: log.clone(),
    })
    .expect("the projector starts");
    wait_connected(&projector, true).await;
    // The server closes the connection when the JWT expires, and rejects the old one from then on.
    wait_connected(&projector, false).await;
    std::fs::write(&file, second.file()).expect("written");
    wait_connected(&projector, true).await;

    // A half-written or missing file fails an attempt, not the process; the next attempt reads it again.
    assert!(projector.is_running().expect("its state"));
    let written = std::fs::read_to_string(&log).expect("the log");
    for secret in [&first.jwt, &first.seed, &second.jwt, &second.seed] {
        assert!(!written.contains(secret.as_str()), "a part of the credentials is in the log");
    }
    drop(projector);
}
