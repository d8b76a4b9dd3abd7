//! The variables of libpq that fill in what an address leaves open.
//!
//! The driver reads them as well, but ignores a wrong value and accepts a blank one: a misspelt `PGSSLMODE` would turn
//! verification off. So they are checked here, and passed to the driver as parameters.

use std::path::Path;

use super::parameters::{Fault, Parameters, of_query};

/// Finds the value of a variable. Tests have their own.
pub(super) type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// A variable of this process. One that is not valid UTF-8 counts as absent, as for the driver.
pub(super) fn of_process(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The parameters that say the same, the variable, and the parameter as which it reaches the driver. Of two variables
/// for the same, the first counts.
const VARIABLES: [(&[&str], &str, &str); 4] = [
    (&["port"], "PGPORT", "port"),
    (PLACE, "PGHOSTADDR", "hostaddr"),
    (PLACE, "PGHOST", "host"),
    (&["sslmode", "ssl-mode"], "PGSSLMODE", "sslmode"),
];
const PLACE: &[&str] = &["host", "hostaddr"];

/// Adds what variables say to the parameters of an address, and returns what is wrong with them. A blank one counts as
/// absent.
pub(super) fn complete(parameters: &mut Parameters, lookup: Lookup<'_>) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (names, variable, parameter) in VARIABLES {
        let value = lookup(variable).unwrap_or_default().trim().to_owned();
        if value.is_empty() || names.iter().any(|name| find(parameters, name).is_some()) {
            continue;
        }
        match of_query(parameter, value) {
            Ok(value) => parameters.push((parameter.to_owned(), value)),
            Err(text) => faults.push(Fault { variable: Some(variable), text }),
        }
    }
    if PLACE.iter().all(|name| find(parameters, name).is_none()) {
        // The driver's default, except that the driver accepts a blank variable as a host. The choice of TLS depends on
        // whether it is a socket.
        let host = default_host(find(parameters, "port").unwrap_or("5432"));
        parameters.push(("host".to_owned(), host));
    }
    let blank = lookup("PGUSER").is_some_and(|user| user.trim().is_empty());
    if blank && find(parameters, "user").is_none() {
        // The driver would use the blank name; only it knows the operating system's user.
        let text = "is blank, and the address names no user: name one".to_owned();
        faults.push(Fault { variable: Some("PGUSER"), text });
    }
    faults
}

/// The value of a parameter.
fn find<'a>(parameters: &'a Parameters, name: &str) -> Option<&'a str> {
    parameters.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

/// Where the driver connects to if nothing names a host: the socket of the machine if there is one.
fn default_host(port: &str) -> String {
    let socket = format!(".s.PGSQL.{port}");
    let mut folders = ["/var/run/postgresql", "/private/tmp", "/tmp"].into_iter();
    folders.find(|folder| Path::new(folder).join(&socket).exists()).unwrap_or("localhost").to_owned()
}
