//! Logs and metrics of the process: the log format, the metrics recorder (a global), the histogram buckets and the
//! start line. A second initialisation in one process is an error.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use parking_lot::Mutex;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::TryInitError;

use crate::config::Env;
use crate::trace;

/// Bucket bounds of histograms whose name ends in `_seconds`.
const SECONDS: [f64; 14] =
    [0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0];
/// Bucket bounds of all other histograms: sizes and counts.
const COUNTS: [f64; 13] =
    [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1_000.0, 2_000.0, 5_000.0, 10_000.0];

/// The source revision, set by release builds only, so that a commit does not rebuild every crate.
const REVISION: Option<&str> = option_env!("GIT_REVISION");

/// Drivers that log every connection at level info; `LOG_LEVEL` may name them to show it. This crate logs what matters
/// of it.
const QUIET: &str = "async_nats=warn,neo4rs=warn";

/// Form of the log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

impl FromStr for LogFormat {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err("is neither text nor json"),
        }
    }
}

crate::declare_settings! {
    /// Settings of logs and traces.
    pub struct Settings;
    /// Reads them.
    pub fn read(env);

    /// Form of the log lines: text or json.
    format: LogFormat = env.parse_or("LOG_FORMAT", "text");
    /// Log filter: a level, or a list of target=level.
    filter: String = read_filter(env);
    /// Export of traces.
    traces: trace::Settings = trace::Settings::read(env);
}

fn read_filter(env: &mut Env) -> String {
    let filter = env.example("info,sqlx=warn").text_or("LOG_LEVEL", "info");
    let parsed = filter.parse::<EnvFilter>().map_err(|error| format!("is not a log filter: {error}"));
    env.accept("LOG_LEVEL", parsed);
    filter
}

/// Why telemetry could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another logger is installed.
    #[error("the log subscriber could not be installed")]
    Logs(#[from] TryInitError),
    /// Another metrics recorder is installed.
    #[error("the metrics recorder could not be installed")]
    Metrics(#[from] BuildError),
}

type Collector = Box<dyn Fn() + Send + Sync>;

/// Renders the metrics of this process. Clones share everything.
#[derive(Clone)]
pub struct Telemetry {
    handle: PrometheusHandle,
    collectors: Arc<Mutex<Vec<Collector>>>,
}

impl fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Telemetry").finish_non_exhaustive()
    }
}

impl Telemetry {
    /// Runs `collect` before each rendering, for values that are cheap to read, such as the size of a pool.
    pub fn on_scrape(&self, collect: impl Fn() + Send + Sync + 'static) {
        self.collectors.lock().push(Box::new(collect));
    }

    /// All metrics in Prometheus' text form.
    pub fn render(&self) -> String {
        for collect in self.collectors.lock().iter() {
            collect();
        }
        self.handle.render()
    }

    /// Moves recorded samples into their buckets. Without it samples accumulate between scrapes.
    pub fn upkeep(&self) {
        self.handle.run_upkeep();
    }
}

/// Installs logs and metrics for the whole process. Call it once, first.
pub fn init(settings: &Settings, service: &'static str, version: &'static str) -> Result<Telemetry, Error> {
    install_logs(settings)?;
    log_panics();
    let handle = PrometheusBuilder::new()
        .set_buckets(&COUNTS)?
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)?
        .install_recorder()?;
    let telemetry = Telemetry { handle, collectors: Arc::default() };

    crate::catalog::describe(crate::metrics::ALL);
    metrics::gauge!(
        crate::metrics::BUILD_INFO,
        "service" => service,
        "version" => version,
        "revision" => revision()
    )
    .set(1.0);
    let process = metrics_process::Collector::default();
    process.describe();
    telemetry.on_scrape(move || process.collect());
    Ok(telemetry)
}

/// The source revision this was built from, or `unknown`.
pub fn revision() -> &'static str {
    REVISION.unwrap_or("unknown")
}

/// Logs the service, its version and its settings. `config` must be redacted, see [`Env::redacted`].
pub fn start_line(service: &str, version: &str, config: &str) {
    tracing::info!(service, version, revision = revision(), config, "starting");
}

fn install_logs(settings: &Settings) -> Result<(), TryInitError> {
    use tracing_subscriber::util::SubscriberInitExt;

    let builder = tracing_subscriber::fmt()
        // It reports failed writes by `eprintln!`, which panics if stderr is closed.
        .log_internal_errors(false)
        // Of two directives for the same target, the later one counts.
        .with_env_filter(EnvFilter::new(format!("{QUIET},{}", settings.filter)))
        .with_writer(std::io::stderr);
    match settings.format {
        LogFormat::Text => builder.with_ansi(false).finish().try_init(),
        LogFormat::Json => builder.json().flatten_event(true).finish().try_init(),
    }
}

/// Logs panics as lines of the configured form.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let text = panic.payload_as_str().unwrap_or("without a message");
        // Captured only if RUST_BACKTRACE asks for it.
        let backtrace = std::backtrace::Backtrace::capture();
        tracing::error!(panic = text, place, %backtrace, "panic");
    }));
}

/// An error with its causes, for logs.
pub fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_formats_and_filters_are_mistakes() {
        let mut env = Env::from_pairs([("LOG_FORMAT", "xml"), ("LOG_LEVEL", "info,=,=")]);
        let settings = Settings::read(&mut env);
        assert_eq!(env.finish(settings).expect_err("both are wrong").mistakes.len(), 2);
    }

    #[test]
    fn bucket_bounds_rise() {
        assert!(SECONDS.is_sorted() && COUNTS.is_sorted());
    }
}
