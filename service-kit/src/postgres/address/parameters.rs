//! Parses an address into parameters, and checks them.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use sqlx::postgres::PgSslMode;
use url::form_urlencoded;

use crate::config::PLAIN_PARAMETERS;

/// A mistake in an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The variable of libpq at fault; `None` for the address itself.
    pub variable: Option<&'static str>,
    /// The mistake. The text never quotes a value.
    pub text: String,
}

impl From<String> for Fault {
    fn from(text: String) -> Self {
        Self { variable: None, text }
    }
}

impl fmt::Display for Fault {
    /// Continues a sentence that begins with the name of the address.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.variable {
            Some(variable) => write!(f, "is completed by {variable}, which {}", self.text),
            None => f.write_str(&self.text),
        }
    }
}

/// Names and values. The driver uses the last value of a name.
pub(super) type Parameters = Vec<(String, String)>;

/// Parameters of libpq and of poolers that people copy from other services. Only these are named: an unknown name may
/// be the rest of a password with an unescaped `&`.
pub(super) const NAMEABLE: [&str; 27] = [
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

/// The parameters that an address has for the driver, and the names of the others.
pub(super) fn parameters_of(text: &str) -> Result<(Parameters, Vec<String>), String> {
    let text = text.trim();
    let rest = without_scheme(text)?;
    let (authority, rest) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let mut parameters = of_authority(authority)?;
    // An unescaped character cut the password off: the rest would be taken for a database, and the part before it for a
    // host. Only the value of a parameter with a known name may hold an @.
    let rests = query.split('&').map(|pair| match pair.split_once('=') {
        Some((name, _)) if is_understood(name) || NAMEABLE.contains(&name) => name,
        _ => pair,
    });
    if rests.chain([path, fragment]).any(|text| text.contains('@')) {
        return Err(format!("has an @ behind its host; {ESCAPES}"));
    }
    parameters.push(("dbname".to_owned(), decoded("database", path.trim_start_matches('/'))?));
    let query = form_urlencoded::parse(query.as_bytes()).into_owned();
    let (understood, others): (Vec<_>, Vec<_>) = query.partition(|(name, _)| is_understood(name));
    for (name, value) in understood {
        parameters.push((name.clone(), of_query(&name, value)?));
    }
    let (demands, ignored): (Parameters, Parameters) =
        others.into_iter().partition(|(name, _)| demands_tls(name));
    meet(&demands, &mut parameters)?;
    Ok((parameters, ignored.into_iter().map(|(name, _)| name).collect()))
}

pub(super) const MALFORMED: &str = "is not a PostgreSQL address";

fn without_scheme(text: &str) -> Result<&str, String> {
    let rest = text.strip_prefix("postgres://").or_else(|| text.strip_prefix("postgresql://"));
    rest.ok_or_else(|| {
        let keywords = !text.contains("://") && text.contains('=');
        let hint = if keywords {
            "it consists of keywords and values; write it as postgres://USER:PASSWORD@HOST:PORT/DATABASE"
        } else {
            "it must begin with postgres:// or postgresql://"
        };
        format!("{MALFORMED}: {hint}")
    })
}

/// User, password, host and port. The last `@` ends the password, as one with an unescaped `@` wants it.
fn of_authority(authority: &str) -> Result<Parameters, String> {
    let (login, place) = authority.rsplit_once('@').unwrap_or(("", authority));
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    require(!place.contains(','), SEVERAL_HOSTS)?;
    let (host, port) = if let Some(rest) = place.strip_prefix('[') {
        let (host, rest) = rest.split_once(']').ok_or(BRACKETS)?;
        (host, if rest.is_empty() { "" } else { rest.strip_prefix(':').ok_or(BRACKETS)? })
    } else {
        let (host, port) = place.split_once(':').unwrap_or((place, ""));
        require(!port.contains(':'), BRACKETS)?;
        (host, port)
    };
    let part = |name: &str, value: String| (name.to_owned(), value);
    // It may be a part of a password.
    let hint = |problem: String| format!("{problem}; {ESCAPES}");
    Ok(vec![
        part("user", decoded("user", user)?),
        part("password", decoded("password", password)?),
        part("host", host_of(&decoded("host", host)?).map_err(hint)?),
        part("port", port_of(port).map_err(hint)?),
    ])
}

const SEVERAL_HOSTS: &str = "names several hosts, and the driver takes one: name the primary, or a DNS name or proxy \
                             that leads to it";
const BRACKETS: &str = "has an IPv6 address without brackets: write [ADDRESS]:PORT";
const ESCAPES: &str = "in user and password, write / ? # % @ : as %2F %3F %23 %25 %40 %3A";

/// True if a parameter asks for TLS in the spelling of JDBC or another driver, which our driver would ignore.
fn demands_tls(name: &str) -> bool {
    let plain = name.replace(['-', '_'], "").to_ascii_lowercase();
    ["ssl", "sslmode", "tls", "tlsmode", "usessl", "requiressl"].contains(&plain.as_str())
}

/// Turns `ssl=true` into `sslmode=require`, as libpq does, and `ssl=false` into `sslmode=disable`. Rejects other
/// parameters for TLS: if ignored, they would leave the choice to the server.
fn meet(demands: &Parameters, parameters: &mut Parameters) -> Result<(), String> {
    let Some((name, value)) = demands.first() else { return Ok(()) };
    let alike = demands.iter().all(|demand| (&demand.0, &demand.1) == (name, value));
    let (tls, stands_for) = match (name.as_str(), value.as_str()) {
        ("ssl", "true") if alike => (true, "require"),
        ("ssl", "false") if alike => (false, "disable"),
        _ => return Err("has a parameter of another driver for TLS: write sslmode=verify-full".to_owned()),
    };
    match mode(parameters).map(str::parse::<PgSslMode>) {
        None => parameters.push(("sslmode".to_owned(), stands_for.to_owned())),
        Some(Ok(PgSslMode::Require | PgSslMode::VerifyCa | PgSslMode::VerifyFull)) if tls => {}
        Some(Ok(PgSslMode::Disable | PgSslMode::Prefer)) if !tls => {}
        Some(_) => {
            let needs = if tls { "does not need" } else { "needs" };
            return Err(format!("has ssl={tls}, and an sslmode that {needs} TLS: leave out one of them"));
        }
    }
    Ok(())
}

/// The effective sslmode.
pub(super) fn mode(parameters: &Parameters) -> Option<&str> {
    let modes = parameters.iter().rev().filter(|(name, _)| ["sslmode", "ssl-mode"].contains(&name.as_str()));
    modes.map(|(_, value)| value.as_str()).find(|value| !value.is_empty())
}

/// Checks a parameter that the driver would reject only at the first connection, or with an error that quotes the
/// value.
pub(super) fn of_query(name: &str, value: String) -> Result<String, String> {
    match name {
        _ if value.is_empty() => {}
        "host" => return host_of(&value),
        "hostaddr" => {
            let address = host_of(&value)?;
            require(address.parse::<IpAddr>().is_ok(), "has a hostaddr that is no IP address")?;
            return Ok(address);
        }
        "port" => return port_of(&value),
        "sslmode" | "ssl-mode" => {
            let mode = value.parse::<PgSslMode>();
            require(
                mode.is_ok(),
                "has an sslmode that is none of disable, prefer, require, verify-ca, verify-full",
            )?;
            // For libpq: clear text first, then TLS. The driver never gets to TLS.
            require(
                !matches!(mode, Ok(PgSslMode::Allow)),
                "has sslmode=allow, with which the driver never encrypts: write sslmode=verify-full, or \
                 sslmode=disable for clear text",
            )?;
        }
        "statement-cache-capacity" => {
            require(value.parse::<usize>().is_ok(), "has a statement-cache-capacity that is no number")?;
        }
        _ => {}
    }
    Ok(value)
}

/// A name, an address without its brackets, or the folder of a socket.
fn host_of(host: &str) -> Result<String, String> {
    if host.starts_with('/') {
        return Ok(host.to_owned());
    }
    require(!host.contains(','), SEVERAL_HOSTS)?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let is_host = if bare.contains(':') {
        // A zone names the interface of a link-local address.
        bare.split('%').next().is_some_and(|address| address.parse::<Ipv6Addr>().is_ok())
    } else {
        !bare.contains(|c: char| c.is_whitespace() || c.is_control() || "@/?#[]".contains(c))
    };
    require(is_host, "has a host that is neither a name nor an IP address")?;
    Ok(bare.to_owned())
}

fn port_of(port: &str) -> Result<String, String> {
    require(!port.contains(','), SEVERAL_HOSTS)?;
    let is_port = port.is_empty() || port.parse::<u16>().is_ok_and(|port| port > 0);
    require(is_port, "has a port that is no number from 1 to 65535")?;
    Ok(port.to_owned())
}

fn require(good: bool, problem: &'static str) -> Result<(), &'static str> {
    if good { Ok(()) } else { Err(problem) }
}

fn decoded(part: &str, text: &str) -> Result<String, String> {
    let decoded = percent_encoding::percent_decode_str(text).decode_utf8();
    decoded.map(Into::into).map_err(|_| format!("has a {part} that is not UTF-8"))
}

/// True for parameters of the driver.
fn is_understood(name: &str) -> bool {
    PLAIN_PARAMETERS.contains(&name)
        || ["password", "options"].contains(&name)
        || name.starts_with("options[")
}
