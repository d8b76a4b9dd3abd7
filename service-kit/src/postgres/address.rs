//! The address of PostgreSQL: checks it, and passes the parts that the driver knows.
//!
//! The driver logs the name and the value of each parameter that it does not know, at every pool. A value may be a
//! secret, so unknown parameters are removed before, and named once in a warning without their values.
//!
//! The variables of libpq complete an address.

mod files;
mod parameters;
mod variables;

use sqlx::postgres::PgConnectOptions;
use url::Url;

use self::files::Files;
pub(super) use self::parameters::Fault;
use self::parameters::{MALFORMED, NAMEABLE, parameters_of};
use self::variables::Lookup;
use crate::config::Secret;

/// All faults in one line.
pub(super) fn in_words(faults: &[Fault]) -> String {
    faults.iter().map(Fault::to_string).collect::<Vec<_>>().join("; ")
}

/// A parsed address.
struct Address {
    options: PgConnectOptions,
    /// Names of the parameters that were left out.
    ignored: Vec<String>,
    /// Files of TLS that the driver reads at the first connection.
    files: Files,
}

/// Returns the driver's options for an address.
pub(super) fn options(url: &Secret) -> Result<PgConnectOptions, sqlx::Error> {
    let address = parse(url.expose(), &variables::of_process);
    Ok(address.map_err(|faults| sqlx::Error::Configuration(in_words(&faults).into()))?.options)
}

/// Checks an address, the variables that complete it, and the files that it names, which the driver would read at the
/// first connection. Returns a remark for each kind of parameter that has no effect.
pub(super) fn check(url: &Secret) -> Result<Vec<String>, Vec<Fault>> {
    check_with(url, &variables::of_process)
}

fn check_with(url: &Secret, lookup: Lookup<'_>) -> Result<Vec<String>, Vec<Fault>> {
    let Address { options, ignored, files } = parse(url.expose(), lookup)?;
    let faults = files.faults(options.get_ssl_mode());
    if faults.is_empty() { Ok(remarks(&ignored)) } else { Err(faults) }
}

/// Reads an address as libpq does. The driver's own parser fails, or panics, for forms that libpq takes: an empty host
/// after a user, an IPv6 address. So it only gets parameters, which it does not have to take apart. Faults never quote
/// the address.
fn parse(text: &str, lookup: Lookup<'_>) -> Result<Address, Vec<Fault>> {
    let (mut parameters, ignored) = parameters_of(text).map_err(|problem| vec![Fault::from(problem)])?;
    // As for libpq, an empty value counts as none; but that of a CA certificate keeps its variable out.
    parameters.retain(|(name, value)| !value.is_empty() || files::CA.contains(&name.as_str()));
    let mut faults = variables::complete(&mut parameters, lookup);
    let files = Files::take(&mut parameters, lookup, &mut faults);
    if !faults.is_empty() {
        return Err(faults);
    }
    let malformed = || vec![Fault::from(MALFORMED.to_owned())];
    let mut url = Url::parse("postgres:///").map_err(|_| malformed())?;
    if !parameters.is_empty() {
        url.query_pairs_mut().extend_pairs(&parameters);
    }
    let options: PgConnectOptions = url.as_str().parse().map_err(|_| malformed())?;
    // Poolers refuse parameters of the start-up that they do not know; nothing here reads numbers as text.
    let options = files.correct(options.extra_float_digits(None), lookup);
    Ok(Address { options, ignored, files })
}

fn remarks(ignored: &[String]) -> Vec<String> {
    let (mut named, mut unnamed) = (Vec::new(), 0);
    for name in ignored {
        match NAMEABLE.iter().find(|known| **known == name) {
            Some(known) if named.contains(known) => {}
            Some(known) => named.push(known),
            None => unnamed += 1,
        }
    }
    let mut remarks: Vec<_> =
        named.iter().map(|name| format!("the parameter {name} has no effect")).collect();
    if unnamed > 0 {
        remarks.push(format!("{unnamed} parameters with names unknown here have no effect"));
    }
    remarks
}

#[cfg(test)]
mod tests;
