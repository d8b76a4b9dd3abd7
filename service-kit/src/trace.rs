//! Traces: what happened to one request, across processes, exported by OTLP.
//!
//! Owns: the exporter (a global of the process, as the metrics recorder is), spans, and the W3C `traceparent` that
//! ties them together. Off unless an endpoint is configured; then a span costs one look at an empty cell.
//! Must not know: what the spans are about.
//! What can go wrong: the collector is away or slow. Spans wait in a bounded queue and are dropped beyond it; nobody
//! waits for them.
//!
//! The work on one request is done in batches, together with that on others, so there is no call stack that a span
//! could live on: spans are begun and ended by hand, with the `traceparent` that travels with each command and event.

use std::borrow::Cow;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use opentelemetry::trace::{
    Span as _, SpanContext, SpanId, SpanKind, Status, TraceContextExt as _, TraceFlags, TraceId, TraceState,
    Tracer as _, TracerProvider as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::WithExportConfig as _;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider};
use tokio::time::Instant;

use crate::clock::{Clock as _, SystemClock};
use crate::config::{Env, redact_url};

/// The header of W3C trace context.
pub const HEADER: &str = "traceparent";

/// Longest wait for the collector.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest wait for the last spans when the process stops.
const FLUSH: Duration = Duration::from_secs(2);
const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const RATIO: &str = "OTEL_TRACES_SAMPLER_ARG";

static TRACER: OnceLock<SdkTracer> = OnceLock::new();

/// Settings of traces.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `OTEL_EXPORTER_OTLP_ENDPOINT`: where spans go, by OTLP over gRPC. None: there are no traces.
    pub endpoint: Option<String>,
    /// `OTEL_TRACES_SAMPLER_ARG` (1): the share of traces kept, of those that begin here. Whether a caller's trace is
    /// kept is the caller's choice.
    pub ratio: f64,
}

impl Settings {
    /// Reads them.
    pub fn read(env: &mut Env) -> Self {
        let endpoint = env
            .about("Where traces are sent, by OTLP over gRPC; there are none without it.")
            .example("http://127.0.0.1:4317")
            .optional(ENDPOINT);
        if endpoint.as_ref().is_some_and(|url| !is_http(url)) {
            env.reject(ENDPOINT, "must be an http:// address");
        }
        let plain = endpoint.as_deref().map(without_credentials);
        if plain != endpoint {
            env.remark(ENDPOINT, "user, password, query and fragment of the address are not used");
        }
        let endpoint = plain;
        let ratio = env
            .about("Share of the traces that are kept, of those that no caller has begun; from 0 to 1.")
            .number_or(RATIO, 1.0, 0.0..=1.0);
        Self { endpoint, ratio }
    }
}

fn is_http(url: &str) -> bool {
    url.starts_with("http://") && url.parse::<http::Uri>().is_ok_and(|uri| uri.authority().is_some())
}

/// The parts of an address that the exporter uses. It sends no user info, but its libraries log the address.
fn without_credentials(endpoint: &str) -> String {
    let Ok(mut url) = endpoint.parse::<url::Url>() else { return endpoint.to_owned() };
    if url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none()
    {
        return endpoint.to_owned();
    }
    // These fail only for addresses without a host, which have no user info.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.set_fragment(None);
    url.into()
}

/// The exporter could not be set up.
#[derive(Debug, thiserror::Error)]
#[error("cannot set up the export of traces (OTEL_EXPORTER_OTLP_ENDPOINT)")]
pub struct Error(#[from] opentelemetry_otlp::ExporterBuildError);

/// Sends spans while it lives. End it with [`Exporter::end`].
#[derive(Debug)]
pub struct Exporter(Option<SdkTracerProvider>);

impl Exporter {
    /// Begins to export, if an endpoint is configured. Needs a runtime.
    pub fn begin(settings: &Settings, service: &'static str, version: &'static str) -> Result<Self, Error> {
        let Some(endpoint) = &settings.endpoint else { return Ok(Self(None)) };
        let exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_tonic()
            .with_endpoint(endpoint)
            .with_timeout(EXPORT_TIMEOUT)
            .build()?;
        let resource = Resource::builder()
            .with_service_name(service)
            .with_attribute(KeyValue::new("service.version", version))
            .build();
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_resource(resource)
            .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(settings.ratio))))
            .build();
        // A second process in one process is a test's; the first exporter stays.
        let _ = TRACER.set(provider.tracer("followgraph"));
        tracing::info!(endpoint = redact_url(endpoint), ratio = settings.ratio, "exporting traces");
        Ok(Self(Some(provider)))
    }

    /// Sends what is left.
    pub async fn end(self) {
        let Some(provider) = self.0 else { return };
        // It waits for the collector, with a limit.
        let flushed = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(FLUSH)).await;
        if let Ok(Err(error)) = flushed {
            tracing::warn!(%error, "the last spans were not exported");
        }
    }
}

/// True if spans are exported.
pub fn enabled() -> bool {
    TRACER.get().is_some()
}

/// What a span is to the services around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A call is answered.
    Server,
    /// Something is done within a process.
    Internal,
    /// A message is sent.
    Producer,
    /// A message is dealt with.
    Consumer,
}

/// A span under way; it ends when it is dropped. Empty if there are no traces.
#[derive(Debug, Default)]
pub struct Span(Option<Box<opentelemetry_sdk::trace::Span>>);

impl Span {
    /// Begins the span of a call: in its caller's trace, or in one of its own.
    pub fn of_call(name: &str, traceparent: Option<&str>) -> Self {
        let Some(tracer) = TRACER.get() else { return Self(None) };
        let parent = traceparent.and_then(parse).map_or_else(Context::new, remote);
        Self(Some(Box::new(start(tracer, name.to_owned().into(), Kind::Server, &parent, None))))
    }

