//! Certificates of a set whose servers speak only TLS and require certificates of their clients.
//!
//! The test that wants such a set makes the files.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::env_file::Env;

/// PEM files. All certificates are of one authority.
#[derive(Debug, Clone)]
pub struct Tls {
    /// The authority's own certificate.
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
    /// The query of a PostgreSQL address.
    pub fn postgres_parameters(&self) -> String {
        format!(
            "?sslmode=verify-full&sslrootcert={}&sslcert={}&sslkey={}",
            self.ca.display(),
            self.client_cert.display(),
            self.client_key.display()
        )
    }

    /// What services and the CLI need to reach NATS and Neo4j.
    pub fn env(&self) -> Env {
        let text = |path: &Path| path.display().to_string();
        ["NATS", "NEO4J"].into_iter().fold(Env::default(), |env, server| {
            env.with(&format!("{server}_CA_FILE"), text(&self.ca))
                .with(&format!("{server}_CERT_FILE"), text(&self.client_cert))
                .with(&format!("{server}_KEY_FILE"), text(&self.client_key))
        })
    }

    /// What a service needs for its gRPC port.
    pub fn grpc_env(&self) -> Env {
        let text = |path: &Path| path.display().to_string();
        Env::default()
            .with("GRPC_TLS_CERT_FILE", text(&self.server_cert))
            .with("GRPC_TLS_KEY_FILE", text(&self.server_key))
            .with("GRPC_TLS_CLIENT_CA_FILE", text(&self.ca))
    }

    /// What the CLI needs to reach such a port.
    pub fn client_env(&self) -> Env {
        let text = |path: &Path| path.display().to_string();
        Env::default()
            .with("FOLLOWGRAPH_CA_FILE", text(&self.ca))
            .with("FOLLOWGRAPH_CERT_FILE", text(&self.client_cert))
            .with("FOLLOWGRAPH_KEY_FILE", text(&self.client_key))
    }
}

/// Copies a file to where a server looks for it.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    if let Some(folder) = to.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    std::fs::copy(from, to).map(drop).with_context(|| format!("cannot copy {}", from.display()))
}
