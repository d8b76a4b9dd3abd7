//! The connection to NATS: connects, reconnects without limit, and shows whether it is connected.
//!
//! When the connection is lost, the client does not repeat the publishes under way: their outcome is unknown, and the
//! caller must find out. The client renews subscriptions; the owner of an ordered consumer must create it again.

mod credentials;

use std::path::PathBuf;
use std::time::Duration;

use async_nats::{AuthError, Client, ConnectOptions, Event, Message, ServerAddr, SubscribeError};
use futures::StreamExt as _;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config::{self, Env, Secret};
use crate::ids;
use crate::metrics::{NATS_CONNECTED, NATS_EVENTS};
use crate::tls::ClientFiles;
use credentials::Credentials;

/// The variable that holds the address.
const VARIABLE: &str = "NATS_URL";
const USER: &str = "NATS_USER";
const PASSWORD: &str = "NATS_PASSWORD";
const CREDENTIALS: &str = "NATS_CREDENTIALS_FILE";
/// Back-off between attempts to connect.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);

crate::declare_settings! {
    /// Settings of the connection.
    pub struct Settings;
    /// Reads them.
    pub fn read(env);

    /// Addresses of NATS, nats:// or tls://, separated by commas.
    url: Secret = read_addresses(env);
    /// `NATS_USER` and `NATS_PASSWORD`, or user and password in the address, or `NATS_CREDENTIALS_FILE`.
    login: Login = Login::read(env, &url);
    /// `NATS_CA_FILE`, `NATS_CERT_FILE`, `NATS_KEY_FILE`: each requires TLS, as an address `tls://` does.
    tls: ClientFiles = ClientFiles::read(env, "NATS", "NATS");
    /// Timeout of a request to NATS.
    request_timeout: Duration = env.millis_or("NATS_REQUEST_TIMEOUT_MILLIS", 5_000);
    /// How often the connection is probed; two unanswered probes end it.
    ping_interval: Duration = Duration::from_secs(5);
}

/// How this process logs in to NATS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Login {
    /// Without a user: the server requires nothing, or a certificate only.
    Anonymous,
    /// A user with a password.
    Password {
        /// Its name.
        user: String,
        /// Its password.
        password: Secret,
    },
    /// A file with a user's token and seed, as used by servers with operators and accounts. It is read at each
    /// connection, because tokens expire and the file is renewed before.
    Credentials(PathBuf),
}

fn read_addresses(env: &mut Env) -> Secret {
    let url = env.example("nats://127.0.0.1:4222").required_secret(VARIABLE);
    // An empty list is reported as missing.
    if !url.is_empty() {
        env.accept(VARIABLE, addresses(&url));
    }
    if url.expose().contains(['?', '#']) {
        env.remark(VARIABLE, "query and fragment of the address are not used");
    }
    url
}

impl Login {
    fn read(env: &mut Env, url: &Secret) -> Self {
        let user = env.about("NATS user, unless the address contains one.").optional(USER);
        let password = env.about("Password of NATS_USER.").optional_secret(PASSWORD);
        let credentials = env
            .about("NATS credentials file (token and seed), instead of user and password.")
            .file(CREDENTIALS);
        if user.is_some() != password.is_some() {
            let set = if user.is_some() { USER } else { PASSWORD };
            env.reject(set, "NATS_USER and NATS_PASSWORD go together");
        }
        let in_address = env.accept(VARIABLE, in_address(url)).flatten();
        if let Some(file) = &credentials {
            let read = Credentials::read(file).map_err(|error| format!("names a file that {error}"));
            env.accept(CREDENTIALS, read);
        }
        let login = user.zip(password).map(|(user, password)| Self::Password { user, password });
        let mut all = [login, in_address, credentials.map(Self::Credentials)].into_iter().flatten();
        let first = all.next().unwrap_or(Self::Anonymous);
        if all.next().is_some() {
            let text = "has several logins: use one of user in the address, NATS_USER, NATS_CREDENTIALS_FILE";
            env.reject(VARIABLE, text);
        }
        first
    }
}

