//! The connection to NATS.
//!
//! Owns: connecting, reconnecting without end, and telling whether the connection stands.
//! Must not know: any subject or stream.
//! What can go wrong: the server is away. Publishes that were under way then are not repeated by the client: their
//! outcome is unknown, and the caller has to find out. Subscriptions are renewed; ordered consumers must be rebuilt by
//! their owner.

use std::time::Duration;

use async_nats::{Client, ConnectOptions, Event, ServerAddr};
use rand::Rng;
use tokio::sync::watch;

use crate::config::{Env, Secret};
use crate::metrics::{NATS_CONNECTED, NATS_EVENTS};

/// The variable that holds the address.
const VARIABLE: &str = "NATS_URL";
/// Longest pause between two attempts to connect.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// Shortest pause between two attempts to connect.
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);

/// Settings of the connection.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `NATS_URL`: one address, or several with commas between them.
    pub url: Secret,
    /// `NATS_REQUEST_TIMEOUT_MILLIS` (5000): longest wait for an answer, JetStream's included.
    pub request_timeout: Duration,
    /// How often the connection is probed; two unanswered probes end it.
    pub ping_interval: Duration,
}

impl Settings {
    /// Reads them.
    pub fn read(env: &mut Env) -> Self {
        let url = env
            .about("Address of NATS; several are separated by commas.")
            .example("nats://127.0.0.1:4222")
            .required_secret(VARIABLE);
        if !url.is_empty() && addresses(&url).is_err() {
            env.reject(VARIABLE, "is not a list of NATS addresses");
        }
        Self {
            url,
            request_timeout: env
                .about("Longest wait for an answer from NATS.")
                .millis_or("NATS_REQUEST_TIMEOUT_MILLIS", 5_000),
            ping_interval: Duration::from_secs(5),
        }
    }
}

/// A client and the state of its connection.
#[derive(Debug, Clone)]
pub struct Nats {
    /// The client.
    pub client: Client,
    /// True while the connection stands.
    pub connected: watch::Receiver<bool>,
}

impl Nats {
    /// True while the connection stands.
    pub fn is_connected(&self) -> bool {
        *self.connected.borrow()
    }
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address does not parse.
    #[error("NATS_URL is not a list of NATS addresses")]
    Address(#[source] std::io::Error),
    /// The client could not be set up.
    #[error("cannot set up the NATS client")]
    Connect(#[from] async_nats::ConnectError),
}

/// Sets up a client. It comes back at once even if the server is away, and connects when the server is there; `name`
/// shows up in the server's list of connections.
pub async fn connect(settings: &Settings, name: &str) -> Result<Nats, Error> {
    let addresses = addresses(&settings.url).map_err(Error::Address)?;
    let (connected, follow) = watch::channel(false);
    metrics::gauge!(NATS_CONNECTED).set(0.0);
    let client = ConnectOptions::new()
        .name(name)
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

fn note(event: &Event, connected: &watch::Sender<bool>) {
    let (name, stands) = match event {
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
    if let Some(stands) = stands {
        metrics::gauge!(NATS_CONNECTED).set(if stands { 1.0 } else { 0.0 });
        connected.send_replace(stands);
    }
}

/// Doubles from the shortest to the longest pause; up to a half is taken off, so that processes do not come back
/// together.
fn pause(attempt: usize) -> Duration {
    if attempt == 0 {
        return Duration::ZERO;
    }
    let doublings = u32::try_from(attempt - 1).unwrap_or(u32::MAX).min(10);
    let pause = (SHORTEST_PAUSE * 2_u32.pow(doublings)).min(LONGEST_PAUSE);
    pause.mul_f64(rand::rng().random_range(0.5..=1.0))
}

fn addresses(url: &Secret) -> Result<Vec<ServerAddr>, std::io::Error> {
    url.expose().split(',').map(|address| address.trim().parse()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_stay_short() {
        assert_eq!(pause(0), Duration::ZERO);
        assert!(pause(1) <= SHORTEST_PAUSE && pause(1) >= SHORTEST_PAUSE / 2);
        assert!(pause(usize::MAX) <= LONGEST_PAUSE && pause(usize::MAX) >= LONGEST_PAUSE / 2);
    }

    #[test]
    fn the_state_follows_the_events() {
        let (connected, follow) = watch::channel(false);
        note(&Event::Connected, &connected);
        assert!(*follow.borrow());
        note(&Event::LameDuckMode, &connected);
        assert!(*follow.borrow());
        note(&Event::Disconnected, &connected);
        assert!(!*follow.borrow());
    }

    #[tokio::test]
    async fn a_client_is_made_while_the_server_is_away() {
        let mut env = Env::from_pairs([(VARIABLE, "nats://127.0.0.1:1")]);
        let settings = Settings::read(&mut env);
        let settings = env.finish(settings).expect("valid settings");
        let nats = connect(&settings, "test").await.expect("no server is needed yet");
        assert!(!nats.is_connected());
    }
}
