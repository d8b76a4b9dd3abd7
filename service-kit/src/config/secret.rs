//! Text that must not be printed: the [`Secret`] wrapper, and the redaction of passwords in addresses.

use std::fmt;

use url::Url;

/// What is printed in place of a secret.
pub(super) const REDACTED: &str = "[redacted]";

/// A text that prints as `[redacted]`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself. Hand it to the driver that needs it and to nothing else.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// True for an empty text.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

/// Parameters of the PostgreSQL driver that hold no secret.
pub(crate) const PLAIN_PARAMETERS: [&str; 16] = [
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "application_name",
    "statement-cache-capacity",
];

/// Removes the parts of an address that may be secret, for clients that do not use them, but log the address.
pub(crate) fn without_credentials(mut url: Url) -> Url {
    // These fail only for addresses without a host, which have no credentials.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.set_fragment(None);
    url
}

/// Takes the credentials out of an address, for logs: the user's name stays, the password goes. A lone word before the
/// `@` goes as well, because for some servers it is a token. Of query parameters only the values of `is_plain` stay, of
/// a fragment nothing. A text that is no address is redacted as a whole.
///
/// Everything up to the last `@` counts as credentials: a password with an unescaped `/` or `?` must not leak.
pub fn redact_url(text: &str) -> String {
    let parts: Vec<_> = text.split(',').collect();
    // A list of addresses, or one address with a comma in its password.
    if parts.iter().all(|part| part.contains("://")) {
        parts.into_iter().map(redact_one).collect::<Vec<_>>().join(",")
    } else {
        redact_one(text)
    }
}

fn redact_one(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        return REDACTED.to_owned();
    };
    let (credentials, rest) = match rest.rsplit_once('@').map(|(login, rest)| (login.split_once(':'), rest)) {
        None => (String::new(), rest),
        Some((Some((user, _password)), rest)) => (format!("{user}:{REDACTED}@"), rest),
        Some((None, rest)) => (format!("{REDACTED}@"), rest),
    };
    let (rest, fragment) = match rest.split_once('#') {
        Some((rest, _)) => (rest, format!("#{REDACTED}")),
        None => (rest, String::new()),
    };
    let (place, query) = match rest.split_once('?') {
        Some((place, query)) => (place, format!("?{}", redact_query(query))),
        None => (rest, String::new()),
    };
    format!("{scheme}://{credentials}{place}{query}{fragment}")
}

fn redact_query(query: &str) -> String {
    query
        .split('&')
        .map(|pair| match pair.split_once('=') {
            // An inline certificate or key is no path.
            Some((name, value)) if is_plain(name) && !value.contains("BEGIN") => pair.to_owned(),
            Some((name, _)) if is_word(name) => format!("{name}={REDACTED}"),
            // A password with an unescaped `&` leaves such a rest.
            _ => REDACTED.to_owned(),
        })
        .collect::<Vec<_>>()
        .join("&")
}

/// True if the value may be shown. Any other value may be a secret, whatever its name says.
fn is_plain(name: &str) -> bool {
    PLAIN_PARAMETERS.contains(&name) || name == "connect_timeout"
}

fn is_word(name: &str) -> bool {
    name.chars().all(|c| c.is_ascii_alphabetic() || c == '_' || c == '-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_does_not_print() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret} {secret:?}"), "[redacted] [redacted]");
        assert_eq!(secret.expose(), "hunter2");
    }

    #[test]
    fn an_address_keeps_all_but_its_credentials() {
        let cases = [
            ("postgres://app:pw@db:5432/main", "postgres://app:[redacted]@db:5432/main"),
            (
                "postgres://app:p/a?b@c@db/main?sslmode=require",
                "postgres://app:[redacted]@db/main?sslmode=require",
            ),
            ("postgres://db/main?user=a&password=pw", "postgres://db/main?user=a&password=[redacted]"),
            (
                "postgres://db/main?sslmode=require&pass=pw&channel_binding=require&rest",
                "postgres://db/main?sslmode=require&pass=[redacted]&channel_binding=[redacted]&[redacted]",
            ),
            ("postgres://db/main?sslkey=-----BEGIN KEY", "postgres://db/main?sslkey=[redacted]"),
            ("postgres://db/main?port=1#pw", "postgres://db/main?port=1#[redacted]"),
            ("nats://token@one:4222,nats://two:4222", "nats://[redacted]@one:4222,nats://two:4222"),
            ("bolt://127.0.0.1:7687", "bolt://127.0.0.1:7687"),
            ("just a password", "[redacted]"),
        ];
        for (given, wanted) in cases {
            assert_eq!(redact_url(given), wanted);
        }
    }

    #[test]
    fn a_comma_in_a_password_leaks_nothing() {
        let shown = redact_url("postgres://app:first,second@db/main");
        assert!(!shown.contains("second"), "{shown}");
        assert!(!shown.contains("first"), "{shown}");
    }
}
