//! TLS towards both services.
//!
//! Owns: which files are read for it, and what is said where one cannot be. It must not know who is called.

use std::path::Path;

use anyhow::{Context as _, bail};
use tonic::transport::{Certificate, ClientTlsConfig, Identity};

use crate::args::TlsArgs;

/// What is asked for; none for clear text.
pub fn config(args: &TlsArgs) -> anyhow::Result<Option<ClientTlsConfig>> {
    if args.cert.is_some() != args.key.is_some() {
        bail!(
            "--cert and --key (FOLLOWGRAPH_CERT_FILE, FOLLOWGRAPH_KEY_FILE) belong together: one is missing"
        );
    }
    if !args.tls && args.ca.is_none() && args.cert.is_none() {
        return Ok(None);
    }
    let config = match &args.ca {
        Some(file) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(file, "--ca")?)),
        None => ClientTlsConfig::new().with_native_roots(),
    };
    let config = match (&args.cert, &args.key) {
        (Some(certificate), Some(key)) => {
            config.identity(Identity::from_pem(read(certificate, "--cert")?, read(key, "--key")?))
        }
        _ => config,
    };
    Ok(Some(match &args.server_name {
        Some(name) => config.domain_name(name),
        None => config,
    }))
}

fn read(file: &Path, argument: &str) -> anyhow::Result<Vec<u8>> {
    let content = std::fs::read(file)
        .with_context(|| format!("cannot read {}, the file of {argument}", file.display()))?;
    // A byte order mark would hide the first line, which says what the file is.
    Ok(content.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&content).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clear_text_is_what_is_spoken_unless_tls_is_asked_for() {
        assert!(config(&TlsArgs::default()).expect("nothing to read").is_none());
        let args = TlsArgs { tls: true, ..TlsArgs::default() };
        assert!(config(&args).expect("nothing to read").is_some());
        let args = TlsArgs { ca: Some("/not/there".into()), ..TlsArgs::default() };
        let text = config(&args).expect_err("no such file").to_string();
        assert!(text.contains("/not/there") && text.contains("--ca"), "{text}");
    }
}
