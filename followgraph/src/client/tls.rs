//! TLS to both services: which files it needs, and what to say if one cannot be read.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::builder::FalseyValueParser;
use tonic::transport::{Certificate, ClientTlsConfig, Identity};

/// How to verify the services, and how to authenticate to them.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Encryption (TLS); without any of these, connections are not encrypted")]
pub struct TlsArgs {
    /// Use TLS, and trust the certificate authorities of this system
    ///
    /// The variable is off if it is empty, 0, n, no, f, false or off.
    #[arg(long, env = "FOLLOWGRAPH_TLS", value_parser = FalseyValueParser::new(), global = true)]
    pub tls: bool,

    /// Use TLS, and trust the certificate authorities in this PEM file
    #[arg(long, env = "FOLLOWGRAPH_CA_FILE", value_name = "FILE", global = true)]
    pub ca: Option<PathBuf>,

    /// PEM file of the client certificate, for services that require one
    #[arg(long, env = "FOLLOWGRAPH_CERT_FILE", value_name = "FILE", global = true)]
    pub cert: Option<PathBuf>,

    /// PEM file of the client certificate's private key
    #[arg(long, env = "FOLLOWGRAPH_KEY_FILE", value_name = "FILE", global = true)]
    pub key: Option<PathBuf>,

    /// Name in the services' certificates, if it is not the host of the address
    #[arg(long, env = "FOLLOWGRAPH_SERVER_NAME", value_name = "NAME", global = true)]
    pub server_name: Option<String>,
}

/// The TLS settings; `None` for connections without TLS.
pub fn config(args: &TlsArgs) -> anyhow::Result<Option<ClientTlsConfig>> {
    if args.cert.is_some() != args.key.is_some() {
        bail!(
            "--cert and --key (FOLLOWGRAPH_CERT_FILE, FOLLOWGRAPH_KEY_FILE) belong together: one is missing"
        );
    }
    if !args.tls && args.ca.is_none() && args.cert.is_none() {
        return Ok(None);
    }
    let mut config = match &args.ca {
        Some(file) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(file, "--ca")?)),
        None => ClientTlsConfig::new().with_native_roots(),
    };
    if let (Some(certificate), Some(key)) = (&args.cert, &args.key) {
        config = config.identity(Identity::from_pem(read(certificate, "--cert")?, read(key, "--key")?));
    }
    if let Some(name) = &args.server_name {
        config = config.domain_name(name);
    }
    Ok(Some(config))
}

fn read(file: &Path, argument: &str) -> anyhow::Result<Vec<u8>> {
    let content = std::fs::read(file)
        .with_context(|| format!("cannot read {}, the file of {argument}", file.display()))?;
    // A byte order mark would hide the first line, which names the content.
    Ok(content.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&content).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tls_is_off_by_default() {
        assert!(config(&TlsArgs::default()).expect("nothing to read").is_none());
        let args = TlsArgs { tls: true, ..TlsArgs::default() };
        assert!(config(&args).expect("nothing to read").is_some());
        let args = TlsArgs { ca: Some("/not/there".into()), ..TlsArgs::default() };
        let text = config(&args).expect_err("no such file").to_string();
        assert!(text.contains("/not/there") && text.contains("--ca"), "{text}");
    }
}
