//! One trace leads from the client's call through commit and publication to the read model; that of a read leads to the
//! store that answers.

use devstack::env_file::Env;
use proto::command::v1::{FollowRequest, GetStatusRequest};
use proto::query::v1::{CheckRequest, Source};
use tests::clients::{check, consistent};
use tests::collector::{Collector, Span};
use tests::{Own, new_user, until};
use tokio::task::JoinSet;
use tonic::Request;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CLIENT: &str = "00f067aa0ba902b7";
const FOLLOW: &str = "followgraph.command.v1.CommandService/Follow";
const CHECK: &str = "followgraph.query.v1.QueryService/Check";
/// The statements of a commit without a request_id and without jobs.
const OF_A_COMMIT: [&str; 4] =
    ["db.batch.save", "db.graph.load", "db.log_head.lock", "db.transaction.commit"];

#[tokio::test(flavor = "multi_thread")]
async fn one_trace_leads_from_the_call_to_the_read_model() {
    let collector = Collector::start().await;
    let own = Own::light()
        .start_with(Env::default().with("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint()))
        .await;
    let mut commands = own.endpoints.commands();
    follow(&mut commands, &sampled(TRACE)).await;

    let spans = until("all spans of the trace", || {
        let spans = collector.trace(TRACE);
        let complete = ["commit", "publish followgraph.events.follow", "apply", "visible"]
            .iter()
            .all(|name| spans.iter().any(|span| span.name == *name));
        async move { if complete { Ok(spans) } else { Err(format!("{spans:?}")) } }
    })
    .await;
    let call = find(&spans, "command-service", FOLLOW);
    assert_eq!(call.parent, CLIENT, "the call belongs to its client's span");
    let commit = find(&spans, "command-service", "commit");
    let publish = find(&spans, "command-service", "publish followgraph.events.follow");
    assert_eq!((&commit.parent, &publish.parent), (&call.id, &call.id));
    let apply = find(&spans, "projector", "apply");
    let visible = find(&spans, "projector", "visible");
    for span in [apply, visible] {
        // Through the stream its parent is the publication's span, through the outbox the call's.
        assert!(span.parent == publish.id || span.parent == call.id, "{spans:?}");
    }
    let statements = spans.iter().filter(|span| span.name.starts_with("db.")).count();
    assert_eq!(spans.len() - statements, 5, "each once: {spans:?}");
    // Statements end before their parent spans, so they have arrived with those.
    assert_eq!(below(commit, &spans), OF_A_COMMIT);
    let parent = |name| find(&spans, "projector", name).parent.as_str();
    assert_eq!(
        (parent("db.batch.apply"), parent("db.checkpoint.publish")),
        (apply.id.as_str(), visible.id.as_str())
    );
    assert!(spans.iter().all(|span| span.took_time), "{spans:?}");

    // A call that its client does not sample is not traced.
    let left_out = other_trace('5');
    follow(&mut commands, &unsampled(&left_out)).await;
    let later = other_trace('6');
    follow(&mut commands, &sampled(&later)).await;
    until("a later trace", || {
        let visible = collector.trace(&later).iter().any(|span| span.name == "visible");
        async move { if visible { Ok(()) } else { Err("not yet".to_owned()) } }
    })
    .await;
    assert!(collector.trace(&left_out).is_empty());

    commands_of_a_batch_share_a_commit(&own, &collector).await;
    a_read_shows_the_exchange_with_its_store(&own, &collector).await;
}

/// Two commands collect while another one waits for the head. The commit is in the trace of one of them.
async fn commands_of_a_batch_share_a_commit(own: &Own, collector: &Collector) {
    let commands = own.endpoints.commands();
    let send = |traceparent: String| {
        let mut commands = commands.clone();
        async move { follow(&mut commands, &traceparent).await }
    };
    let first = unsampled(&other_trace('7'));
    // After a commit the readiness check does not wait for the head.
    send(first.clone()).await;
    let pool = own.endpoints.postgres().await;
    let mut head = pool.begin().await.expect("a transaction");
    sqlx::query("SELECT FROM log_lock FOR UPDATE").execute(&mut *head).await.expect("the head");
    let mut sent = JoinSet::new();
    sent.spawn(send(first));
    until("the first one to wait for the head", || async {
        // This role cannot see the statements of others, but their locks.
        let waiting: i64 = sqlx::query_scalar("SELECT count(*) FROM pg_locks WHERE NOT granted")
            .fetch_one(&pool)
            .await
            .expect("locks are visible");
        if waiting > 0 { Ok(()) } else { Err("nothing waits".to_owned()) }
    })
    .await;
    let traces = ['8', '9'].map(other_trace);
    for trace in &traces {
        sent.spawn(send(sampled(trace)));
    }
    until("two commands to gather", || async {
        let status = commands.clone().get_status(GetStatusRequest {}).await.expect("a status").into_inner();
        if status.queued_commands == 2 { Ok(()) } else { Err(status.queued_commands.to_string()) }
    })
    .await;
    head.rollback().await.expect("the lock is released");
    while let Some(answered) = sent.join_next().await {
        answered.expect("no panic");
    }

    let spans = until("the spans of both commands", || {
        let spans: Vec<Span> = traces.iter().flat_map(|trace| collector.trace(trace)).collect();
        let count = |name: &str| spans.iter().filter(|span| span.name.starts_with(name)).count();
        let complete = count(FOLLOW) == 2 && count("publish ") == 2 && count("commit") > 0;
        async move { if complete { Ok(spans) } else { Err(format!("{spans:?}")) } }
    })
    .await;
    let commits: Vec<_> = spans.iter().filter(|span| span.name == "commit").collect();
    let [commit] = commits.as_slice() else { panic!("one commit: {spans:?}") };
    assert_eq!(below(commit, &spans), OF_A_COMMIT);
    let calls = spans.iter().filter(|span| span.name == FOLLOW);
    let others: Vec<_> = calls.filter(|call| call.id != commit.parent).collect();
    let [other] = others.as_slice() else { panic!("the commit belongs to one of the calls: {spans:?}") };
    assert_eq!(commit.links, [other.id.as_str()], "the call of the other command");
}

async fn a_read_shows_the_exchange_with_its_store(own: &Own, collector: &Collector) {
    let mut queries = own.endpoints.queries();
    until("Neo4j to answer", || {
        let mut queries = queries.clone();
        async move {
            let answer = check(&mut queries, &new_user(), &new_user(), None).await.expect("a check");
            if answer.source() == Source::Neo4j { Ok(()) } else { Err("PostgreSQL answered".to_owned()) }
        }
    })
    .await;
    for (digit, consistency, store) in [('a', None, Source::Neo4j), ('b', consistent(), Source::Postgres)] {
        let trace = other_trace(digit);
        let message =
            CheckRequest { viewer_id: new_user(), target_id: new_user(), consistency, explain: false };
        let answer = queries.check(traced(message, &sampled(&trace))).await.expect("a check").into_inner();
        assert_eq!(answer.source(), store);
        let spans = until("the span of the call", || {
            let spans = collector.trace(&trace);
            let complete = spans.iter().any(|span| span.name == CHECK);
            async move { if complete { Ok(spans) } else { Err(format!("{spans:?}")) } }
        })
        .await;
        let call = find(&spans, "query-service", CHECK);
        assert_eq!(below(call, &spans), ["db.checks.read"]);
        assert_eq!((call.parent.as_str(), spans.len()), (CLIENT, 2), "{spans:?}");
    }
}

fn other_trace(digit: char) -> String {
    TRACE.replace('4', &digit.to_string())
}

fn sampled(trace: &str) -> String {
    format!("00-{trace}-{CLIENT}-01")
}

fn unsampled(trace: &str) -> String {
    format!("00-{trace}-{CLIENT}-00")
}

fn traced<T>(message: T, traceparent: &str) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("traceparent", traceparent.parse().expect("ASCII"));
    request
}

async fn follow(commands: &mut tests::Commands, traceparent: &str) {
    let message = FollowRequest { actor_id: new_user(), target_id: new_user(), ..FollowRequest::default() };
    commands.follow(traced(message, traceparent)).await.expect("a follow");
}

/// The names of this span's children, sorted.
fn below<'a>(parent: &Span, spans: &'a [Span]) -> Vec<&'a str> {
    let children = spans.iter().filter(|span| span.parent == parent.id);
    let mut names: Vec<_> = children.map(|span| span.name.as_str()).collect();
    names.sort_unstable();
    names
}

#[track_caller]
fn find<'a>(spans: &'a [Span], service: &str, name: &str) -> &'a Span {
    let found = spans.iter().find(|span| span.service == service && span.name == name);
    found.unwrap_or_else(|| panic!("{service} has no span {name}: {spans:?}"))
}
