//! The address of PostgreSQL: which parts of it the driver gets to see.
//!
//! The driver logs the name and the value of each parameter that it does not know, at every pool. A value may be a
//! secret, so unknown parameters are taken out before, and named once in a remark without their values.

use std::path::Path;

use sqlx::ConnectOptions as _;
use sqlx::postgres::PgConnectOptions;
use url::Url;

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

/// What the driver is given. It takes any scheme; we do not.
pub(super) fn options(url: &Secret) -> Result<PgConnectOptions, sqlx::Error> {
    Ok(parse(url)?.0)
}

/// Checks an address and the files that it names, which the driver would read at the first connection. Returns a remark
/// for each kind of parameter that has no effect.
pub(super) fn check(url: &Secret) -> Result<Vec<String>, String> {
    let Ok((options, ignored)) = parse(url) else { return Err("is not a PostgreSQL address".to_owned()) };
    let parameters = options.to_url_lossy();
    let file = |name: &str| {
        let value = parameters.query_pairs().find(|(parameter, _)| parameter == name);
        value.map(|(_, value)| value.into_owned())
    };
    let (ca, certificate, key) = (file("sslrootcert"), file("sslcert"), file("sslkey"));
    if certificate.is_some() != key.is_some() {
        return Err("names sslcert without sslkey, or sslkey without sslcert".to_owned());
    }
    // What the driver's own list says of a file; else the text is the certificate itself.
    let path = |text: &Option<String>| {
        text.as_deref()?.strip_prefix("file: ").map(|path| Path::new(path).to_owned())
    };
    tls::check_files(path(&ca).as_deref(), path(&certificate).as_deref(), path(&key).as_deref())
        .map_err(|(parameter, problem)| format!("is wrong about {parameter}, which {problem}"))?;
    Ok(remarks(&ignored))
}

/// The options, and the names of the parameters that were taken out.
fn parse(url: &Secret) -> Result<(PgConnectOptions, Vec<String>), sqlx::Error> {
    // The errors of the parsers may quote parts of the address.
    let malformed = || sqlx::Error::Configuration("the address is malformed".into());
    let mut url: Url = url.expose().parse().map_err(|_| malformed())?;
    if !["postgres", "postgresql"].contains(&url.scheme()) {
        return Err(sqlx::Error::Configuration("the address does not begin with postgres://".into()));
    }
    let pairs = url.query_pairs().map(|(name, value)| (name.into_owned(), value.into_owned()));
    let (understood, others): (Vec<_>, Vec<_>) = pairs.partition(|(name, _)| is_understood(name));
    url.set_query(None);
    url.set_fragment(None);
    if !understood.is_empty() {
        url.query_pairs_mut().extend_pairs(understood);
    }
    let options = url.as_str().parse().map_err(|_| malformed())?;
    Ok((options, others.into_iter().map(|(name, _)| name).collect()))
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
        assert_eq!(options.to_url_lossy().password(), Some("p%26w"));
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
