//! One trace leads from the client's call through commit and publication to the read model.

use std::time::Duration;

use devstack::env_file::Env;
use proto::command::v1::FollowRequest;
use tests::collector::{Collector, Span};
use tests::{Own, new_user, until};
use tonic::Request;

/// Exporters send what they have every five seconds.
const LIMIT: Duration = Duration::from_secs(30);
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CLIENT: &str = "00f067aa0ba902b7";

#[tokio::test(flavor = "multi_thread")]
async fn one_trace_leads_from_the_call_to_the_read_model() {
    let collector = Collector::start().await;
    let own = Own::light()
        .start_with(Env::default().with("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint()))
        .await;
    let mut commands = own.endpoints.commands();
    follow(&mut commands, &format!("00-{TRACE}-{CLIENT}-01")).await;

    let spans = until("all spans of the trace", LIMIT, || {
        let spans = collector.trace(TRACE);
        let complete = ["commit", "publish followgraph.events.follow", "apply", "visible"]
            .iter()
            .all(|name| spans.iter().any(|span| span.name == *name));
        async move { if complete { Ok(spans) } else { Err(format!("{spans:?}")) } }
    })
    .await;
    let call = find(&spans, "command-service", "followgraph.command.v1.CommandService/Follow");
    assert_eq!(call.parent, CLIENT, "the call belongs to its client's span");
    let commit = find(&spans, "command-service", "commit");
    let publish = find(&spans, "command-service", "publish followgraph.events.follow");
    assert_eq!((&commit.parent, &publish.parent), (&call.id, &call.id));
    let apply = find(&spans, "projector", "apply");
    let visible = find(&spans, "projector", "visible");
    for span in [apply, visible] {
        // From the stream it comes with the publication's span, from the outbox with the call's.
        assert!(span.parent == publish.id || span.parent == call.id, "{spans:?}");
    }
    let statements = spans.iter().filter(|span| span.name.starts_with("db.")).count();
    assert_eq!(spans.len() - statements, 5, "each once: {spans:?}");
    // Statements end before the spans that they belong to, so they have arrived with those.
    let parent = |name| find(&spans, "projector", name).parent.as_str();
    assert_eq!(
        (parent("db.batch.apply"), parent("db.checkpoint.publish")),
        (apply.id.as_str(), visible.id.as_str())
    );
    assert!(spans.iter().all(|span| span.took_time), "{spans:?}");

    // A client that does not want to be traced is not.
    let unsampled = TRACE.replace('4', "5");
    follow(&mut commands, &format!("00-{unsampled}-{CLIENT}-00")).await;
    let later = TRACE.replace('4', "6");
    follow(&mut commands, &format!("00-{later}-{CLIENT}-01")).await;
    until("a later trace", LIMIT, || {
        let visible = collector.trace(&later).iter().any(|span| span.name == "visible");
        async move { if visible { Ok(()) } else { Err("not yet".to_owned()) } }
    })
    .await;
    assert!(collector.trace(&unsampled).is_empty());
}

async fn follow(commands: &mut tests::Commands, traceparent: &str) {
    let mut request = Request::new(FollowRequest {
        actor_id: new_user(),
        target_id: new_user(),
        ..FollowRequest::default()
    });
    request.metadata_mut().insert("traceparent", traceparent.parse().expect("ASCII"));
    commands.follow(request).await.expect("a follow");
}

#[track_caller]
fn find<'a>(spans: &'a [Span], service: &str, name: &str) -> &'a Span {
    let found = spans.iter().find(|span| span.service == service && span.name == name);
    found.unwrap_or_else(|| panic!("{service} has no span {name}: {spans:?}"))
}
