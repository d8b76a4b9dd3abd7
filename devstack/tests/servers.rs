//! The development servers against themselves: start, kill, start again, wipe, stop, leave nothing.
//!
//! Starts real servers of its own, so it runs under `cargo xtask test` only.

use std::{
    env,
    io::{BufRead, BufReader},
    net::TcpListener,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use devstack::{Ports, Servers, Sizes, Tools, ports::loopback};
use parking_lot::Mutex;

/// Set for the process that is killed while it runs servers.
const ROLE: &str = "DEVSTACK_TEST_ROLE";
const VICTIM: &str = "victim";

/// One set at a time: each needs a gigabyte.
static ONE_SET: Mutex<()> = Mutex::new(());

fn start() -> Servers {
    assert!(
        env::var_os("FOLLOWGRAPH_TEST_BIN_DIR").is_some(),
        "this test starts servers: run it with `cargo xtask test`"
    );
    let tools = Tools::install().unwrap();
    Servers::temporary(&tools, Ports::free().unwrap(), Sizes::SMALL).unwrap()
}

fn is_free(port: u16) -> bool {
    TcpListener::bind(loopback(port)).is_ok()
}

#[test]
fn a_set_survives_kills_and_wipes_and_leaves_nothing() {
    if env::var(ROLE).is_ok() {
        return;
    }
    let _turn = ONE_SET.lock();
    // Started by a thread that ends: the servers belong to the process, not to the thread.
    let mut servers = thread::spawn(start).join().unwrap();
    let root = servers.root().to_owned();
    let ports = servers.ports.clone();

    for server in servers.all() {
        assert!(server.daemon_mut().is_running().unwrap(), "{}", server.name());
        let before = server.pid();
        server.kill9().unwrap();
        assert_eq!(server.pid(), None);
        server.start_again().unwrap();
        assert_ne!(server.pid(), before);
        assert!(!server.log_tail(5).is_empty());
    }
    for server in servers.all() {
        assert!(server.wipe().is_err(), "{} was wiped while running", server.name());
        server.stop().unwrap();
        server.wipe().unwrap();
        server.start_again().unwrap();
    }

    drop(servers);
    assert!(!root.exists());
    for port in [ports.postgres, ports.nats, ports.nats_monitor, ports.bolt] {
        assert!(is_free(port), "port {port} is in use");
    }
}

/// Not a test of its own: the process that the next test kills.
#[test]
fn victim() {
    if env::var(ROLE).as_deref() != Ok(VICTIM) {
        return;
    }
    let mut servers = start();
    let pids: Vec<String> =
        servers.all().into_iter().map(|server| server.pid().unwrap().to_string()).collect();
    println!("\npids {}", pids.join(" "));
    thread::park();
}

#[test]
fn servers_end_with_a_process_that_is_killed() {
    if env::var(ROLE).is_ok() {
        return;
    }
    let _turn = ONE_SET.lock();
    let mut victim = Command::new(env::current_exe().unwrap())
        .args(["--exact", "victim", "--nocapture"])
        .env(ROLE, VICTIM)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(victim.stdout.take().unwrap());
    let pids = output
        .lines()
        .map(Result::unwrap)
        .find_map(|line| line.strip_prefix("pids ").map(str::to_owned))
        .expect("the victim starts its servers");
    let processes: Vec<String> = pids.split(' ').map(|pid| format!("/proc/{pid}")).collect();
    for process in &processes {
        assert!(Path::new(process).exists(), "{process}");
    }

    victim.kill().unwrap();
    victim.wait().unwrap();

    let deadline = Instant::now() + Duration::from_secs(20);
    while processes.iter().any(|process| Path::new(process).exists()) {
        assert!(Instant::now() < deadline, "servers outlived their process: {processes:?}");
        thread::sleep(Duration::from_millis(20));
    }
}
