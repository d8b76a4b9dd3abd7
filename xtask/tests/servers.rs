//! The development servers against themselves: start, kill, start again, wipe, stop, leave nothing.
//!
//! Starts real servers, so it runs under `cargo xtask test` only; `cargo test` alone skips it and says
//! so.

use std::{
    collections::BTreeSet,
    net::TcpListener,
    path::PathBuf,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use xtask::{Ports, Server, Servers, Sizes, Tools, ports::loopback};

#[test]
#[ignore = "starts servers: run it with `cargo xtask test`"]
fn a_set_survives_kills_and_wipes_and_leaves_nothing() {
    let tools = Tools::install().unwrap();
    let begun = Instant::now();
    let mut servers = Servers::temporary(&tools, Ports::free().unwrap(), Sizes::SMALL).unwrap();
    eprintln!("first start: {:?}", begun.elapsed());
    let root = servers.root().to_owned();
    let ports = servers.ports.clone();

    for server in servers.all() {
        let before = server.pid();
        let begun = Instant::now();
        server.kill9().unwrap();
        assert_eq!(server.pid(), None);
        server.start_again().unwrap();
        eprintln!("{} after kill -9: {:?}", server.name(), begun.elapsed());
        assert_ne!(server.pid(), before);
        assert!(!server.log_tail(5).is_empty());
    }

    for server in servers.all() {
        assert!(server.wipe().is_err(), "{} was wiped while running", server.name());
        let begun = Instant::now();
        server.stop().unwrap();
        eprintln!("{} stop: {:?}", server.name(), begun.elapsed());
        server.wipe().unwrap();
        let begun = Instant::now();
        server.start_again().unwrap();
        eprintln!("{} from nothing: {:?}", server.name(), begun.elapsed());
    }

    drop(servers);
    assert!(!root.exists());
    for port in [ports.postgres, ports.nats, ports.nats_monitor, ports.bolt] {
        assert!(TcpListener::bind(loopback(port)).is_ok(), "{port} is in use");
    }
}