/// The login in the addresses; the driver itself does not use it. All servers get the same login, including those that
/// other servers announce.
fn in_address(url: &Secret) -> Result<Option<Login>, &'static str> {
    let Ok(addresses) = addresses(url) else { return Ok(None) };
    let logins = addresses.iter().map(|one| (one.username().unwrap_or(""), one.password().unwrap_or("")));
    let mut logins = logins.filter(|login| *login != ("", ""));
    let Some((user, password)) = logins.next() else { return Ok(None) };
    if logins.any(|other| other != (user, password)) {
        return Err(
            "names different users or passwords, and all servers get the same: name them once, or use NATS_USER and NATS_PASSWORD",
        );
    }
    if user.is_empty() {
        return Err("names a password without a user");
    }
    if password.is_empty() {
        return Err("names a user without a password; a token is not supported");
    }
    if user.contains('%') || password.contains('%') {
        return Err("holds a user or password with special characters; use NATS_USER and NATS_PASSWORD");
    }
    Ok(Some(Login::Password { user: user.to_owned(), password: Secret::new(password) }))
}

/// A client and the state of its connection.
#[derive(Debug, Clone)]
pub struct Nats {
    /// The client.
    pub client: Client,
    /// True while the client is connected.
    pub connected: watch::Receiver<bool>,
}

