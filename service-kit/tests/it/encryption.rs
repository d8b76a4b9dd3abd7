//! The gRPC port with TLS: which clients are accepted, and that a misbehaving peer harms no other.

use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::support::{TestServer, start};
use crate::test_certificates::{Authority, Folder};

const SOON: Duration = Duration::from_secs(10);

/// A server with its certificate, and what belongs to it.
struct Encrypted {
    server: TestServer,
    authority: Authority,
    _folder: Folder,
}

/// With `client_ca` it wants a certificate of its clients.
async fn encrypted(client_ca: bool) -> Encrypted {
    let (folder, authority) = (Folder::new(), Authority::new());
    let (certificate, key) = authority.server();
    let certificate = folder.file("server.pem", &certificate);
    let key = folder.file("server.key", &key);
    let ca = folder.file("ca.pem", &authority.pem());
    let mut settings = vec![("GRPC_TLS_CERT_FILE", &*certificate), ("GRPC_TLS_KEY_FILE", &*key)];
    if client_ca {
        settings.push(("GRPC_TLS_CLIENT_CA_FILE", &ca));
    }
    Encrypted { server: start(&settings).await, authority, _folder: folder }
}

impl Encrypted {
    /// Asks for the health, believing an authority, and showing a certificate if there is one.
    async fn ask(&self, ca: &Authority, identity: Option<(String, String)>) -> Result<(), tonic::Status> {
        let config = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca.pem()));
        let config = match identity {
            Some((certificate, key)) => config.identity(Identity::from_pem(certificate, key)),
            None => config,
        };
        let address = format!("https://{}", self.server.address);
        let endpoint = Endpoint::from_shared(address).expect("an address");
        check(endpoint.tls_config(config).expect("good files").connect_lazy()).await
    }
}

async fn check(channel: Channel) -> Result<(), tonic::Status> {
    let mut client = HealthClient::new(channel);
    let answer = client.check(HealthCheckRequest::default());
    let answer = tokio::time::timeout(SOON, answer).await.expect("an answer in time");
    answer.map(drop)
}

#[tokio::test]
async fn a_port_with_a_certificate_speaks_tls_only() {
    let port = encrypted(false).await;
    port.ask(&port.authority, None).await.expect("its authority is believed");
    port.ask(&Authority::new(), None).await.expect_err("another authority is believed");
    let clear = Endpoint::from_shared(format!("http://{}", port.server.address)).expect("an address");
    check(clear.connect_lazy()).await.expect_err("in clear");
    port.ask(&port.authority, None).await.expect("nothing of it has harmed the port");
}

#[tokio::test]
async fn a_port_with_authorities_of_clients_lets_in_who_has_a_certificate() {
    let port = encrypted(true).await;
    port.ask(&port.authority, Some(port.authority.client())).await.expect("a client of its authority");
    port.ask(&port.authority, None).await.expect_err("nobody");
    let stranger = Authority::new().client();
    port.ask(&port.authority, Some(stranger)).await.expect_err("a client of another authority");
    let server = port.authority.server();
    port.ask(&port.authority, Some(server)).await.expect_err("a certificate that is none of a client");
    port.ask(&port.authority, Some(port.authority.client()))
        .await
        .expect("nothing of it has harmed the port");
}

#[tokio::test]
async fn a_peer_that_says_nothing_holds_up_neither_others_nor_the_drain() {
    let port = encrypted(false).await;
    let mut silent = TcpStream::connect(port.server.address).await.expect("the port is open");
    port.ask(&port.authority, None).await.expect("others are served");
    port.server.drain.begin.cancel();
    tokio::time::timeout(SOON, port.server.served)
        .await
        .expect("it ends")
        .expect("no panic")
        .expect("no error");
    let mut rest = Vec::new();
    let read = tokio::time::timeout(SOON, silent.read_to_end(&mut rest)).await.expect("it is closed");
    assert!(read.is_err() || rest.is_empty());
}
