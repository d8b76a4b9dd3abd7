//! A PgBouncer in front of the shared PostgreSQL.

use devstack::{PgBouncer, Principal};
use tokio::task::block_in_place;

use crate::endpoints::Endpoints;

/// Starts one that accepts every login that PostgreSQL accepts. `settings` are lines of its section `[pgbouncer]`.
/// Blocks: use it from `#[tokio::test(flavor = "multi_thread")]`.
///
/// # Panics
/// If it does not start.
pub fn pooler(shared: &Endpoints, settings: &str) -> PgBouncer {
    let services = [Principal::Command, Principal::Query, Principal::Projector];
    let services = services.map(|who| shared.logins.database(who));
    let addresses: Vec<_> = services.into_iter().chain([shared.database_url.as_str()]).collect();
    let users: Vec<_> = addresses.iter().map(|url| login(url)).collect();
    let server = port(&shared.database_url);
    let folder = std::env::temp_dir().join(format!("followgraph-{}", uuid::Uuid::new_v4()));
    block_in_place(|| PgBouncer::start(&folder, server, &users, settings)).expect("PgBouncer starts")
}

/// User and password of `postgres://USER:PASSWORD@...`.
fn login(url: &str) -> (&str, &str) {
    let login = url.split_once("://").and_then(|(_, rest)| rest.split_once('@')).map(|(login, _)| login);
    login.and_then(|login| login.split_once(':')).expect("an address with a user and a password")
}

/// The port of `...@127.0.0.1:PORT/...`.
fn port(url: &str) -> u16 {
    let place = url.rsplit_once('@').map_or(url, |(_, place)| place);
    let port = place.split(['/', '?']).next().and_then(|place| place.rsplit_once(':'));
    port.and_then(|(_, port)| port.parse().ok()).expect("an address with a port")
}
