//! TLS everywhere: the pipeline works over encrypted connections alone. Servers reject clear text, a certificate of
//! another authority, and a missing certificate.

use std::time::Duration;

use devstack::Tls;
use proto::command::v1::command_service_client::CommandServiceClient;
use proto::query::v1::query_service_client::QueryServiceClient;
use sqlx::Connection as _;
use sqlx::postgres::PgConnection;
use tests::certificates::Certificates;
use tests::clients::{self, Bearer, Commands, Queries, check, follow};
use tests::own::binaries;
use tests::truth::wait_following;
use tests::{Endpoints, Own, new_user};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::task::block_in_place;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

/// Timeout of attempts that must fail.
const PATIENCE: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn a_follow_becomes_a_read_over_encrypted_connections_alone() {
    let certificates = Certificates::make();
    let tls = certificates.files();
    let own = Own::light().start_encrypted(tls.clone()).await;
    let endpoints = &own.endpoints;

    let (mut commands, mut queries) = (commands(endpoints, &tls), queries(endpoints, &tls));
    let (a, b) = (new_user(), new_user());
    let written = follow(&mut commands, &a, &b).await.expect("a follow").written_at;
    // Written over TLS to PostgreSQL, published to NATS, applied to Neo4j, and read from there.
    wait_following(&queries, &a, &b, &written).await;
    assert!(check(&mut queries, &a, &b, clients::consistent()).await.expect("PostgreSQL's answer").following);

    let run = |arguments: &[&str]| {
        let mut cli = devstack::services::cli(&binaries(), &own.pipeline.client_env);
        block_in_place(|| cli.args(arguments).output()).expect("the CLI runs")
    };
    let seen = run(&["check", &a, &b]);
    assert!(seen.status.success(), "{}", String::from_utf8_lossy(&seen.stderr));
    let clear_text = |arguments: &[&str]| {
        let mut cli = devstack::services::cli(&binaries(), &own.pipeline.client_env);
        for name in ["TLS", "CA_FILE", "CERT_FILE", "KEY_FILE"] {
            cli.env(format!("FOLLOWGRAPH_{name}"), "");
        }
        block_in_place(|| cli.args(arguments).output()).expect("the CLI runs")
    };
    let refused = clear_text(&["check", &a, &b]);
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(2) && told.contains("--tls or --ca is needed"), "{told}");
    let stores = run(&["legacy", "check"]);
    assert!(stores.status.success(), "{}", String::from_utf8_lossy(&stores.stdout));

    let others = Certificates::make();
    grpc_is_closed(endpoints, &tls, &others.files()).await;
    postgres_is_closed(endpoints, &tls, &others.files()).await;
    nats_is_closed(endpoints, &tls, &others.files()).await;
    neo4j_is_closed(endpoints, &tls, &others.files()).await;
}

/// A channel that trusts an authority, and presents a certificate if it has one.
fn channel(address: &str, ca: &Tls, identity: Option<&Tls>) -> Channel {
    let read = |file| std::fs::read(file).expect("a file of the test");
    let config = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(&ca.ca)));
    let config = match identity {
        Some(tls) => config.identity(Identity::from_pem(read(&tls.client_cert), read(&tls.client_key))),
        None => config,
    };
    let endpoint = Endpoint::from_shared(format!("https://{address}")).expect("host:port");
    endpoint.tls_config(config).expect("valid files").connect_lazy()
}

fn commands(endpoints: &Endpoints, tls: &Tls) -> Commands {
    let channel = channel(&endpoints.command, tls, Some(tls));
    CommandServiceClient::with_interceptor(channel, Bearer::new(&endpoints.token))
}

fn queries(endpoints: &Endpoints, tls: &Tls) -> Queries {
    let channel = channel(&endpoints.query, tls, Some(tls));
    QueryServiceClient::with_interceptor(channel, Bearer::new(&endpoints.token))
}

async fn grpc_is_closed(endpoints: &Endpoints, tls: &Tls, others: &Tls) {
    for address in [&endpoints.command, &endpoints.query] {
        for (case, channel) in [
            ("in clear", clients::channel(address)),
            ("with another authority", channel(address, others, Some(tls))),
            ("without a certificate", channel(address, tls, None)),
            ("with a certificate of others", channel(address, tls, Some(others))),
        ] {
            let mut health = tonic_health::pb::health_client::HealthClient::new(channel);
            let request = tonic_health::pb::HealthCheckRequest::default();
            let answer = tokio::time::timeout(PATIENCE, health.check(request)).await;
            let status = answer.expect("an answer in time").expect_err(case);
            // An error of the transport, whose code depends on when the connection broke; no response of the service.
            assert!(std::error::Error::source(&status).is_some(), "{case}: {status:?}");
        }
    }
}

