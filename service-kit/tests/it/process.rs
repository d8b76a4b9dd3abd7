//! Whole processes: exit codes, signals, and what the admin port says meanwhile.
//!
//! A process is this test binary, started again with one test selected: [`child`].

use std::process::{ExitCode, Stdio};
use std::time::Duration;

use service_kit::process::{About, Process};
use service_kit::{Env, process};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStderr, Command};

/// Tells the child what to do; a plain run of the tests does not set it.
const BEHAVIOUR: &str = "SERVICE_KIT_TEST_BEHAVIOUR";
/// What a child writes to stdout behind its last step, and not after a panic.
const RETURNED: &str = "run has returned";
const SOON: Duration = Duration::from_secs(20);

/// Not a test of its own: the body of the processes that the tests below start.
#[test]
fn child() -> ExitCode {
    let Ok(behaviour) = std::env::var(BEHAVIOUR) else {
        return ExitCode::SUCCESS;
    };
    let about = About { name: "child", version: "0", admin_listen: "127.0.0.1:0", metrics: &[] };
    let read = |env: &mut Env| {
        if behaviour == "needs settings" {
            env.example("postgres://h/d").required_secret("CHILD_URL");
            env.parse_or::<u16>("CHILD_NUMBER", "1");
        }
        behaviour.clone()
    };
    let code = process::run(about, read, start);
    println!("{RETURNED}");
    code
}

async fn start(behaviour: String, process: Process) -> anyhow::Result<()> {
    let stop = process.lifecycle.stop_token();
    match behaviour.as_str() {
        "cannot start" => anyhow::bail!("no luck today"),
        "start hangs" => std::future::pending().await,
        "deaf" => process.lifecycle.spawn("deaf", std::future::pending::<anyhow::Result<()>>()),
        "panics" => process.lifecycle.spawn::<_, anyhow::Error>("fragile", async { panic!("dropped it") }),
        _ => process.lifecycle.spawn("worker", async move {
            stop.cancelled().await;
            anyhow::Ok(())
        }),
    }
    Ok(())
}

fn command(behaviour: &str, settings: &[(&str, &str)]) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this binary"));
    command
        .args(["process::child", "--exact", "--nocapture", "--test-threads=1"])
        .env(BEHAVIOUR, behaviour)
        .envs(settings.iter().copied())
        .kill_on_drop(true);
    command
}

struct Running {
    child: Child,
    log: Lines<BufReader<ChildStderr>>,
    seen: String,
}

impl Running {
    fn start(behaviour: &str, settings: &[(&str, &str)]) -> Self {
        let mut child = command(behaviour, settings)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("a child process");
        let log = BufReader::new(child.stderr.take().expect("a pipe")).lines();
        Self { child, log, seen: String::new() }
    }

    /// Reads the log up to a line with this text.
    async fn until(&mut self, text: &str) -> String {
        let found = async {
            while let Some(line) = self.log.next_line().await.expect("a readable log") {
                self.seen.push_str(&line);
                self.seen.push('\n');
                if line.contains(text) {
                    return Some(line);
                }
            }
            None
        };
        match tokio::time::timeout(SOON, found).await {
            Ok(Some(line)) => line,
            _ => panic!("no line with {text:?} in:\n{}", self.seen),
        }
    }

    fn signal(&self, signal: &str) {
        let id = self.child.id().expect("it runs").to_string();
        let sent = std::process::Command::new("kill").args([signal, &id]).status().expect("kill exists");
        assert!(sent.success());
    }

    /// Waits for the end: whether it was a success, and the whole log.
    async fn end(mut self) -> (bool, String) {
        let status = tokio::time::timeout(SOON, self.child.wait()).await.expect("it ends").expect("a status");
        while let Some(line) = self.log.next_line().await.expect("a readable log") {
            self.seen.push_str(&line);
            self.seen.push('\n');
        }
        (status.success(), self.seen)
    }
}

