//! The body of `main`: settings, telemetry, admin port, supervision, exit code.
//!
//! Wrong settings end the process with exit code 2 before it opens a port. A failed start, a dead task or an exceeded
//! shutdown deadline end it with exit code 1.

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio_util::sync::CancellationToken;

pub use crate::about::About;
use crate::admin;
use crate::arguments::Asked;
use crate::catalog;
use crate::config::Env;
use crate::healthcheck::Question;
use crate::lifecycle::{Lifecycle, Signals};
use crate::listen;
use crate::readiness::{CheckKind, Readiness};
use crate::stderr;
use crate::telemetry::{self, Telemetry};
use crate::trace;

/// Passes once the process has started all of its parts.
const START: CheckKind =
    CheckKind { name: "start", action: "read the log of the process: it says what it waits for" };

/// Exit code for settings that cannot be used.
const BAD_SETTINGS: u8 = 2;
/// How long abandoned blocking work may delay the exit.
const RUNTIME_GRACE: Duration = Duration::from_secs(1);

crate::declare_settings! {
    /// Settings that every process has.
    pub struct Settings;
    /// Reads them.
    pub fn read(env, about: &About);

    /// `LOG_FORMAT`, `LOG_LEVEL` and where traces go.
    telemetry: telemetry::Settings = telemetry::Settings::read(env);
    /// Address of the admin port: /livez, /readyz, /metrics.
    admin_listen: SocketAddr = env.port_or("ADMIN_LISTEN", about.admin_listen);
    /// Timeout of an orderly stop, after which the process exits with code 1.
    shutdown_deadline: Duration = env.seconds_or("SHUTDOWN_DEADLINE_SECONDS", 20);
}

/// The parts of a process that a service uses.
#[derive(Debug, Clone)]
pub struct Process {
    /// Runs and stops tasks.
    pub lifecycle: Lifecycle,
    /// Readiness checks.
    pub readiness: Readiness,
    /// Metrics.
    pub telemetry: Telemetry,
}

/// Runs a service until a signal, or answers `--help`, `--version`, `--settings` or `--metrics`. `read` reads its
/// settings; `start` opens ports, spawns tasks on the lifecycle and returns. The process is ready once `start` has
/// returned and every latch is ready. A signal during `start` abandons it.
pub fn run<C>(
    about: About,
    read: impl FnOnce(&mut Env) -> C,
    start: impl AsyncFnOnce(C, Process) -> anyhow::Result<()>,
) -> ExitCode {
    let asked = Asked::of(std::env::args());
    // The description of the settings must not depend on the environment of this machine.
    let mut env = if asked.is_some() { Env::from_pairs::<String, String>([]) } else { Env::from_process() };
    let settings = Settings::read(&mut env, &about);
    if let Some(question) = Question::asked() {
        return question.run(settings.admin_listen);
    }
    let config = read(&mut env);
    if let Some(asked) = asked {
        // The reader may have closed stdout.
        let _ = writeln!(std::io::stdout(), "{}", asked.answer(&about, env.variables()));
        return ExitCode::SUCCESS;
    }
    let shown = env.redacted();
    let remarks = env.remarks().to_vec();
    let (settings, config) = match env.finish((settings, config)) {
        Ok(all) => all,
        // Logs are not set up yet: their settings may be wrong as well.
        Err(error) => return failed(&about, &error, ExitCode::from(BAD_SETTINGS)),
    };
    let telemetry = match telemetry::init(&settings.telemetry, about.name, about.version) {
        Ok(telemetry) => telemetry,
        Err(error) => return failed(&about, &error, ExitCode::FAILURE),
    };
    catalog::describe(about.metrics);
    telemetry::start_line(about.name, about.version, &shown);
    for remark in remarks {
        tracing::warn!(setting = remark.variable, "{}", remark.text);
    }
    raise_file_limit();

    let outcome = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")
        .and_then(|runtime| {
            let outcome = runtime.block_on(supervise(&about, &settings, config, telemetry, start));
            // Dropping a runtime waits for blocking work without a limit.
            runtime.shutdown_timeout(RUNTIME_GRACE);
            outcome
        });
    match outcome {
        Ok(()) => {
            tracing::info!("stopped");
            ExitCode::SUCCESS
        }
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "stopped with a failure");
            ExitCode::FAILURE
        }
    }
}

fn failed(about: &About, error: &dyn std::error::Error, code: ExitCode) -> ExitCode {
    stderr::line(&format!("{}: {error}", about.name));
    code
}

/// Each connection is an open file, and the usual soft limit of 1,024 is below `MAX_CONNECTIONS`.
fn raise_file_limit() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(soft, hard)| {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
        Ok((soft, hard))
    });
    match raised {
        Ok((soft, hard)) => tracing::info!(soft, hard, "limit of open files raised to the hard limit"),
        Err(error) => tracing::warn!(%error, "cannot raise the limit of open files"),
    }
}

async fn supervise<C>(
    about: &About,
    settings: &Settings,
    config: C,
    telemetry: Telemetry,
    start: impl AsyncFnOnce(C, Process) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    // First, so that a process that shows signs of life handles signals.
    let signals = Signals::listen()?;
    let traces = trace::Exporter::begin(&settings.telemetry.traces, about.name, about.version);
    let readiness = Readiness::new();
    let started = readiness.latch(START);
    let lifecycle = Lifecycle::new(readiness.clone());

    let (listener, address) = listen::bind(settings.admin_listen, "ADMIN_LISTEN")?;
    tracing::info!(%address, "admin port open");
    // Not a task of the lifecycle, because it must answer during the whole drain.
    let admin_stop = CancellationToken::new();
    let admin = admin::serve(listener, readiness.clone(), telemetry.clone(), admin_stop.clone());
    let admin = tokio::spawn(admin);

    let mut supervision = std::pin::pin!(lifecycle.run(signals, settings.shutdown_deadline));
    let start = start(config, Process { lifecycle: lifecycle.clone(), readiness, telemetry });
    let outcome = tokio::select! {
        stopped = &mut supervision => stopped.map_err(Into::into),
        outcome = start => {
            match &outcome {
                Ok(()) => started.ready(),
                Err(_) => lifecycle.begin_drain(),
            }
            let stopped = supervision.await;
            outcome.context("cannot start").and(stopped.map_err(Into::into))
        }
    };
    admin_stop.cancel();
    // It has been stopped; a failure does not matter any more.
    let _ = admin.await;
    traces.end().await;
    outcome
}