async fn postgres_is_closed(endpoints: &Endpoints, tls: &Tls, others: &Tls) {
    let base = endpoints.database_url.split('?').next().expect("an address");
    let (ca, cert, key) = (tls.ca.display(), others.client_cert.display(), others.client_key.display());
    for query in [
        "sslmode=disable".to_owned(),
        format!("sslmode=verify-full&sslrootcert={}", others.ca.display()),
        format!("sslmode=verify-full&sslrootcert={ca}"),
        format!("sslmode=verify-full&sslrootcert={ca}&sslcert={cert}&sslkey={key}"),
    ] {
        let connected =
            tokio::time::timeout(PATIENCE, PgConnection::connect(&format!("{base}?{query}"))).await;
        assert!(connected.expect("an answer in time").is_err(), "{query}");
    }
    assert!(PgConnection::connect(&endpoints.database_url).await.is_ok(), "with all that is needed");
}

async fn nats_is_closed(endpoints: &Endpoints, tls: &Tls, others: &Tls) {
    let address: async_nats::ServerAddr = endpoints.nats_url.parse().expect("an address");
    let login = || {
        let (user, password) = address.username().zip(address.password()).expect("a login");
        async_nats::ConnectOptions::with_user_and_password(user.to_owned(), password.to_owned())
    };
    let with = |ca: &Tls, identity: Option<&Tls>| {
        let options = login().require_tls(true).add_root_certificates(ca.ca.clone());
        match identity {
            Some(tls) => options.add_client_certificate(tls.client_cert.clone(), tls.client_key.clone()),
            None => options,
        }
    };
    for (case, options) in [
        ("with another authority", with(others, Some(tls))),
        ("without a certificate", with(tls, None)),
        ("with a certificate of others", with(tls, Some(others))),
    ] {
        let connected = tokio::time::timeout(PATIENCE, options.connect(&address)).await;
        assert!(!matches!(connected, Ok(Ok(_))), "{case}");
    }
    assert!(with(tls, Some(tls)).connect(&address).await.is_ok(), "with all that is needed");

    // The driver would switch to TLS if the server requires it; this client does not.
    let socket = TcpStream::connect((address.host(), address.port())).await.expect("the port is open");
    let mut lines = BufReader::new(socket);
    let mut info = String::new();
    lines.read_line(&mut info).await.expect("a greeting");
    assert!(info.contains("\"tls_required\":true"), "{info}");
    let login = format!(
        "CONNECT {{\"user\":\"{}\",\"pass\":\"{}\",\"verbose\":false}}\r\nPING\r\n",
        address.username().unwrap_or_default(),
        address.password().unwrap_or_default()
    );
    lines.get_mut().write_all(login.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    let read = tokio::time::timeout(PATIENCE, lines.read_line(&mut answer)).await.expect("an answer in time");
    assert!(read.is_err() || !answer.starts_with("PONG"), "in clear: {answer}");
}

async fn neo4j_is_closed(endpoints: &Endpoints, tls: &Tls, others: &Tls) {
    let open = |uri: &str, ca: Option<&Tls>, identity: Option<&Tls>| {
        let config = neo4rs::ConfigBuilder::default()
            .uri(uri)
            .user(&endpoints.neo4j_user)
            .password(&endpoints.neo4j_password)
            .connection_timeout(PATIENCE);
        let config = match (ca, identity) {
            (Some(ca), Some(tls)) => {
                config.with_mutual_tls_validation(Some(&ca.ca), &tls.client_cert, &tls.client_key)
            }
            (Some(ca), None) => config.with_client_certificate(&ca.ca),
            _ => config,
        };
        neo4rs::Graph::connect(config.build().expect("a complete configuration")).expect("valid files")
    };
    let clear = endpoints.neo4j_uri.replace("bolt+s://", "bolt://");
    for (case, graph) in [
        ("in clear", open(&clear, None, None)),
        ("with another authority", open(&endpoints.neo4j_uri, Some(others), Some(tls))),
        ("without a certificate", open(&endpoints.neo4j_uri, Some(tls), None)),
        ("with a certificate of others", open(&endpoints.neo4j_uri, Some(tls), Some(others))),
    ] {
        // An explicit transaction, because the driver retries others for a long time.
        let started = tokio::time::timeout(PATIENCE, graph.start_txn()).await;
        assert!(!matches!(started, Ok(Ok(_))), "{case}");
    }
    let graph = open(&endpoints.neo4j_uri, Some(tls), Some(tls));
    let transaction = graph.start_txn().await.expect("with all that is needed");
    transaction.rollback().await.expect("it ends");
}
