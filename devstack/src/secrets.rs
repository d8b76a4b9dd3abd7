//! Random passwords and keys of one set of development servers, in a file that only its owner can read.
//!
//! Other users of the machine can reach the loopback ports, so no secret has a fixed value.

use std::{fs, path::Path, sync::OnceLock};

use anyhow::{Context, Result};

use crate::{env_file::Env, principals::Principal, private_file};

const POSTGRES: &str = "POSTGRES_PASSWORD";
const NEO4J: &str = "NEO4J_PASSWORD";
const TOKEN: &str = "TOKEN";
const PAGE_KEY: &str = "PAGE_KEY";

/// The secrets of one set.
#[derive(Clone, PartialEq, Eq)]
pub struct Secrets {
    /// Of the PostgreSQL user `followgraph`.
    pub postgres_password: String,
    /// Of the Neo4j user `neo4j`.
    pub neo4j_password: String,
    /// The bearer token with all scopes.
    pub token: String,
    /// Signs page tokens.
    pub page_key: String,
    /// Of each principal at NATS and, the owner's apart, at PostgreSQL.
    passwords: Vec<(Principal, String)>,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Secrets(..)")
    }
}

impl Secrets {
    /// Writes the passwords that a temporary set shares, because a new one costs seconds: Neo4j's with the sets of this
    /// process, that of PostgreSQL's owner with all sets of this user.
    pub(crate) fn begin_temporary(file: &Path, postgres_password: &str) -> Result<()> {
        static SHARED: OnceLock<String> = OnceLock::new();
        let password = match SHARED.get() {
            Some(known) => known,
            None => {
                let made = random_hex(16)?;
                SHARED.get_or_init(|| made)
            }
        };
        let shared = Env::default().with(NEO4J, password).with(POSTGRES, postgres_password);
        private_file::write(file, &shared.to_text())
    }

    /// Reads the secrets in `file`; generates those that are missing and writes them to it.
    pub fn load_or_create(file: &Path) -> Result<Self> {
        let text = match fs::read_to_string(file) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            text => text.with_context(|| format!("cannot read {}", file.display()))?,
        };
        let known = Env::parse(&text).with_context(|| format!("cannot parse {}", file.display()))?;
        let mut env = known.clone();
        let mut get = |name: &str, prefix: &str, bytes: usize| -> Result<String> {
            if let Some(value) = known.get(name) {
                return Ok(value.to_owned());
            }
            let made = format!("{prefix}{}", random_hex(bytes)?);
            env.set(name, &made);
            Ok(made)
        };
        let secrets = Self {
            postgres_password: get(POSTGRES, "", 16)?,
            neo4j_password: get(NEO4J, "", 16)?,
            token: get(TOKEN, "dev-", 16)?,
            page_key: get(PAGE_KEY, "", 32)?,
            passwords: Principal::ALL
                .into_iter()
                // NATS parses values from its environment like its configuration: one that begins with a
                // digit might be a number.
                .map(|who| Ok((who, get(who.nats_password_variable(), "p", 16)?)))
                .collect::<Result<_>>()?,
        };
        if env != known {
            private_file::write(file, &env.to_text())?;
        }
        Ok(secrets)
    }

    /// The password of a principal.
    pub fn password_of(&self, who: Principal) -> &str {
        let found = self.passwords.iter().find(|(principal, _)| *principal == who);
        // `passwords` has every principal.
        found.map_or("", |(_, password)| password)
    }
}

/// `bytes` random bytes from the kernel, as hexadecimal text.
pub fn random_hex(bytes: usize) -> Result<String> {
    let mut buffer = vec![0; bytes];
    getrandom::fill(&mut buffer).context("cannot read random numbers")?;
    Ok(hex::encode(buffer))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn secrets_are_generated_once_and_private() {
        let folder = std::env::temp_dir().join(format!("devstack-secrets-{}", std::process::id()));
        let file = folder.join("secrets");
        let first = Secrets::load_or_create(&file).unwrap();
        assert_eq!(Secrets::load_or_create(&file).unwrap(), first);
        for who in Principal::ALL {
            assert!(first.password_of(who).starts_with('p'), "{who:?}");
        }
        let mode = fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn secrets_do_not_show_in_debug_output() {
        let secrets = Secrets {
            postgres_password: "hidden".into(),
            neo4j_password: "hidden".into(),
            token: "hidden".into(),
            page_key: "hidden".into(),
            passwords: vec![(Principal::Command, "hidden".into())],
        };
        assert!(!format!("{secrets:?}").contains("hidden"));
    }
}
