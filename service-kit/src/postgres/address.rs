//! The address of PostgreSQL: what is wrong with it, and which parts of it the driver gets to see.
//!
//! The driver logs the name and the value of each parameter that it does not know, at every pool. A value may be a
//! secret, so unknown parameters are taken out before, and named once in a remark without their values.

use std::net::{IpAddr, Ipv6Addr};
use std::path::PathBuf;

use sqlx::postgres::{PgConnectOptions, PgSslMode};
use url::{Url, form_urlencoded};

use crate::config::Secret;
use crate::tls;

/// Parameters that the driver understands, in addition to `options[NAME]`.
const UNDERSTOOD: [&str; 18] = [
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "statement-cache-capacity",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
];

/// Parameters of libpq and of poolers that people copy from other services. Only these are named: an unknown name may
/// be the rest of a password with an unescaped `&`.
const NAMEABLE: [&str; 27] = [
    "channel_binding",
    "client_encoding",
    "connect_timeout",
    "connection_limit",
    "gssencmode",
    "keepalives",
    "keepalives_count",
    "keepalives_idle",
    "keepalives_interval",
    "krbsrvname",
    "load_balance_hosts",
    "passfile",
    "pgbouncer",
    "pool_timeout",
    "prepareThreshold",
    "require_auth",
    "schema",
    "service",
    "sslcompression",
    "sslcrl",
    "sslnegotiation",
    "sslpassword",
    "sslsni",
    "ssl_max_protocol_version",
    "ssl_min_protocol_version",
    "target_session_attrs",
    "tcp_user_timeout",
];

/// A parsed address.
struct Address {
    options: PgConnectOptions,
    /// Names of the parameters that were left out.
    ignored: Vec<String>,
    /// Files of TLS that the driver reads at the first connection.
    files: Files,
}

#[derive(Default)]
struct Files {
    ca: Option<PathBuf>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
}

/// Returns the driver's options for an address.
pub(super) fn options(url: &Secret) -> Result<PgConnectOptions, sqlx::Error> {
    Ok(parse(url.expose()).map_err(|problem| sqlx::Error::Configuration(problem.into()))?.options)
}

/// Checks an address and the files that it names, which the driver would read at the first connection. Returns a remark
/// for each kind of parameter that has no effect.
pub(super) fn check(url: &Secret) -> Result<Vec<String>, String> {
    let Address { ignored, files, .. } = parse(url.expose())?;
    if files.certificate.is_some() != files.key.is_some() {
        return Err("names sslcert without sslkey, or sslkey without sslcert".to_owned());
    }
    tls::check_files(files.ca.as_deref(), files.certificate.as_deref(), files.key.as_deref())
        .map_err(|(parameter, problem)| format!("is wrong about {parameter}, which {problem}"))?;
    Ok(remarks(&ignored))
}

/// Reads an address as libpq does. The driver's own parser fails, or panics, for forms that libpq takes: an empty host
/// after a user, an IPv6 address. So it only gets parameters, which it does not have to take apart. Problems never quote
/// the address.
fn parse(text: &str) -> Result<Address, String> {
    let text = text.trim();
    let rest = without_scheme(text)?;
    let (authority, rest) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let mut parameters = of_authority(authority)?;
    // The rest of a password that was cut off. It would be taken for a database, or for nothing.
    let names = query.split('&').map(|pair| pair.split_once('=').map_or(pair, |(name, _)| name));
    if names.chain([path, fragment]).any(|text| text.contains('@')) {
        return Err(format!("has an @ behind its host; {ESCAPES}"));
    }
    parameters.push(("dbname".to_owned(), decoded("database", path.trim_start_matches('/'))?));
    let query = form_urlencoded::parse(query.as_bytes()).into_owned();
    let (understood, ignored): (Vec<_>, Vec<_>) = query.partition(|(name, _)| is_understood(name));
    for (name, value) in understood {
        parameters.push((name.clone(), of_query(&name, value)?));
    }
    let system_roots = uses_system_roots(&mut parameters);
    // As for libpq, an empty value counts as none.
    parameters.retain(|(_, value)| !value.is_empty());
    if system_roots && !parameters.iter().any(|(name, _)| ["sslmode", "ssl-mode"].contains(&name.as_str())) {
        parameters.push(("sslmode".to_owned(), "verify-full".to_owned()));
    }
    let files = Files::of(&parameters);
    let mut url = Url::parse("postgres:///").map_err(|_| malformed())?;
    if !parameters.is_empty() {
        url.query_pairs_mut().extend_pairs(&parameters);
    }
    let options: PgConnectOptions = url.as_str().parse().map_err(|_| malformed())?;
    // Poolers refuse parameters of the start-up that they do not know; nothing here reads numbers as text.
    let options = options.extra_float_digits(None);
    Ok(Address { options, ignored: ignored.into_iter().map(|(name, _)| name).collect(), files })
}

