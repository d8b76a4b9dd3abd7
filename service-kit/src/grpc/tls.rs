//! TLS on the gRPC port: the port's certificate, the accepted client certificates, and the handshake.
//!
//! A client's certificate admits the connection; its token decides what the client may call. A peer that speaks no TLS,
//! sends no accepted certificate or does not answer loses its own connection only.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};
use tokio_rustls::server::TlsStream;

use crate::config::Env;
use crate::tls::{self, Chain, Key, Named, Problem};

/// Timeout of the handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

const CERTIFICATE: &str = "GRPC_TLS_CERT_FILE";
const KEY: &str = "GRPC_TLS_KEY_FILE";
const CLIENT_CA: &str = "GRPC_TLS_CLIENT_CA_FILE";

/// The port's certificate and the accepted client certificates. Clones share them.
#[derive(Clone)]
pub struct ServerTls(TlsAcceptor);

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerTls(..)")
    }
}

impl ServerTls {
    /// Reads the settings and the files; `None` if there is no certificate: the port is in clear text.
    pub fn read(env: &mut Env) -> Option<Self> {
        let certificate = Named::read(
            env,
            CERTIFICATE,
            "PEM file of the gRPC port's certificate, followed by its intermediate certificates. With it the port \
             accepts TLS 1.2 and 1.3 only; without it, clear text. Read once, at the start.",
            tls::chain,
        );
        let key = Named::read(env, KEY, "PEM file of the private key of GRPC_TLS_CERT_FILE.", tls::key);
        let client_ca = Named::read(
            env,
            CLIENT_CA,
            "PEM file of the CA certificates of clients. With it, clients need a certificate signed by one of them.",
            tls::authorities,
        );
        let is_pair = tls::check_identity(env, &certificate, &key);
        client_ca.needs(env, &certificate);
        let (chain, key) = (certificate.content?, key.content?);
        // An unreadable file is recorded as a mistake; without it the port would accept every client.
        if !is_pair || (client_ca.file.is_some() && client_ca.content.is_none()) {
            return None;
        }
        let config = server_config(chain, key, client_ca.content).map_err(Problem::bad_certificate);
        Some(Self(TlsAcceptor::from(Arc::new(env.accept(CERTIFICATE, config)?))))
    }

    /// Runs the handshake; `None` if it fails, which is logged.
    pub(super) async fn accept(&self, socket: TcpStream) -> Option<TlsStream<TcpStream>> {
        let peer = socket.peer_addr().ok();
        match tokio::time::timeout(HANDSHAKE_TIMEOUT, self.0.accept(socket)).await {
            Ok(Ok(stream)) => return Some(stream),
            // Refusals of rustls are "invalid data"; other errors are peers that disconnect, such as port probes.
            Ok(Err(error)) if error.kind() == std::io::ErrorKind::InvalidData => {
                tracing::info!(?peer, %error, "TLS handshake refused");
            }
            Ok(Err(error)) => tracing::debug!(?peer, %error, "connection ended during the TLS handshake"),
            Err(_) => tracing::debug!(?peer, "TLS handshake took too long"),
        }
        None
    }
}

fn server_config(chain: Chain, key: Key, client_ca: Option<RootCertStore>) -> anyhow::Result<ServerConfig> {
    let builder =
        ServerConfig::builder_with_provider(tls::provider()).with_safe_default_protocol_versions()?;
    let builder = match client_ca {
        None => builder.with_no_client_auth(),
        Some(authorities) => {
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(authorities), tls::provider());
            builder.with_client_cert_verifier(verifier.build()?)
        }
    };
    let mut config = builder.with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_certificates::{Authority, Folder};

    fn read(pairs: &[(&str, &str)]) -> (bool, Vec<String>) {
        let mut env = Env::from_pairs(pairs.iter().copied());
        let there = ServerTls::read(&mut env).is_some();
        let mistakes = match env.finish(()) {
            Ok(()) => Vec::new(),
            Err(error) => error.mistakes.into_iter().map(|mistake| mistake.variable).collect(),
        };
        (there, mistakes)
    }

    #[test]
    fn a_port_is_in_clear_encrypted_or_not_opened_at_all() {
        let (folder, authority) = (Folder::new(), Authority::new());
        let (certificate, key) = authority.server();
        let (_, other_key) = authority.server();
        let certificate = folder.file("server.pem", &certificate);
        let key = folder.file("server.key", &key);
        let other_key = folder.file("other.key", &other_key);
        let ca = folder.file("ca.pem", &authority.pem());

        assert_eq!(read(&[]), (false, vec![]));
        let pair = [(CERTIFICATE, &*certificate), (KEY, &*key)];
        assert_eq!(read(&pair), (true, vec![]));
        let with = |more| [pair[0], pair[1], more];
        assert_eq!(read(&with((CLIENT_CA, &ca))), (true, vec![]));
        for (settings, wrong) in [
            (vec![pair[0]], vec![CERTIFICATE]),
            (vec![pair[1]], vec![KEY]),
            (vec![(CLIENT_CA, &*ca)], vec![CLIENT_CA]),
            (vec![pair[0], (KEY, &*other_key)], vec![KEY]),
            (with((CLIENT_CA, &key)).to_vec(), vec![CLIENT_CA]),
            (with((CLIENT_CA, "/not/there")).to_vec(), vec![CLIENT_CA]),
        ] {
            let (there, mistakes) = read(&settings);
            assert_eq!(mistakes, wrong, "{settings:?}");
            // Not even behind the report of the mistake.
            assert!(!there, "{settings:?}");
        }
    }
}
