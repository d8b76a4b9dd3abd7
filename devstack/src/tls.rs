//! Certificates of a set whose servers speak only TLS and require certificates of their clients.
//!
//! The test that uses such a set creates the files.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::env_file::Env;

/// PEM files. One authority signs all certificates.
#[derive(Debug, Clone)]
pub struct Tls {
    /// The authority's certificate.
    pub ca: PathBuf,
    /// The servers' certificate, for 127.0.0.1.
    pub server_cert: PathBuf,
    /// Its key, PKCS#8.
    pub server_key: PathBuf,
    /// The clients' certificate.
    pub client_cert: PathBuf,
    /// Its key, PKCS#8.
    pub client_key: PathBuf,
}

impl Tls {
    /// The query part of a PostgreSQL URL.
    pub fn postgres_parameters(&self) -> String {
        format!(
            "?sslmode=verify-full&sslrootcert={}&sslcert={}&sslkey={}",
            self.ca.display(),
            self.client_cert.display(),
            self.client_key.display()
        )
    }

    /// Variables for NATS and Neo4j, of services and the CLI.
    pub fn env(&self) -> Env {
        let mut env = self.client_files("NATS");
        env.extend(&self.client_files("NEO4J"));
        env
    }

    /// Variables for the gRPC port of a service.
    pub fn grpc_env(&self) -> Env {
        Env::default()
            .with_path("GRPC_TLS_CERT_FILE", &self.server_cert)
            .with_path("GRPC_TLS_KEY_FILE", &self.server_key)
            .with_path("GRPC_TLS_CLIENT_CA_FILE", &self.ca)
    }

    /// Variables of the CLI for that port.
    pub fn client_env(&self) -> Env {
        self.client_files("FOLLOWGRAPH")
    }

    fn client_files(&self, server: &str) -> Env {
        Env::default()
            .with_path(&format!("{server}_CA_FILE"), &self.ca)
            .with_path(&format!("{server}_CERT_FILE"), &self.client_cert)
            .with_path(&format!("{server}_KEY_FILE"), &self.client_key)
    }
}

/// Copies a file; creates the folder if it is missing.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    if let Some(folder) = to.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    std::fs::copy(from, to).map(drop).with_context(|| format!("cannot copy {}", from.display()))
}
