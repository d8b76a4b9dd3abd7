//! Spans, begun and ended by hand.

use std::borrow::Cow;
use std::fmt::Display;

use opentelemetry::trace::{
    Link, Span as _, SpanBuilder, SpanContext, SpanKind as Kind, Status, TraceContextExt as _, Tracer as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::SdkTracer;

use super::context::{Parent, format, parse};
use super::exporter::tracer;

/// Limit of the links of a span, as the SDK has it; further commands or events are not linked.
const MAX_LINKS: usize = 128;

/// A span under way; it ends when it is dropped. Empty if nothing is recorded.
#[derive(Debug, Default)]
pub struct Span(Option<Box<opentelemetry_sdk::trace::Span>>);

impl Span {
    /// Begins the span of a call: in its caller's trace, or in a new one.
    pub fn of_call(name: &str, traceparent: Option<&str>) -> Self {
        let Some(tracer) = tracer() else { return Self(None) };
        let builder = start(name.to_owned(), Kind::Server);
        match traceparent.and_then(parse) {
            Some(parent) => Self::below(tracer, builder, parent),
            None => Self(Some(Box::new(tracer.build_with_context(builder, &Context::new())))),
        }
    }

    /// Begins a span in the trace of a command or event; empty without a `traceparent`.
    pub fn of(name: impl FnOnce() -> Cow<'static, str>, kind: Kind, traceparent: Option<&str>) -> Self {
        let Some(tracer) = tracer() else { return Self(None) };
        let Some(parent) = traceparent.and_then(parse) else { return Self(None) };
        Self::below(tracer, start(name(), kind), parent)
    }

    /// Begins the span of work on many commands or events at once. It belongs to the trace of the first that is sampled
    /// and links up to 128 other sampled ones. If none is, the sampler decides for the first.
    pub fn of_batch<'a>(
        name: &'static str,
        kind: Kind,
        traceparents: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let Some(tracer) = tracer() else { return Self(None) };
        Self::linking(tracer, name, kind, traceparents.into_iter().filter_map(parse).collect())
    }

    /// The same for work below several spans of this process, such as a statement that several calls share.
    pub fn of_parents<'a>(
        name: &'static str,
        kind: Kind,
        parents: impl IntoIterator<Item = &'a Parent>,
    ) -> Self {
        let Some(tracer) = tracer() else { return Self(None) };
        Self::linking(tracer, name, kind, parents.into_iter().filter_map(|parent| parent.0.clone()).collect())
    }

    fn linking(tracer: &SdkTracer, name: &'static str, kind: Kind, all: Vec<SpanContext>) -> Self {
        let Some(parent) = all.iter().find(|one| one.is_sampled()).or(all.first()).cloned() else {
            return Self(None);
        };
        let mut last = parent.span_id();
        // Commands of one call have one parent, and follow each other.
        let others = all.into_iter().filter(|other| {
            let is_new = other.span_id() != last && other.span_id() != parent.span_id();
            last = other.span_id();
            is_new && other.is_sampled()
        });
        let links = others.take(MAX_LINKS).map(Link::with_context).collect();
        Self::below(tracer, start(name, kind).with_links(links), parent)
    }

    /// Begins a span below another one.
    pub(super) fn below(tracer: &SdkTracer, builder: SpanBuilder, parent: SpanContext) -> Self {
        let parent = Context::new().with_remote_span_context(parent);
        Self(Some(Box::new(tracer.build_with_context(builder, &parent))))
    }

    /// Adds a number.
    pub fn set(&mut self, key: &'static str, value: u64) {
        if let Some(span) = &mut self.0 {
            span.set_attribute(KeyValue::new(key, i64::try_from(value).unwrap_or(i64::MAX)));
        }
    }

    /// Sets the status of the span to an error with this description.
    pub fn failed(&mut self, how: &str) {
        if let Some(span) = &mut self.0 {
            span.set_status(Status::error(how.to_owned()));
        }
    }

    /// Ends the span, as failed if the outcome is an error, and passes the outcome on.
    pub fn finish<T, E: Display>(mut self, outcome: Result<T, E>) -> Result<T, E> {
        if let Err(error) = &outcome {
            self.failed(&error.to_string());
        }
        outcome
    }

    /// The parent of spans below this one, in this process.
    pub fn as_parent(&self) -> Parent {
        let context = self.0.as_ref().map(|span| span.span_context());
        Parent(context.filter(|context| context.is_sampled()).cloned())
    }

    /// The header that makes spans of other processes belong to this one.
    pub fn traceparent(&self) -> Option<String> {
        self.0.as_ref().map(|span| format(span.span_context()))
    }
}

