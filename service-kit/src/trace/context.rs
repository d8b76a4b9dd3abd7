//! Places in a trace, and their text form: the header `traceparent` of W3C trace context.

use http::Extensions;
use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

use super::exporter::enabled;

/// The header of W3C trace context.
pub const HEADER: &str = "traceparent";

/// The span that further spans belong to. Empty if no spans are exported or the trace is not sampled; spans below an
/// empty parent are empty.
#[derive(Clone, Debug, Default)]
pub struct Parent(pub(super) Option<SpanContext>);

impl Parent {
    /// The span that a `traceparent` names; empty if it is malformed.
    pub fn of(traceparent: Option<&str>) -> Self {
        Self(traceparent.filter(|_| enabled()).and_then(sampled))
    }

    /// The span of a call, as the gRPC server keeps it in the extensions of the request.
    pub fn of_call(extensions: &Extensions) -> Self {
        extensions.get().cloned().unwrap_or_default()
    }

    /// True if spans below it are empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}

/// Reads the `traceparent` of a sampled trace.
pub(super) fn sampled(text: &str) -> Option<SpanContext> {
    parse(text).filter(SpanContext::is_sampled)
}

/// Reads a `traceparent`; `None` if it is malformed.
pub(super) fn parse(text: &str) -> Option<SpanContext> {
    let mut parts = text.split('-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    // Later versions may have more parts after the flags; 00 has none.
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

pub(super) fn format(context: &SpanContext) -> String {
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
        assert!(parse(&unsampled).is_some() && sampled(&unsampled).is_none());
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
    fn without_an_exporter_every_parent_is_empty() {
        assert!(Parent::of(Some(GOOD)).is_empty());
    }
}
