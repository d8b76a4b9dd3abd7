//! Traces: what happened to one request, across processes, exported by OTLP. Off unless an endpoint is configured.
//!
//! The work on one request is done in batches, together with that on others, so there is no call stack that a span
//! could live on: spans are begun and ended by hand, with the `traceparent` that travels with each command and event.
//! A batch has one span: in the trace of the first of its commands or events that is sampled, with links to the others.
//! The statements of a batch or a call are spans below it ([`db`]).
//!
//! Where the parent is not sampled, nothing is built: a span costs one look at an empty cell or option.
//!
//! If the collector is down or slow, spans wait in a bounded queue and are dropped beyond it; requests never wait for
//! it.

mod context;
mod database;
mod exporter;
mod logged;
mod settings;
mod span;

pub use self::context::{HEADER, Parent};
pub use self::database::{Database, db};
pub use self::exporter::{Exporter, enabled};
pub use self::settings::{Sampling, Settings};
pub use self::span::Span;
pub use opentelemetry::trace::SpanKind as Kind;
