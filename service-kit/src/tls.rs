//! Certificates, keys and authorities in PEM files, named by settings. A missing or wrong file, or a key that does not
//! belong to its certificate, is a mistake of the settings, found before a port opens.
//!
//! A process reads the files at its start: to rotate a certificate, restart the process.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::sign::CertifiedKey;

use crate::config::Env;

/// A mistake in a file. The text does not contain the path, since it never repeats values of settings.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// Missing, or not readable by this process.
    #[error("names a file that cannot be read: {0}")]
    Unreadable(#[from] std::io::Error),
    /// The file has no certificate.
    #[error("names a file without a PEM certificate")]
    NoCertificate,
    /// A certificate does not parse.
    #[error("names a file with a damaged certificate: {0}")]
    BadCertificate(String),
    /// The file has no key.
    #[error("names a file without a PEM private key")]
    NoKey,
    /// The key does not belong to the certificate, or its type is not supported.
    #[error("names a key that does not fit its certificate: {0}")]
    BadPair(String),
}

impl Problem {
    pub(crate) fn bad_certificate(error: impl ToString) -> Self {
        Self::BadCertificate(error.to_string())
    }
}

/// A certificate with its intermediate certificates.
pub(crate) type Chain = Vec<CertificateDer<'static>>;
/// A private key.
pub(crate) type Key = PrivateKeyDer<'static>;

/// Reads a chain of certificates, the owner's first.
pub(crate) fn chain(file: &Path) -> Result<Chain, Problem> {
    let text = std::fs::read(file)?;
    let chain: Result<Chain, _> = CertificateDer::pem_slice_iter(&text).collect();
    let chain = chain.map_err(Problem::bad_certificate)?;
    if chain.is_empty() { Err(Problem::NoCertificate) } else { Ok(chain) }
}

/// Reads a private key.
pub(crate) fn key(file: &Path) -> Result<Key, Problem> {
    let text = std::fs::read(file)?;
    // The parser's message might quote the key.
    PrivateKeyDer::from_pem_slice(&text).map_err(|_| Problem::NoKey)
}

/// Reads trusted CA certificates.
pub(crate) fn authorities(file: &Path) -> Result<RootCertStore, Problem> {
    let mut store = RootCertStore::empty();
    for certificate in chain(file)? {
        store.add(certificate).map_err(Problem::bad_certificate)?;
    }
    Ok(store)
}

/// Fails unless the key belongs to the certificate.
pub(crate) fn check_pair(chain: Chain, key: Key) -> Result<(), Problem> {
    let pair = CertifiedKey::from_der(chain, key, &provider());
    pair.map(drop).map_err(|error| Problem::BadPair(error.to_string()))
}

/// The cryptography provider of this workspace.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// A variable that names a file, and the file's content.
pub(crate) struct Named<T> {
    /// The variable.
    pub(crate) variable: String,
    /// The file, if the variable is set.
    pub(crate) file: Option<PathBuf>,
    /// The content; `None` if it could not be read, which is recorded as a mistake.
    pub(crate) content: Option<T>,
}

impl<T> Named<T> {
    /// Reads the variable and the file.
    pub(crate) fn read(
        env: &mut Env,
        variable: &str,
        about: &str,
        read: fn(&Path) -> Result<T, Problem>,
    ) -> Self {
        let file: Option<PathBuf> = env.about(about).file(variable);
        let content = file.as_deref().and_then(|file| env.accept(variable, read(file)));
        Self { variable: variable.to_owned(), file, content }
    }

    /// Records a mistake if this is set and the other is not.
    pub(crate) fn needs<U>(&self, env: &mut Env, other: &Named<U>) {
        if self.file.is_some() && other.file.is_none() {
            env.reject(&self.variable, format!("is of no use without {}", other.variable));
        }
    }
}

/// Records a mistake if only one of certificate and key is set, or they do not belong together; true for a good pair.
pub(crate) fn check_identity(env: &mut Env, certificate: &Named<Chain>, key: &Named<Key>) -> bool {
    certificate.needs(env, key);
    key.needs(env, certificate);
    let pair = certificate.content.clone().zip(key.content.as_ref().map(Key::clone_key));
    pair.is_some_and(|(chain, content)| env.accept(&key.variable, check_pair(chain, content)).is_some())
}

