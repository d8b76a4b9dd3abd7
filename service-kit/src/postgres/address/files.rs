//! The certificates and keys of TLS that an address, or a variable of libpq, names.
//!
//! The driver reads them at the first connection, and takes a CA certificate that it will not verify with.

use std::path::{Path, PathBuf};

use sqlx::postgres::{PgConnectOptions, PgSslMode};

use super::parameters::{Fault, Parameters, mode};
use super::variables::Lookup;
use crate::tls::{self, Problem};

pub(super) const CA: [&str; 3] = ["sslrootcert", "ssl-root-cert", "ssl-ca"];
const CERTIFICATE: [&str; 2] = ["sslcert", "ssl-cert"];
const KEY: [&str; 2] = ["sslkey", "ssl-key"];
const CA_VARIABLE: &str = "PGSSLROOTCERT";
const CERTIFICATE_VARIABLE: &str = "PGSSLCERT";
const KEY_VARIABLE: &str = "PGSSLKEY";

/// What is named.
pub(super) struct Files {
    ca: Option<Named>,
    certificate: Option<Named>,
    key: Option<Named>,
}

/// A certificate or key, and what names it.
struct Named {
    /// The first of its parameters.
    parameter: &'static str,
    /// The variable; none: the address.
    variable: Option<&'static str>,
    content: Content,
}

enum Content {
    File(PathBuf),
    /// A variable may hold the text itself.
    Text,
    /// libpq's word for the authorities that are trusted anyway.
    System,
}

impl Files {
    /// Takes what is named. `sslrootcert=system` is taken out of the parameters, since the driver would look for a file
    /// of that name, and means `sslmode=verify-full` unless there is another mode. An empty one is taken out as well.
    /// As for libpq, the variable does not count then, nor where no TLS is used.
    pub(super) fn take(parameters: &mut Parameters, lookup: Lookup<'_>, faults: &mut Vec<Fault>) -> Self {
        let ca = Named::find(parameters, &CA, CA_VARIABLE, lookup)
            .filter(|ca| ca.variable.is_none() || may_use_tls(parameters));
        let certificate = Named::find(parameters, &CERTIFICATE, CERTIFICATE_VARIABLE, lookup);
        let key = Named::find(parameters, &KEY, KEY_VARIABLE, lookup);
        for (named, variable) in [(&certificate, CERTIFICATE_VARIABLE), (&key, KEY_VARIABLE)] {
            // The driver would take the blank one for the name of a file.
            if named.is_none() && lookup(variable).is_some() {
                faults.push(Fault { variable: Some(variable), text: "is blank: unset it".to_owned() });
            }
        }
        let files = Self { ca, certificate, key };
        if !files.names_ca() {
            parameters.retain(|(name, _)| !CA.contains(&name.as_str()));
        }
        if files.uses_system() && mode(parameters).is_none() {
            parameters.push(("sslmode".to_owned(), "verify-full".to_owned()));
        }
        files
    }

    /// Undoes what the driver has made of a variable that is blank, says `system`, or does not count. There is no way
    /// back to none: a text without certificates adds none to those that are built in.
    pub(super) fn correct(&self, options: PgConnectOptions, lookup: Lookup<'_>) -> PgConnectOptions {
        if self.names_ca() || lookup(CA_VARIABLE).is_none() {
            return options;
        }
        options.ssl_root_cert_from_pem(Vec::new())
    }

    fn names_ca(&self) -> bool {
        matches!(&self.ca, Some(Named { content: Content::File(_) | Content::Text, .. }))
    }

    fn uses_system(&self) -> bool {
        matches!(&self.ca, Some(Named { content: Content::System, .. }))
    }

    /// What is wrong with them, for a connection of this mode.
    pub(super) fn faults(&self, mode: PgSslMode) -> Vec<Fault> {
        let mut faults = Vec::new();
        if let Some(ca) = &self.ca {
            let verifies = match (mode, &ca.content) {
                (PgSslMode::VerifyFull, _) => true,
                // Anybody can have a certificate of these authorities, for another name.
                (PgSslMode::VerifyCa, content) => !matches!(content, Content::System),
                _ => false,
            };
            if !verifies {
                let text = "names a CA certificate (sslrootcert), and the sslmode does not verify the server with it: \
                            write sslmode=verify-full";
                faults.push(ca.fault(text.to_owned()));
            }
        }
        match (&self.certificate, &self.key) {
            (Some(one), None) => faults.push(one.alone(KEY_VARIABLE)),
            (None, Some(one)) => faults.push(one.alone(CERTIFICATE_VARIABLE)),
            _ => {}
        }
        faults.extend(self.check().err());
        faults
    }

    /// Reads the files.
    fn check(&self) -> Result<(), Fault> {
        read(&self.ca, tls::authorities)?;
        let chain = read(&self.certificate, tls::chain)?;
        let key = read(&self.key, tls::key)?;
        match (chain, key, &self.key) {
            (Some(chain), Some(key), Some(named)) => {
                tls::check_pair(chain, key).map_err(|problem| named.wrong(&problem))
            }
            _ => Ok(()),
        }
    }
}

fn read<T>(named: &Option<Named>, read: fn(&Path) -> Result<T, Problem>) -> Result<Option<T>, Fault> {
    match named {
        Some(named @ Named { content: Content::File(file), .. }) => {
            read(file).map(Some).map_err(|problem| named.wrong(&problem))
        }
        _ => Ok(None),
    }
}

impl Named {
    /// The driver takes the last parameter of a kind, else the variable.
    fn find(
        parameters: &Parameters,
        names: &[&'static str],
        variable: &'static str,
        lookup: Lookup<'_>,
    ) -> Option<Self> {
        let last = parameters.iter().rev().find(|(name, _)| names.contains(&name.as_str()));
        let (variable, value) = match last {
            Some((_, value)) if value.is_empty() => return None,
            Some((_, value)) => (None, value.clone()),
            None => (Some(variable), lookup(variable).filter(|value| !value.trim().is_empty())?),
        };
        let text = variable.is_some() && value.trim_start().starts_with("-----BEGIN");
        let content = match value.trim() {
            "system" if names == CA => Content::System,
            _ if text => Content::Text,
            _ => Content::File(PathBuf::from(value)),
        };
        Some(Self { parameter: names[0], variable, content })
    }

    fn fault(&self, text: String) -> Fault {
        Fault { variable: self.variable, text }
    }

    fn wrong(&self, problem: &Problem) -> Fault {
        match self.variable {
            Some(_) => self.fault(problem.to_string()),
            None => self.fault(format!("is wrong about {}, which {problem}", self.parameter)),
        }
    }

    /// The other one, which this variable may hold, is missing.
    fn alone(&self, other: &str) -> Fault {
        match self.variable {
            Some(_) => self.fault(format!("is of no use without {other}")),
            None => self.fault("names sslcert without sslkey, or sslkey without sslcert".to_owned()),
        }
    }
}

/// Whether a connection with these parameters may use TLS: not with `sslmode=disable`, and not over a socket.
fn may_use_tls(parameters: &Parameters) -> bool {
    let is_socket = parameters.iter().any(|(name, value)| name == "host" && value.starts_with('/'));
    !is_socket && !matches!(mode(parameters).map(str::parse::<PgSslMode>), Some(Ok(PgSslMode::Disable)))
}
