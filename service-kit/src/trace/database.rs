//! Spans around statements and exchanges with a database, after the semantic conventions of OpenTelemetry.

use opentelemetry::KeyValue;
use opentelemetry::trace::{SpanContext, SpanKind};
use opentelemetry_sdk::trace::SdkTracer;

use super::context::Parent;
use super::exporter::tracer;
use super::span::{Span, start};

/// A database system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Database {
    /// Bolt exchanges.
    Neo4j,
    /// SQL statements.
    PostgreSql,
}

impl Database {
    /// The value of `db.system.name`.
    fn name(self) -> &'static str {
        match self {
            Self::Neo4j => "neo4j",
            Self::PostgreSql => "postgresql",
        }
    }
}

/// Begins the span `db.<operation>` of a statement or a transaction; the operation is a noun and a verb, such as
/// `log_head.lock`. Begin it before the statement waits for a connection, and end it with [`Span::finish`].
///
/// If several statements are sent as one exchange, set `db.operation.batch.size`.
pub fn db(database: Database, operation: &'static str, parent: &Parent) -> Span {
    match (&parent.0, tracer()) {
        (Some(parent), Some(tracer)) => begin(tracer, database, operation, parent),
        _ => Span::default(),
    }
}

fn begin(tracer: &SdkTracer, database: Database, operation: &'static str, parent: &SpanContext) -> Span {
    let builder = start(format!("db.{operation}"), SpanKind::Client).with_attributes([
        KeyValue::new("db.system.name", database.name()),
        KeyValue::new("db.operation.name", operation),
    ]);
    Span::below(tracer, builder, parent.clone())
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::Status;

    use super::super::context::{parse, sampled};
    use super::super::span::tests::{CALL, Recorded, batch};
    use super::*;

    #[test]
    fn a_statement_is_a_span_below_its_parent() {
        let recorded = Recorded::default();
        let tracer = recorded.tracer();
        let parent = sampled(CALL).expect("sampled");
        let mut span = begin(&tracer, Database::PostgreSql, "log_head.lock", &parent);
        span.set("db.operation.batch.size", 3);
        span.finish(Err::<(), _>("timed out")).expect_err("the outcome is passed on");
        let spans = recorded.spans();
        let [span] = spans.as_slice() else { panic!("one span: {spans:?}") };
        assert_eq!((span.name.as_ref(), &span.span_kind), ("db.log_head.lock", &SpanKind::Client));
        assert_eq!(span.parent_span_id, parent.span_id());
        let attribute = |key: &str| {
            let found = span.attributes.iter().find(|attribute| attribute.key.as_str() == key);
            found.map(|attribute| attribute.value.to_string())
        };
        assert_eq!(attribute("db.system.name").as_deref(), Some("postgresql"));
        assert_eq!(attribute("db.operation.name").as_deref(), Some("log_head.lock"));
        assert_eq!(attribute("db.operation.batch.size").as_deref(), Some("3"));
        assert_eq!(span.status, Status::error("timed out"));
    }

    #[test]
    fn statements_of_a_batch_are_below_its_span() {
        let recorded = Recorded::default();
        let tracer = recorded.tracer();
        let span = batch(&tracer, &[CALL]);
        let parent = span.as_parent().0.expect("sampled");
        begin(&tracer, Database::Neo4j, "batch.apply", &parent).finish(Ok::<_, &str>(())).expect("passed on");
        drop(span);
        let spans = recorded.spans();
        let [statement, batch] = spans.as_slice() else { panic!("two spans: {spans:?}") };
        assert_eq!(statement.parent_span_id, batch.span_context.span_id());
        assert_eq!(statement.span_context.trace_id(), parse(CALL).expect("well-formed").trace_id());
        assert_eq!(statement.status, Status::Unset);
    }

    #[test]
    fn below_an_empty_parent_there_is_no_span() {
        let span = db(Database::Neo4j, "batch.apply", &Parent::default());
        assert!(span.as_parent().is_empty() && span.traceparent().is_none());
    }
}