fn malformed() -> String {
    "is not a PostgreSQL address".to_owned()
}

fn without_scheme(text: &str) -> Result<&str, String> {
    let rest = text.strip_prefix("postgres://").or_else(|| text.strip_prefix("postgresql://"));
    rest.ok_or_else(|| {
        let keywords = !text.contains("://") && text.contains('=');
        let hint = if keywords {
            "it consists of keywords and values; write it as postgres://USER:PASSWORD@HOST:PORT/DATABASE"
        } else {
            "it must begin with postgres:// or postgresql://"
        };
        format!("{}: {hint}", malformed())
    })
}

/// User, password, host and port. The last `@` ends the password, as one with an unescaped `@` wants it.
fn of_authority(authority: &str) -> Result<Vec<(String, String)>, String> {
    let (login, place) = authority.rsplit_once('@').unwrap_or(("", authority));
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    if place.contains(',') {
        return Err(SEVERAL_HOSTS.to_owned());
    }
    let (host, port) = if let Some(rest) = place.strip_prefix('[') {
        let (host, rest) = rest.split_once(']').ok_or_else(|| BRACKETS.to_owned())?;
        (host, if rest.is_empty() { "" } else { rest.strip_prefix(':').ok_or_else(|| BRACKETS.to_owned())? })
    } else {
        let (host, port) = place.split_once(':').unwrap_or((place, ""));
        if port.contains(':') {
            return Err(BRACKETS.to_owned());
        }
        (host, port)
    };
    let part = |name: &str, value: String| (name.to_owned(), value);
    Ok(vec![
        part("user", decoded("user", user)?),
        part("password", decoded("password", password)?),
        part("host", host_of(&decoded("host", host)?)?),
        part("port", port_of(port)?),
    ])
}

const SEVERAL_HOSTS: &str = "names several hosts, and the driver takes one: name the primary, or a DNS name or proxy \
                             that leads to it";
const BRACKETS: &str = "has an IPv6 address without brackets: write [ADDRESS]:PORT";
const ESCAPES: &str = "in user and password, write / ? # % @ : as %2F %3F %23 %25 %40 %3A";

/// Checks the value of a parameter that the driver would refuse with an error that quotes it, or at the first connection.
fn of_query(name: &str, value: String) -> Result<String, String> {
    match name {
        _ if value.is_empty() => Ok(value),
        "host" => host_of(&value),
        "hostaddr" => {
            let address = host_of(&value)?;
            match address.parse::<IpAddr>() {
                Ok(_) => Ok(address),
                Err(_) => Err("has a hostaddr that is no IP address".to_owned()),
            }
        }
        "port" => port_of(&value),
        "sslmode" | "ssl-mode" if value.parse::<PgSslMode>().is_err() => {
            Err("has an sslmode that is none of disable, allow, prefer, require, verify-ca, verify-full"
                .to_owned())
        }
        "statement-cache-capacity" if value.parse::<usize>().is_err() => {
            Err("has a statement-cache-capacity that is no number".to_owned())
        }
        _ => Ok(value),
    }
}

/// A name, an address without its brackets, or the folder of a socket.
fn host_of(host: &str) -> Result<String, String> {
    if host.starts_with('/') {
        return Ok(host.to_owned());
    }
    if host.contains(',') {
        return Err(SEVERAL_HOSTS.to_owned());
    }
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if bare.contains(':') {
        // A zone names the interface of a link-local address.
        let address = bare.split_once('%').map_or(bare, |(address, _)| address);
        return match address.parse::<Ipv6Addr>() {
            Ok(_) => Ok(bare.to_owned()),
            Err(_) => Err("has a host that is neither a name nor an IP address".to_owned()),
        };
    }
    if bare.contains(|c: char| c.is_whitespace() || c.is_control() || "@/?#[]".contains(c)) {
        return Err(format!("has a host that is neither a name nor an IP address; {ESCAPES}"));
    }
    Ok(bare.to_owned())
}

