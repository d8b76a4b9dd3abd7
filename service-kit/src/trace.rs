//! Traces: what happened to one request, across processes, exported by OTLP.
//!
//! Owns: the exporter (a global of the process, as the metrics recorder is), spans, and the W3C `traceparent` that
//! ties them together. Off unless an endpoint is configured; then a span costs one look at an empty cell.
//! Must not know: what the spans are about.
//! What can go wrong: the collector is away or slow. Spans wait in a bounded queue and are dropped beyond it; nobody
//! waits for them. That they are not taken is logged once, and counted.
//!
//! The work on one request is done in batches, together with that on others, so there is no call stack that a span
//! could live on: spans are begun and ended by hand, with the `traceparent` that travels with each command and event.

mod settings;
mod told;

use std::borrow::Cow;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use opentelemetry::trace::{
    Span as _, SpanContext, SpanId, SpanKind, Status, TraceContextExt as _, TraceFlags, TraceId, TraceState,
    Tracer as _, TracerProvider as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{WithExportConfig as _, WithTonicConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use tokio::time::Instant;
use tonic::transport::ClientTlsConfig;

pub use self::settings::{Sampling, Settings};
use self::told::Told;
use crate::clock::{Clock as _, SystemClock};
use crate::config::redact_url;

/// The header of W3C trace context.
pub const HEADER: &str = "traceparent";

/// Longest wait for the collector.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest wait for the last spans when the process stops.
const FLUSH: Duration = Duration::from_secs(2);

static TRACER: OnceLock<SdkTracer> = OnceLock::new();

/// Sends spans while it lives. End it with [`Exporter::end`].
#[derive(Debug)]
pub struct Exporter(Option<SdkTracerProvider>);

impl Exporter {
    /// Begins to export, if an endpoint is configured. Needs a runtime.
    pub fn begin(settings: &Settings, service: &'static str, version: &'static str) -> Self {
        let Some(endpoint) = &settings.endpoint else { return Self(None) };
        let builder = opentelemetry_otlp::SpanExporter::builder().with_tonic();
        let builder = match endpoint.starts_with("https://") {
            true => builder.with_tls_config(ClientTlsConfig::new().with_enabled_roots()),
            false => builder,
        };
        let exporter = match builder.with_endpoint(endpoint).with_timeout(EXPORT_TIMEOUT).build() {
            Ok(exporter) => exporter,
            Err(error) => {
                // The library reads variables of its own (headers, compression). Traces are no reason not to serve.
                tracing::warn!(%error, "cannot set up the export of traces: there are none");
                return Self(None);
            }
        };
        let resource = Resource::builder()
            .with_service_name(service)
            .with_attribute(KeyValue::new("service.version", version))
            .build();
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(Told::new(exporter))
            .with_resource(resource)
            .with_sampler(settings.sampling.sampler())
            .build();
        // A second process in one process is a test's; the first exporter stays.
        let _ = TRACER.set(provider.tracer("followgraph"));
        tracing::info!(endpoint = redact_url(endpoint), sampling = ?settings.sampling, "exporting traces");
        Self(Some(provider))
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
}