    /// Begins a span of the trace that a command or event belongs to; without one there is none.
    pub fn of(name: impl FnOnce() -> Cow<'static, str>, kind: Kind, traceparent: Option<&str>) -> Self {
        let Some(tracer) = TRACER.get() else { return Self(None) };
        let Some(parent) = traceparent.and_then(parse) else { return Self(None) };
        Self(Some(Box::new(start(tracer, name(), kind, &remote(parent), None))))
    }

    /// Adds a number.
    pub fn set(&mut self, key: &'static str, value: u64) {
        if let Some(span) = &mut self.0 {
            span.set_attribute(KeyValue::new(key, i64::try_from(value).unwrap_or(i64::MAX)));
        }
    }

    /// Says that what it stands for failed, and how.
    pub fn failed(&mut self, how: &str) {
        if let Some(span) = &mut self.0 {
            span.set_status(Status::error(how.to_owned()));
        }
    }

    /// What ties further spans to this one.
    pub fn traceparent(&self) -> Option<String> {
        self.0.as_ref().map(|span| format(span.span_context()))
    }
}

/// Records a stage that many events went through together, for one of them: it began at `began` and ends now.
pub fn stage(
    name: &'static str,
    kind: Kind,
    traceparent: Option<&str>,
    began: Instant,
    attribute: (&'static str, u64),
) {
    let Some(tracer) = TRACER.get() else { return };
    let Some(parent) = traceparent.and_then(parse) else { return };
    let mut span = Span(Some(Box::new(start(tracer, name.into(), kind, &remote(parent), Some(began)))));
    span.set(attribute.0, attribute.1);
}

fn start(
    tracer: &SdkTracer,
    name: Cow<'static, str>,
    kind: Kind,
    parent: &Context,
    began: Option<Instant>,
) -> opentelemetry_sdk::trace::Span {
    let kind = match kind {
        Kind::Server => SpanKind::Server,
        Kind::Internal => SpanKind::Internal,
        Kind::Producer => SpanKind::Producer,
        Kind::Consumer => SpanKind::Consumer,
    };
    let mut builder = tracer.span_builder(name).with_kind(kind);
    if let Some(began) = began {
        let now = SystemTime::from(SystemClock.now());
        builder = builder.with_start_time(now.checked_sub(began.elapsed()).unwrap_or(now));
    }
    tracer.build_with_context(builder, parent)
}

fn remote(parent: SpanContext) -> Context {
    Context::new().with_remote_span_context(parent)
}

/// Reads a `traceparent`; none if it is malformed.
fn parse(text: &str) -> Option<SpanContext> {
    let mut parts = text.split('-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    // Later versions may say more after the flags; 00 says no more.
    if version.len() != 2 || version == "ff" || (version == "00" && parts.next().is_some()) {
        return None;
    }
    if trace.len() != 32 || span.len() != 16 || flags.len() != 2 {
        return None;
    }
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?) & TraceFlags::SAMPLED;
    let (trace, span) = (TraceId::from_hex(trace).ok()?, SpanId::from_hex(span).ok()?);
    let context = SpanContext::new(trace, span, flags, true, TraceState::default());
    context.is_valid().then_some(context)
}

fn format(context: &SpanContext) -> String {
    format!("00-{}-{}-{:02x}", context.trace_id(), context.span_id(), context.trace_flags())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_traceparent_is_read_and_written() {
        assert_eq!(format(&parse(GOOD).expect("well-formed")), GOOD);
        let unsampled = GOOD.replace("-01", "-00");
        assert!(!parse(&unsampled).expect("well-formed").is_sampled());
        for wrong in [
            "",
            "00",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-zz",
            "00-4bf92f3577b34da6-00f067aa0ba902b7-01",
        ] {
            assert!(parse(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn without_an_exporter_there_are_no_spans() {
        assert!(!enabled());
        let mut span = Span::of_call("/a/B", Some(GOOD));
        span.set("revision", 1);
        span.failed("no");
        assert_eq!(span.traceparent(), None);
        let unused = || unreachable!("no name is made");
        assert_eq!(Span::of(unused, Kind::Producer, Some(GOOD)).traceparent(), None);
    }

    #[test]
    fn credentials_in_the_endpoint_are_dropped_with_a_remark() {
        let mut env =
            Env::from_pairs([(ENDPOINT, "http://user:hunter2@127.0.0.1:4317/?key=hunter3#hunter4")]);
        let settings = Settings::read(&mut env);
        assert_eq!(settings.endpoint.as_deref(), Some("http://127.0.0.1:4317/"));
        assert_eq!(env.remarks().len(), 1);
        assert!(!format!("{settings:?} {:?} {}", env.remarks(), env.redacted()).contains("hunter"));

        let mut env = Env::from_pairs([(ENDPOINT, "http://127.0.0.1:4317")]);
        assert_eq!(Settings::read(&mut env).endpoint.as_deref(), Some("http://127.0.0.1:4317"));
        assert!(env.remarks().is_empty());
    }

    #[test]
    fn only_plain_addresses_are_taken() {
        let read = |url: &str| {
            let mut env = Env::from_pairs([(ENDPOINT, url)]);
            let settings = Settings::read(&mut env);
            env.finish(settings).is_ok()
        };
        assert!(read("http://127.0.0.1:4317"));
        assert!(!read("127.0.0.1:4317") && !read("https://host") && !read("http://"));
    }
}
