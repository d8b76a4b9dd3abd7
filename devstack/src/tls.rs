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
        let text = |path: &Path| path.display().to_string();
        ["NATS", "NEO4J"].into_iter().fold(Env::default(), |env, server| {
            env.with(&format!("{server}_CA_FILE"), text(&self.ca))
                .with(&format!("{server}_CERT_FILE"), text(&self.client_cert))
                .with(&format!("{server}_KEY_FILE"), text(&self.client_key))
        })
    }

    /// Variables for the gRPC port of a service.
    pub fn grpc_env(&self) -> Env {
        let text = |path: &Path| path.display().to_string();
        Env::default()
            .with("GRPC_TLS_CERT_FILE", text(&self.server_cert))
            .with("GRPC_TLS_KEY_FILE", text(&self.server_key))
            .with("GRPC_TLS_CLIENT_CA_FILE", text(&self.ca))
    }

    /// Variables of the CLI for that port.
    pub fn client_env(&self) -> Env {
        let text = |path: &Path| path.display().to_string();
        Env::default()
            .with("FOLLOWGRAPH_CA_FILE", text(&self.ca))
            .with("FOLLOWGRAPH_CERT_FILE", text(&self.client_cert))
            .with("FOLLOWGRAPH_KEY_FILE", text(&self.client_key))
    }
}

/// Copies a file; creates the folder if it is missing.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    if let Some(folder) = to.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    std::fs::copy(from, to).map(drop).with_context(|| format!("cannot copy {}", from.display()))
}