fn port_of(port: &str) -> Result<String, String> {
    if port.contains(',') {
        return Err(SEVERAL_HOSTS.to_owned());
    }
    match port.parse::<u16>() {
        _ if port.is_empty() => Ok(String::new()),
        Ok(1..) => Ok(port.to_owned()),
        _ => Err(format!("has a port that is no number from 1 to 65535; {ESCAPES}")),
    }
}

fn decoded(part: &str, text: &str) -> Result<String, String> {
    let decoded = percent_encoding::percent_decode_str(text).decode_utf8();
    decoded.map(Into::into).map_err(|_| format!("has a {part} that is not UTF-8"))
}

/// `sslrootcert=system` is libpq's word for the authorities that are trusted anyway.
fn uses_system_roots(parameters: &mut Vec<(String, String)>) -> bool {
    let before = parameters.len();
    parameters.retain(|(name, value)| !(CA.contains(&name.as_str()) && value == "system"));
    parameters.len() < before
}

const CA: [&str; 3] = ["sslrootcert", "ssl-root-cert", "ssl-ca"];
const CERTIFICATE: [&str; 2] = ["sslcert", "ssl-cert"];
const KEY: [&str; 2] = ["sslkey", "ssl-key"];

impl Files {
    /// The driver takes the last parameter of a kind, else the variable of libpq, which may also hold the text itself.
    fn of(parameters: &[(String, String)]) -> Self {
        let file = |names: &[&str], variable: &str| {
            let named = parameters.iter().rev().find(|(name, _)| names.contains(&name.as_str()));
            let value = named.map(|(_, value)| value.clone()).or_else(|| std::env::var(variable).ok())?;
            (!value.trim_start().starts_with("-----BEGIN")).then(|| PathBuf::from(value))
        };
        Self {
            ca: file(&CA, "PGSSLROOTCERT"),
            certificate: file(&CERTIFICATE, "PGSSLCERT"),
            key: file(&KEY, "PGSSLKEY"),
        }
    }
}