/// Files that verify a server and authenticate this client. The drivers read the files; this module checks them first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientFiles {
    /// CA certificates that verify the server.
    pub ca: Option<PathBuf>,
    /// Client certificate and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
}

impl ClientFiles {
    /// Reads `<prefix>_CA_FILE`, `<prefix>_CERT_FILE` and `<prefix>_KEY_FILE`.
    pub fn read(env: &mut Env, prefix: &str, server: &str) -> Self {
        let name = |what: &str| format!("{prefix}_{what}_FILE");
        let about = format!(
            "PEM file of the CA certificates that verify {server}. Default: the system's trust store."
        );
        let ca = Named::read(env, &name("CA"), &about, authorities);
        let about = format!(
            "PEM file of the client certificate for {server}, followed by its intermediate certificates."
        );
        let certificate = Named::read(env, &name("CERT"), &about, chain);
        let about = "PEM file of the private key of the client certificate.";
        let key = Named::read(env, &name("KEY"), about, key);
        check_identity(env, &certificate, &key);
        Self { ca: ca.file, identity: certificate.file.zip(key.file) }
    }

    /// True if any of them is set.
    pub fn any(&self) -> bool {
        self.ca.is_some() || self.identity.is_some()
    }
}

#[cfg(test)]
mod tests {
    use crate::test_certificates::{Authority, Folder};

    use super::*;

    fn mistakes(pairs: &[(&str, &str)]) -> Vec<String> {
        let mut env = Env::from_pairs(pairs.iter().copied());
        let files = ClientFiles::read(&mut env, "NATS", "NATS");
        match env.finish(files) {
            Ok(_) => Vec::new(),
            Err(error) => {
                error.mistakes.into_iter().map(|m| format!("{}: {}", m.variable, m.problem)).collect()
            }
        }
    }

    #[test]
    fn good_files_are_taken_and_nothing_set_is_fine() {
        let (folder, authority) = (Folder::new(), Authority::new());
        let (certificate, key) = authority.client();
        let ca = folder.file("ca.pem", &authority.pem());
        let certificate = folder.file("client.pem", &certificate);
        let key = folder.file("client.key", &key);
        assert!(mistakes(&[]).is_empty());
        assert!(mistakes(&[("NATS_CA_FILE", &ca)]).is_empty());
        let all = [("NATS_CA_FILE", &*ca), ("NATS_CERT_FILE", &certificate), ("NATS_KEY_FILE", &key)];
        assert!(mistakes(&all).is_empty(), "{:?}", mistakes(&all));
    }

    #[test]
    fn every_mistake_is_said_and_no_path() {
        let (folder, authority) = (Folder::new(), Authority::new());
        let (certificate, _) = authority.client();
        let (_, another_key) = authority.client();
        let nonsense = folder.file("nonsense", "hunter2");
        let damaged =
            folder.file("damaged", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
        let certificate = folder.file("client.pem", &certificate);
        let another_key = folder.file("another.key", &another_key);
        for (pairs, wanted) in [
            (vec![("NATS_CA_FILE", "/not/there")], "NATS_CA_FILE: names a file that cannot be read"),
            (vec![("NATS_CA_FILE", &*nonsense)], "NATS_CA_FILE: names a file without a PEM certificate"),
            (vec![("NATS_CA_FILE", &*damaged)], "NATS_CA_FILE: names a file with a damaged certificate"),
            (vec![("NATS_CERT_FILE", &*certificate)], "NATS_CERT_FILE: is of no use without NATS_KEY_FILE"),
            (vec![("NATS_KEY_FILE", &*another_key)], "NATS_KEY_FILE: is of no use without NATS_CERT_FILE"),
            (
                vec![("NATS_CERT_FILE", &*certificate), ("NATS_KEY_FILE", &*nonsense)],
                "NATS_KEY_FILE: names a file without a PEM private key",
            ),
            (
                vec![("NATS_CERT_FILE", &*certificate), ("NATS_KEY_FILE", &*another_key)],
                "NATS_KEY_FILE: names a key that does not fit its certificate",
            ),
        ] {
            let said = mistakes(&pairs);
            assert_eq!(said.len(), 1, "{said:?}");
            assert!(said[0].starts_with(wanted), "{said:?}");
            assert!(!said[0].contains("hunter2") && !said[0].contains("/not/there"), "{said:?}");
        }
    }
}