pub(super) fn start(name: impl Into<Cow<'static, str>>, kind: Kind) -> SpanBuilder {
    SpanBuilder::from_name(name).with_kind(kind)
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use opentelemetry::trace::TracerProvider as _;
    use opentelemetry_sdk::error::OTelSdkResult;
    use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter};
    use parking_lot::Mutex;

    use super::super::exporter::enabled;
    use super::*;

    pub const CALL: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    const OTHER: &str = "00-5bf92f3577b34da6a3ce929d0e0e4736-10f067aa0ba902b7-01";
    const UNSAMPLED: &str = "00-6bf92f3577b34da6a3ce929d0e0e4736-20f067aa0ba902b7-00";

    /// Keeps the spans that ended.
    #[derive(Clone, Debug, Default)]
    pub struct Recorded(Arc<Mutex<Vec<SpanData>>>);

    impl Recorded {
        pub fn tracer(&self) -> SdkTracer {
            SdkTracerProvider::builder().with_simple_exporter(self.clone()).build().tracer("test")
        }

        pub fn spans(&self) -> Vec<SpanData> {
            self.0.lock().clone()
        }
    }

    impl SpanExporter for Recorded {
        async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
            self.0.lock().extend(batch);
            Ok(())
        }

        fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
            Ok(())
        }
    }

    pub fn batch(tracer: &SdkTracer, traceparents: &[&str]) -> Span {
        Span::linking(
            tracer,
            "apply",
            Kind::Consumer,
            traceparents.iter().filter_map(|text| parse(text)).collect(),
        )
    }

    #[test]
    fn a_batch_belongs_to_its_first_sampled_event_and_links_the_others() {
        let recorded = Recorded::default();
        let tracer = recorded.tracer();
        drop(batch(&tracer, &[UNSAMPLED, "malformed", CALL, CALL, OTHER, OTHER]));
        let spans = recorded.spans();
        let [span] = spans.as_slice() else { panic!("one span: {spans:?}") };
        let (call, other) = (parse(CALL).expect("well-formed"), parse(OTHER).expect("well-formed"));
        assert_eq!((span.span_context.trace_id(), span.parent_span_id), (call.trace_id(), call.span_id()));
        let links: Vec<_> = span.links.iter().map(|link| link.span_context.clone()).collect();
        assert_eq!(links, [other]);
    }

    #[test]
    fn a_batch_without_a_sampled_event_has_no_span() {
        let recorded = Recorded::default();
        let span = batch(&recorded.tracer(), &[UNSAMPLED, "malformed"]);
        assert!(span.as_parent().is_empty());
        drop(span);
        assert!(recorded.spans().is_empty());
    }

    #[test]
    fn links_are_limited() {
        let recorded = Recorded::default();
        let many: Vec<_> = (1..=1_000).map(|n| format!("00-{n:032x}-{n:016x}-01")).collect();
        let many: Vec<_> = many.iter().map(String::as_str).collect();
        drop(batch(&recorded.tracer(), &many));
        assert_eq!(recorded.spans()[0].links.len(), MAX_LINKS);
    }

    #[test]
    fn without_an_exporter_there_are_no_spans() {
        assert!(!enabled());
        let mut span = Span::of_call("/a/B", Some(CALL));
        span.set("revision", 1);
        span.failed("no");
        assert_eq!(span.traceparent(), None);
        let unused = || unreachable!("no name is made");
        assert_eq!(Span::of(unused, Kind::Producer, Some(CALL)).traceparent(), None);
        assert!(Span::of_batch("apply", Kind::Consumer, [CALL]).as_parent().is_empty());
        assert!(Span::of_parents("shared", Kind::Internal, [&Parent::default()]).as_parent().is_empty());
    }
}