impl Nats {
    /// True while the client is connected.
    pub fn is_connected(&self) -> bool {
        *self.connected.borrow()
    }
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An address cannot be used. The text does not quote it.
    #[error("NATS_URL {0}")]
    Address(String),
    /// The client could not be set up.
    #[error("cannot set up the NATS client")]
    Connect(#[from] async_nats::ConnectError),
}

/// Creates a client. It returns at once even if the server is down, and connects when the server is up. `name` appears
/// in the server's list of connections. Replies arrive under `_INBOX_<service>`, so that the server's permissions can
/// protect them.
pub async fn connect(settings: &Settings, service: &str, name: &str) -> Result<Nats, Error> {
    let addresses = addresses(&settings.url).map_err(Error::Address)?;
    let addresses = addresses.into_iter().map(without_credentials).collect::<Result<Vec<_>, _>>();
    let addresses = addresses.map_err(|error| Error::Address(error.to_string()))?;
    let (connected, follow) = watch::channel(false);
    metrics::gauge!(NATS_CONNECTED).set(0.0);
    let client = options(settings)?
        .name(name)
        .custom_inbox_prefix(format!("_INBOX_{service}"))
        .retry_on_initial_connect()
        .max_reconnects(None)
        .reconnect_delay_callback(pause)
        .ping_interval(settings.ping_interval)
        .request_timeout(Some(settings.request_timeout))
        .event_callback(move |event| {
            note(&event, &connected);
            std::future::ready(())
        })
        .connect(addresses)
        .await?;
    Ok(Nats { client, connected: follow })
}

/// Passes each message on a subject to `heard`, until `stop`.
pub async fn listen(
    client: Client,
    subject: &'static str,
    mut heard: impl FnMut(Message) + Send,
    stop: CancellationToken,
) -> Result<(), SubscribeError> {
    let mut messages = client.subscribe(subject).await?;
    loop {
        tokio::select! {
            // The client renews subscriptions, and ends them only when the process stops.
            Some(message) = messages.next() => heard(message),
            () = stop.cancelled() => return Ok(()),
        }
    }
}

/// The login, and how the server is verified.
fn options(settings: &Settings) -> Result<ConnectOptions, Error> {
    let options = match &settings.login {
        Login::Anonymous => ConnectOptions::new(),
        Login::Password { user, password } => {
            ConnectOptions::with_user_and_password(user.clone(), password.expose().to_owned())
        }
        Login::Credentials(file) => {
            let file = file.clone();
            ConnectOptions::with_auth_callback(move |nonce| {
                let file = file.clone();
                async move {
                    // A blocking read: the file is small, local, and read once per attempt to connect.
                    let credentials = Credentials::read(&file).map_err(AuthError::new)?;
                    credentials.sign(&nonce).map_err(AuthError::new)
                }
            })
        }
    };
    // The driver reads the files at every connection.
    let options = settings.tls.ca.iter().fold(options, |o, ca| o.add_root_certificates(ca.clone()));
    let options = settings.tls.identity.iter().fold(options, |options, (certificate, key)| {
        options.add_client_certificate(certificate.clone(), key.clone())
    });
    // Without it, an attacker between client and server could disable TLS. It also applies to servers that other
    // servers announce.
    let listed = addresses(&settings.url).map_err(Error::Address)?;
    Ok(options.require_tls(settings.tls.any() || listed.iter().any(ServerAddr::tls_required)))
}

fn note(event: &Event, connected: &watch::Sender<bool>) {
    let (name, is_connected) = match event {
        Event::Connected => ("connected", Some(true)),
        Event::Disconnected => ("disconnected", Some(false)),
        Event::Closed => ("closed", Some(false)),
        Event::LameDuckMode => ("lame_duck", None),
        Event::Draining => ("draining", None),
        Event::SlowConsumer(_) => ("slow_consumer", None),
        Event::ServerError(_) => ("server_error", None),
        Event::ClientError(_) => ("client_error", None),
    };
    metrics::counter!(NATS_EVENTS, "event" => name).increment(1);
    match event {
        Event::Connected | Event::Draining | Event::Closed => tracing::info!(event = name, "NATS connection"),
        other => tracing::warn!(event = %other, "NATS connection"),
    }
    if let Some(is_connected) = is_connected {
        metrics::gauge!(NATS_CONNECTED).set(if is_connected { 1.0 } else { 0.0 });
        connected.send_replace(is_connected);
    }
}

/// Doubles from the shortest to the longest pause, minus up to a half of jitter.
fn pause(attempt: usize) -> Duration {
    if attempt == 0 {
        return Duration::ZERO;
    }
    let doublings = u32::try_from(attempt - 1).unwrap_or(u32::MAX).min(10);
    let pause = (SHORTEST_PAUSE * 2_u32.pow(doublings)).min(LONGEST_PAUSE);
    ids::jitter(pause, 0.5..=1.0)
}

/// Removes the parts of an address that the driver does not use, but logs.
fn without_credentials(address: ServerAddr) -> Result<ServerAddr, std::io::Error> {
    ServerAddr::from_url(config::without_credentials(address.into_inner()))
}

/// Parses the list; errors do not quote it.
fn addresses(url: &Secret) -> Result<Vec<ServerAddr>, String> {
    let all: Vec<&str> = url.expose().split(',').map(str::trim).collect();
    let several = all.len() > 1;
    let parsed = all.into_iter().enumerate().map(|(number, text)| {
        parse(text).map_err(|problem| match several {
            true => format!("has a list whose address {} {problem}", number + 1),
            false => problem.to_owned(),
        })
    });
    parsed.collect()
}

/// Rejects what the driver accepts: it ignores a path, and fails for a missing host only when it connects. WebSockets
/// are rejected because the driver would skip TLS and send the login in clear text.
fn parse(text: &str) -> Result<ServerAddr, &'static str> {
    const FORM: &str = "is not nats://HOST:PORT; an IPv6 address has brackets: nats://[ADDRESS]:PORT";
    if text.is_empty() {
        return Err("is empty: remove the extra comma");
    }
    let is_known = |scheme: &str| ["nats", "tls"].iter().any(|known| scheme.eq_ignore_ascii_case(known));
    if text.split_once("://").is_some_and(|(scheme, _)| !is_known(scheme)) {
        return Err("must begin with nats:// or tls://; WebSockets are not supported");
    }
    // An unescaped character cut the password off: the part before it would be taken for a host.
    let place = text.split_once("://").map_or(text, |(_, place)| place);
    if place.find(['/', '?', '#']).is_some_and(|end| place[end..].contains('@')) {
        return Err("has an @ behind its host: write user and password as NATS_USER and NATS_PASSWORD");
    }
    let address: ServerAddr = text.parse().map_err(|_| FORM)?;
    if address.host().is_empty() {
        return Err("has no host: write nats://HOST:PORT");
    }
    if address.port() == 0 {
        return Err(FORM);
    }
    match address.clone().into_inner().path() {
        "" | "/" => Ok(address),
        _ => Err("has a path: write nats://HOST:PORT"),
    }
}

#[cfg(test)]
mod tests;