fn is_understood(name: &str) -> bool {
    UNDERSTOOD.contains(&name) || name.starts_with("options[")
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
mod tests {
    use super::*;

    #[test]
    fn unknown_parameters_are_named_once_without_values() {
        let url = Secret::from(
            "postgres://app:pw@h/main?sslmode=prefer&sslpassword=hunter2&PASSWORD=hunter3&hunter4\
             &channel_binding=require&channel_binding=hunter5",
        );
        let remarks = check(&url).expect("a valid address");
        assert_eq!(
            remarks,
            [
                "the parameter sslpassword has no effect",
                "the parameter channel_binding has no effect",
                "2 parameters with names unknown here have no effect"
            ]
        );
    }

    #[test]
    fn understood_parameters_reach_the_driver_unchanged() {
        let url = Secret::from(
            "postgresql://h/main?user=a%20b&password=p%26w&port=77&options=-c%20jit%3Doff&pgbouncer=true\
             &options[search_path]=x&application_name=n#frag",
        );
        let options = options(&url).expect("a valid address");
        assert_eq!((options.get_username(), options.get_port()), ("a b", 77));
        assert_eq!(options.get_application_name(), Some("n"));
        assert_eq!(options.get_options(), Some("-c jit=off -c search_path=x"));
        assert!(format!("{options:?}").contains("p&w"));
    }

    #[test]
    fn forms_of_libpq_lead_to_the_same_place() {
        let place = |text: &str| {
            let options = options(&Secret::from(text)).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(check(&Secret::from(text)), Ok(vec![]), "{text}");
            let socket = options.get_socket().map(|path| path.to_string_lossy().into_owned());
            (socket.unwrap_or_else(|| options.get_host().to_owned()), options.get_port())
        };
        let tcp = |host: &str, port| (host.to_owned(), port);
        for (text, wanted) in [
            ("postgres://u:p@[::1]:5433/db", tcp("::1", 5433)),
            ("postgres://u:p@[2001:db8::7]:5433/db?sslmode=verify-full", tcp("2001:db8::7", 5433)),
            ("postgres://u:p@[fe80::1%25eth0]:5433/db", tcp("fe80::1%eth0", 5433)),
            ("postgres://u:p@h:5433/db?hostaddr=::1", tcp("::1", 5433)),
            ("postgres://u:p@h:5433/db?host=::1", tcp("::1", 5433)),
            ("postgres://u:p@h:5433/db?host=[::1]", tcp("::1", 5433)),
            ("postgres://u:p@/db?host=/cloudsql/a:b:c&port=5433", tcp("/cloudsql/a:b:c", 5433)),
            ("postgres://u:p@:5433/db?host=h", tcp("h", 5433)),
            ("postgres://u:p@ignored:5433/db?host=/run/postgresql", tcp("/run/postgresql", 5433)),
            ("postgres://u:p@%2Frun%2Fpostgresql:5433/db", tcp("/run/postgresql", 5433)),
            ("postgresql://h:5433?sslmode=&sslrootcert=", tcp("h", 5433)),
            (" postgres://u:p@ss@h:5433/db ", tcp("h", 5433)),
        ] {
            assert_eq!(place(text), wanted, "{text}");
        }
        let options = options(&Secret::from("postgres://a%40b:p%2Fw@/main?host=h")).expect("a valid address");
        assert_eq!((options.get_username(), options.get_database()), ("a@b", Some("main")));
    }

    #[test]
    fn an_address_without_a_host_leads_to_the_default_one() {
        for text in ["postgres:///main", "postgres://", "postgresql://app:pw@/main", "postgres://app@:77"] {
            check(&Secret::from(text)).unwrap_or_else(|problem| panic!("{text} {problem}"));
        }
    }

    #[test]
    fn certificates_of_the_system_need_no_file() {
        let options =
            options(&Secret::from("postgres://h/main?sslrootcert=system")).expect("a valid address");
        assert!(matches!(options.get_ssl_mode(), PgSslMode::VerifyFull));
    }

    #[test]
    fn a_refused_form_is_named_with_one_that_works() {
        for (text, wanted) in [
            (
                "postgres://u:hunter2@h1:5432,h2:5432/db?target_session_attrs=read-write",
                "names several hosts",
            ),
            ("postgres://u:hunter2@h/db?host=h1,h2", "names several hosts"),
            ("postgres://u:hunter2@[::1],[::2]/db", "names several hosts"),
            ("postgres://u:hunter2@::1:5432/db", "[ADDRESS]:PORT"),
            ("postgres://u:hunter2@[::1/db", "[ADDRESS]:PORT"),
            ("postgres://u:hunter2@[::1]5432/db", "[ADDRESS]:PORT"),
            ("postgres://u:hunter2@[hunter3:]/db", "neither a name nor an IP address"),
            ("postgres://u:hunter2@h/db?hostaddr=hunter3", "a hostaddr that is no IP address"),
            ("postgres://u:hunter2@h:0/db", "a port that is no number"),
            ("postgres://u:hunter#2@h/db", "%23"),
            ("postgres://u:hunter/2@h/db", "%2F"),
            ("postgres://u:1/hunter@h/db", "%2F"),
            ("postgres://u:1?hunter@h/db", "%3F"),
            ("postgres://u:1#hunter@h/db", "%23"),
            ("postgres://u:hunter2@h/db?sslmode=hunter3", "verify-full"),
            ("postgres://u:%ff@h/db", "not UTF-8"),
            ("host=h user=u password=hunter2", "keywords and values"),
            ("jdbc:postgresql://h/db?password=hunter2", "must begin with postgres://"),
            ("postgresql+asyncpg://u:hunter2@h/db", "must begin with postgres://"),
        ] {
            let problem = check(&Secret::from(text)).expect_err(text);
            assert!(problem.contains(wanted) && !problem.contains("hunter"), "{text}: {problem}");
        }
    }

    #[test]
    fn errors_do_not_quote_the_address() {
        for text in [
            "postgres://app:hunter#2@h/main",
            "postgres://h/main?sslmode=hunter2",
            "hunter2",
            "postgres://h:hunter2/x",
        ] {
            let error = options(&Secret::from(text)).expect_err(text);
            assert!(!format!("{error:?} {error}").contains("hunter"), "{error:?}");
        }
    }
}
