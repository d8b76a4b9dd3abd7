//! Certificates for a set of servers with TLS, new for each test.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use devstack::Tls;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};

/// A CA and its certificates, in a folder that is removed on drop.
#[derive(Debug)]
pub struct Certificates {
    folder: PathBuf,
}

impl Certificates {
    /// Creates a CA, a certificate for servers on this machine and one for clients.
    #[must_use]
    pub fn make() -> Self {
        let folder = std::env::temp_dir().join(format!("followgraph-tls-{}", crate::new_user()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let mut authority = named("authority of a test");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("a key");
        write(&folder, "ca.pem", &authority.self_signed(&key).expect("a certificate").pem());
        let authority = Issuer::new(authority, key);

        for (name, purpose) in
            [("server", ExtendedKeyUsagePurpose::ServerAuth), ("client", ExtendedKeyUsagePurpose::ClientAuth)]
        {
            let mut params = named(name);
            params.subject_alt_names = vec![SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST))];
            params.extended_key_usages = vec![purpose];
            let key = KeyPair::generate().expect("a key");
            let certificate = params.signed_by(&key, &authority).expect("a certificate");
            write(&folder, &format!("{name}.pem"), &certificate.pem());
            write(&folder, &format!("{name}.key"), &key.serialize_pem());
        }
        Self { folder }
    }

    /// The folder of the files.
    #[must_use]
    pub fn files(&self) -> Tls {
        let file = |name: &str| self.folder.join(name);
        Tls {
            ca: file("ca.pem"),
            server_cert: file("server.pem"),
            server_key: file("server.key"),
            client_cert: file("client.pem"),
            client_key: file("client.key"),
        }
    }
}

impl Drop for Certificates {
    fn drop(&mut self) {
        // Files left in the temporary folder do no harm.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// With a unique name: if it equalled the issuer's, the certificate would look self-signed.
fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn write(folder: &Path, name: &str, text: &str) {
    std::fs::write(folder.join(name), text).expect("a file");
}