async fn get(address: &str, path: &str) -> String {
    let mut socket = TcpStream::connect(address).await.expect("the admin port is open");
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.expect("text");
    answer
}

#[tokio::test]
async fn a_signal_stops_it_in_order_and_the_admin_port_tells() {
    let mut process = Running::start("works", &[]);
    let line = process.until("admin port open").await;
    let address = line.rsplit_once("address=").expect("the address is logged").1.to_owned();
    process.until("ready=true").await;
    assert!(get(&address, "/readyz").await.starts_with("HTTP/1.1 200"));
    assert!(get(&address, "/livez").await.starts_with("HTTP/1.1 200"));
    let metrics = get(&address, "/metrics").await;
    for name in ["build_info{", "process_ready 1", "process_cpu_seconds_total"] {
        assert!(metrics.contains(name), "{name} is missing in\n{metrics}");
    }
    process.signal("-TERM");
    let (success, log) = process.end().await;
    assert!(success, "{log}");
    assert!(log.contains("SIGTERM") && log.contains("stopped"), "{log}");
}

#[tokio::test]
async fn readiness_is_withdrawn_during_the_drain_and_a_second_signal_aborts() {
    let mut process = Running::start("deaf", &[]);
    let line = process.until("admin port open").await;
    let address = line.rsplit_once("address=").expect("the address is logged").1.to_owned();
    process.until("ready=true").await;
    process.signal("-INT");
    process.until("ready=false").await;
    let readyz = get(&address, "/readyz").await;
    assert!(readyz.starts_with("HTTP/1.1 503") && readyz.contains(r#""draining":true"#), "{readyz}");
    process.signal("-TERM");
    let (success, log) = process.end().await;
    assert!(!success && log.contains("SIGTERM while these still ran: deaf"), "{log}");
}

#[tokio::test]
async fn an_overrun_deadline_fails_and_names_the_task() {
    let mut process = Running::start("deaf", &[("SHUTDOWN_DEADLINE_SECONDS", "1")]);
    process.until("ready=true").await;
    process.signal("-TERM");
    let (success, log) = process.end().await;
    assert!(!success && log.contains("the deadline while these still ran: deaf"), "{log}");
}

#[tokio::test]
async fn a_task_that_panics_fails_the_process() {
    let (success, log) = Running::start("panics", &[]).end().await;
    assert!(!success && log.contains("task fragile panicked: dropped it"), "{log}");
}

#[tokio::test]
async fn a_failed_start_fails_the_process() {
    let (success, log) = Running::start("cannot start", &[]).end().await;
    assert!(!success && log.contains("cannot start: no luck today"), "{log}");
}

#[tokio::test]
async fn a_signal_ends_a_start_that_hangs() {
    let mut process = Running::start("start hangs", &[]);
    process.until("admin port open").await;
    process.signal("-TERM");
    let (success, log) = process.end().await;
    assert!(success, "{log}");
}

#[tokio::test]
async fn wrong_settings_are_all_named_before_a_port_opens() {
    let settings = [("CHILD_NUMBER", "many"), ("LOG_FORMAT", "xml")];
    let (success, log) = Running::start("needs settings", &settings).end().await;
    assert!(!success);
    for name in ["CHILD_URL: is required", "CHILD_NUMBER: invalid digit", "LOG_FORMAT: is neither"] {
        assert!(log.contains(name), "{name} is missing in\n{log}");
    }
    assert!(!log.contains("port open"), "{log}");
}

#[tokio::test]
async fn a_reader_of_stderr_that_has_gone_is_no_panic() {
    // The first writes before the log is set up, the second to the log.
    for behaviour in ["needs settings", "cannot start"] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let child = command(behaviour, &[]).stdout(Stdio::piped()).stderr(writer).spawn();
        let end = child.expect("a child process").wait_with_output();
        let output = tokio::time::timeout(SOON, end).await.expect("it ends").expect("its output");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(!output.status.success() && said.contains(RETURNED), "{behaviour}: {said}");
    }
}
