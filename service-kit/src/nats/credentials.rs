//! The file with which a user of NATS logs in: a JWT, and the seed of the key that the JWT names.

use std::path::Path;

use async_nats::Auth;
use nkeys::KeyPair;

use crate::config::Secret;

/// A user's JWT and key.
#[derive(Debug)]
pub(super) struct Credentials {
    jwt: Secret,
    key: KeyPair,
}

/// Why a file cannot be used. The text never quotes the file.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The file is missing, or not readable by this process.
    #[error("cannot be read: {0}")]
    Read(#[from] std::io::Error),
    /// The file does not have the form of nsc and nats-server.
    #[error("does not hold a JWT and a seed between lines of dashes")]
    Form,
    /// The seed is damaged.
    #[error("holds a seed that is not one of a user")]
    Seed,
}

impl Credentials {
    /// Reads a file.
    pub(super) fn read(file: &Path) -> Result<Self, Error> {
        Self::parse(&std::fs::read_to_string(file)?)
    }

    /// The JWT is in the first decorated block, the seed in the second.
    fn parse(text: &str) -> Result<Self, Error> {
        let mut lines = text.lines().map(str::trim);
        let mut block = || {
            lines.find(|line| line.starts_with("---") && line.contains("BEGIN"))?;
            lines.next().filter(|line| !line.is_empty() && !line.starts_with("---"))
        };
        let (jwt, seed) = block().zip(block()).ok_or(Error::Form)?;
        let key = KeyPair::from_seed(seed).map_err(|_| Error::Seed)?;
        Ok(Self { jwt: Secret::new(jwt), key })
    }

    /// The answer to a server's challenge.
    pub(super) fn sign(&self, nonce: &[u8]) -> Result<Auth, Error> {
        let mut auth = Auth::new();
        auth.jwt = Some(self.jwt.expose().to_owned());
        auth.signature = Some(self.key.sign(nonce).map_err(|_| Error::Seed)?);
        Ok(auth)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(jwt: &str, seed: &str) -> String {
        format!(
            "-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n\
             ************* IMPORTANT *************\nKeep it secret.\n\n\
             -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
        )
    }

    #[test]
    fn a_file_of_the_usual_form_signs_a_challenge() {
        let key = KeyPair::new_user();
        let seed = key.seed().expect("a seed");
        let credentials = Credentials::parse(&file("a.b.c", &seed)).expect("a good file");
        let auth = credentials.sign(b"nonce").expect("a signature");
        assert_eq!(auth.jwt.as_deref(), Some("a.b.c"));
        key.verify(b"nonce", &auth.signature.expect("a signature")).expect("the key's own");
    }

    #[test]
    fn a_bad_file_is_refused_and_not_quoted() {
        for text in ["", "hunter2", &file("", "hunter2"), &file("hunter2", ""), &file("hunter2", "hunter3")] {
            let error = Credentials::parse(text).expect_err("a bad file").to_string();
            assert!(!error.contains("hunter"), "{error}");
        }
    }
}
