//! WatchEvents: every event once and in order, from any retained revision.

use std::collections::BTreeSet;

use async_nats::jetstream;
use devstack::env_file::Env;
use proto::error::Reason;
use proto::event::{Event, Verb};
use proto::query::v1::query_service_client::QueryServiceClient;
use proto::query::v1::{WatchEventsRequest, WatchEventsResponse};
use proto::{Epoch, Revision, Token, UserId, subjects};
use tests::clients::Bearer;
use tests::refusal::{assert_refused, metadata};
use tests::{Act, Ask, Endpoints, LIMIT, Own, Queries, graph, importing, truth, until, users};
use tonic::transport::Endpoint;
use tonic::{Code, Status, Streaming};

use crate::cli::{Cli, json};

/// A watch and its position.
struct Watch {
    messages: Streaming<WatchEventsResponse>,
    token: Token,
}

impl Watch {
    /// Starts a watch and waits for its first message, which is a heartbeat.
    async fn begin(queries: &Queries, request: WatchEventsRequest) -> Result<Self, Status> {
        let mut messages = queries.clone().watch_events(request).await?.into_inner();
        let first = messages.message().await?.expect("a message");
        assert_eq!(first.event, None, "the first message is a heartbeat");
        let token = Token::parse(&first.resume_token).expect("a token");
        Ok(Self { messages, token })
    }

    /// The next event; checks the token of every message.
    async fn next(&mut self) -> Result<Event, Status> {
        loop {
            let message = tokio::time::timeout(LIMIT, self.messages.message()).await.expect("in time")?;
            let message = message.expect("a watch ends with a status only");
            let token = Token::parse(&message.resume_token).expect("a token");
            assert!(token >= self.token, "tokens never go back");
            self.token = token;
            if let Some(event) = message.event {
                let event = Event::try_from(event).expect("an event of ours");
                assert_eq!((event.epoch, event.revision), (token.epoch, token.revision));
                return Ok(event);
            }
        }
    }

    /// This many events.
    async fn take(&mut self, number: usize) -> Vec<Event> {
        let mut events = Vec::new();
        while events.len() < number {
            events.push(self.next().await.expect("an event"));
        }
        events
    }

    /// Its remaining events, last token, and the error that ends it.
    async fn rest(mut self) -> (Vec<Event>, Token, Status) {
        let mut events = Vec::new();
        loop {
            match self.next().await {
                Ok(event) => events.push(event),
                Err(status) => return (events, self.token, status),
            }
        }
    }
}

/// Starts a watch as soon as a place is free: a watch frees its place some time after its end.
async fn admitted(queries: &Queries, request: WatchEventsRequest) -> Watch {
    until("a place", || async {
        Watch::begin(queries, request.clone()).await.map_err(|status| status.to_string())
    })
    .await
}

fn texts(users: &[UserId]) -> Vec<String> {
    users.iter().map(ToString::to_string).collect()
}

fn after(token: Token) -> WatchEventsRequest {
    WatchEventsRequest { after: token.to_string(), ..WatchEventsRequest::default() }
}

/// The request of a watcher that keeps its place and receives no events.
fn nothing_after(token: Token) -> WatchEventsRequest {
    WatchEventsRequest { actor_ids: vec![tests::new_user()], ..after(token) }
}

fn revisions(events: &[Event]) -> Vec<u64> {
    events.iter().map(|event| event.revision.0).collect()
}

#[tokio::test]
async fn events_arrive_at_once_and_can_be_read_again() {
    let endpoints = Endpoints::shared();
    let (commands, queries) = (endpoints.commands(), endpoints.queries());
    let [a, b, c] = users();
    let by_a = || WatchEventsRequest { actor_ids: texts(&[a]), ..WatchEventsRequest::default() };
    let mut watch = Watch::begin(&queries, by_a()).await.expect("a watch");
    let begun = watch.token;
    let mut written = Vec::new();
    for (act, actor, other) in [
        (Act::Follow, a, b),
        (Act::Follow, b, a),
        (Act::Mute, a, c),
        (Act::Block, a, b),
        (Act::Unfollow, a, c),
    ] {
        written.push(Ask::new(act, actor, other).done(&commands).await.token());
    }
    // The last command changes nothing, and the second has another actor.
    let seen = watch.take(3).await;
    assert_eq!(revisions(&seen), [written[0], written[2], written[3]].map(|token| token.revision.0));
    for event in &seen {
        assert_eq!(*event, truth::event(&endpoints, event.revision).await, "events come whole");
    }
    assert_eq!(seen[2].edges.len(), 3, "a block comes with the follows that it ends");

    let again = |request: WatchEventsRequest, from: Token| {
        let queries = queries.clone();
        async move {
            let request = WatchEventsRequest { after: from.to_string(), ..request };
            Watch::begin(&queries, request).await.expect("a watch")
        }
    };
    assert_eq!(again(by_a(), begun).await.take(3).await, seen);
    assert_eq!(again(by_a(), written[0]).await.take(2).await, seen[1..]);
    let mutes_and_blocks = WatchEventsRequest {
        verbs: vec![Verb::Mute.into(), Verb::Block.into()],
        target_ids: texts(&[b, c]),
        ..WatchEventsRequest::default()
    };
    assert_eq!(again(mutes_and_blocks, begun).await.take(2).await, seen[1..]);
    let about_a = WatchEventsRequest { target_ids: texts(&[a]), ..WatchEventsRequest::default() };
    // The block also ends a follow of a.
    assert_eq!(
        revisions(&again(about_a, begun).await.take(2).await),
        [written[1], written[3]].map(|t| t.revision.0)
    );
}

#[tokio::test]
async fn a_quiet_watch_gets_heartbeats_that_advance() {
    let endpoints = Endpoints::shared();
    let [nobody, a, b] = users();
    let request = WatchEventsRequest { actor_ids: texts(&[nobody]), ..WatchEventsRequest::default() };
    let mut watch = Watch::begin(&endpoints.queries(), request).await.expect("a watch");
    let written = Ask::new(Act::Follow, a, b).done(&endpoints.commands()).await.token();
    while watch.token < written {
        let message = tokio::time::timeout(LIMIT, watch.messages.message()).await.expect("in time");
        let message = message.expect("no error").expect("a message");
        assert_eq!(message.event, None, "no event has this actor");
        watch.token = Token::parse(&message.resume_token).expect("a token");
    }
}

#[tokio::test]
async fn invalid_watches_are_refused() {
    let endpoints = Endpoints::shared();
    let queries = endpoints.queries();
    let refused = |request: WatchEventsRequest| {
        let queries = queries.clone();
        async move { Watch::begin(&queries, request).await.err().expect("a refusal") }
    };
    let request = || WatchEventsRequest::default();
    let wrong = refused(WatchEventsRequest { after: "yesterday".to_owned(), ..request() }).await;
    assert_refused(&wrong, Reason::InvalidToken, Some("after"));
    let head = truth::head_token(&endpoints).await;
    let ahead = refused(after(Token::new(head.epoch, Revision(head.revision.0 + 1_000_000)))).await;
    assert_refused(&ahead, Reason::TokenAhead, Some("after"));
    let past = refused(after(Token::new(Epoch(0), Revision(1)))).await;
    assert_refused(&past, Reason::EpochChanged, Some("after"));
    for verb in [0, 77, -1] {
        let unknown = refused(WatchEventsRequest { verbs: vec![1, verb], ..request() }).await;
        assert_refused(&unknown, Reason::UnknownEnumValue, Some("verbs[1]"));
    }
    let many = refused(WatchEventsRequest { actor_ids: vec![tests::new_user(); 1_001], ..request() }).await;
    assert_refused(&many, Reason::TooManyItems, Some("actor_ids"));
    let no_id = refused(WatchEventsRequest { target_ids: vec!["88".to_owned()], ..request() }).await;
    assert_refused(&no_id, Reason::InvalidUuid, Some("target_ids[0]"));
    let stranger = endpoints.with_token("wrong").queries();
    let unknown = Watch::begin(&stranger, request()).await.err().expect("a refusal");
    assert_refused(&unknown, Reason::Unauthenticated, None);
}

#[test]
fn the_command_line_prints_events_and_a_resume_token() {
    let cli = Cli::new();
    let [a, b, c] = users();
    let [first, second, third] = [a, b, c].map(|user| user.to_string());
    let token = |arguments: &[&str]| {
        let (code, out, error) = cli.run(&[arguments, &["-o", "json"]].concat());
        assert_eq!(code, 0, "{error}");
        json(&out)[0]["written_at"].as_str().expect("a token").to_owned()
    };
    let begun = token(&["unfollow", &first, &second]);
    token(&["follow", &first, &second]);
    let last = token(&["remove-follower", &second, &first]);
    token(&["mute", &first, &third]);
    let watch = ["watch", "--after", &begun, "--actor", &first, "--actor", &second, "-o", "json"];
    let (code, out, error) = cli.run(&[&watch[..], &["--limit", "2"]].concat());
    assert_eq!(code, 0, "{error}");
    let rows = json(&out);
    assert_eq!(rows.len(), 2);
    assert_eq!((rows[0]["verb"].as_str(), rows[0]["actor_id"].as_str()), (Some("follow"), Some(&*first)));
    assert_eq!(rows[0]["edges"][0]["op"], "added");
    assert_eq!(rows[1]["verb"], "remove_follower");
    assert_eq!(rows[1]["resume_token"], last.as_str());
    assert!(error.contains(&format!("--after {last}")), "{error}");
    let mutes =
        ["watch", "--after", &begun, "--actor", &first, "--verb", "mute", "--target", &third, "--limit", "1"];
    let (code, out, error) = cli.run(&mutes);
    assert_eq!(code, 0, "{error}");
    assert!(out.contains(&format!("+{first} -> {third} (mute)")), "{out}");
}

/// Few events are kept in memory, so that most come from the stream.
async fn own() -> Own {
    let settings = Env::default().with("OVERLAY_EVENTS", "1000").with("WATCH_LIMIT", "3");
    // The test must reach the limit of watchers before that of unread responses.
    Own::light().start_with(settings.with("RESPONSE_WRITE_TIMEOUT_SECONDS", "300")).await
}

async fn write(endpoints: &Endpoints, seed: u64, events: usize) {
    importing::all(&mut endpoints.commands(), &graph::random(seed, 400, events), 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_reaches_back_to_the_oldest_kept_event() {
    let mut own = own().await;
    let endpoints = own.endpoints.clone();
    let queries = endpoints.queries();
    write(&endpoints, 1, 3_000).await;
    let beginning = Token::new(Epoch(1), Revision::ZERO);

    // From the first event on, during writes.
    let others = tokio::spawn({
        let endpoints = endpoints.clone();
        async move { write(&endpoints, 2, 1_000).await }
    });
    let seen = resumed(&queries, beginning, 4_000).await;
    others.await.expect("written");
    assert_eq!(seen, truth::stream(&endpoints).await);

    // At most three concurrently, and a place becomes free again.
    let first = admitted(&queries, nothing_after(beginning)).await;
    let second = admitted(&queries, nothing_after(beginning)).await;
    let third = admitted(&queries, nothing_after(beginning)).await;
    let refused = Watch::begin(&queries, after(beginning)).await.err().expect("a refusal");
    assert_refused(&refused, Reason::Overloaded, None);
    drop(third);
    drop(admitted(&queries, after(beginning)).await);
    drop((first, second));

    // Without the stream, the outbox has them.
    jetstream::new(endpoints.nats().await).delete_stream(subjects::STREAM).await.expect("deleted");
    let again = resumed(&queries, beginning, 4_000).await;
    assert_eq!(again, seen);

    // Events that neither has cause an error with a reason.
    let postgres = endpoints.postgres().await;
    sqlx::query("DELETE FROM outbox WHERE revision <= 100").execute(&postgres).await.expect("deleted");
    let context = jetstream::new(endpoints.nats().await);
    until("a stream without the oldest events", || async {
        // The relay creates it again, from the events that are then in the outbox.
        let stream = context.get_stream(subjects::STREAM).await.map_err(|error| error.to_string())?;
        let first = stream.cached_info().state.first_sequence;
        if first == 101 {
            return Ok(());
        }
        context.delete_stream(subjects::STREAM).await.map_err(|error| error.to_string())?;
        Err(format!("it began at {first}"))
    })
    .await;
    let pruned = until("the last place", || async {
        match Watch::begin(&queries, after(beginning)).await {
            Err(status) if [Code::ResourceExhausted, Code::Unavailable].contains(&status.code()) => {
                Err(status.to_string())
            }
            outcome => Ok(outcome.err().expect("a refusal")),
        }
    })
    .await;
    assert_refused(&pruned, Reason::RevisionPruned, Some("after"));
    assert_eq!(pruned.code(), Code::OutOfRange);
    assert_eq!(metadata(&pruned, "oldest_revision").as_deref(), Some("101"));
    let oldest = metadata(&pruned, "oldest_token").expect("a token");
    let oldest = Token::parse(&oldest).expect("a token");
    assert_eq!(admitted(&queries, after(oldest)).await.take(5).await, seen[100..105]);

    // A watch ends with the process, and its error contains a resume token.
    let mut open = admitted(&queries, after(Token::new(Epoch(1), Revision(3_990)))).await;
    assert_eq!(revisions(&open.take(10).await).last(), Some(&4_000));
    let rest = tokio::spawn(open.rest());
    let stopped = tokio::task::block_in_place(|| own.pipeline.query.stop()).expect("it stops");
    assert!(stopped.is_some_and(|status| status.success()), "{stopped:?}");
    let (events, token, status) = rest.await.expect("no panic");
    assert_refused(&status, Reason::ShuttingDown, None);
    assert_eq!((events, metadata(&status, "resume_token")), (vec![], Some(token.to_string())));
}

/// This many events after a token; resumes at the token of an error, because a busy machine may end any watch, too.
async fn resumed(queries: &Queries, mut token: Token, number: usize) -> Vec<Event> {
    let mut events = Vec::new();
    while events.len() < number {
        let mut watch = admitted(queries, after(token)).await;
        let cut_off = loop {
            match watch.next().await {
                Ok(event) => events.push(event),
                Err(status) => break Some(status),
            }
            if events.len() == number {
                break None;
            }
        };
        if let Some(status) = cut_off {
            assert_refused(&status, Reason::WatcherTooSlow, None);
        }
        token = watch.token;
    }
    events
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_watcher_is_ended_with_a_resume_token() {
    let own = own().await;
    let endpoints = own.endpoints.clone();
    let queries = endpoints.queries();
    let beginning = Token::new(Epoch(1), Revision::ZERO);
    // The buffers in between hold little.
    let narrow = Endpoint::from_shared(format!("http://{}", endpoints.query))
        .expect("an address")
        .initial_stream_window_size(65_535)
        .initial_connection_window_size(65_535)
        .connect_lazy();
    let narrow = QueryServiceClient::with_interceptor(narrow, Bearer::new(&endpoints.token));
    let slow = Watch::begin(&narrow, after(beginning)).await.expect("a watch");
    // Watchers that receive nothing take the other places.
    let _others = (
        Watch::begin(&queries, nothing_after(beginning)).await.expect("a watch"),
        Watch::begin(&queries, nothing_after(beginning)).await.expect("a watch"),
    );
    write(&endpoints, 3, 4_000).await;
    drop(admitted(&queries, after(beginning)).await);
    let (events, token, status) = slow.rest().await;
    assert_refused(&status, Reason::WatcherTooSlow, None);
    assert_eq!(metadata(&status, "resume_token"), Some(token.to_string()));
    let rest = resumed(&queries, token, 4_000 - events.len()).await;
    let all: BTreeSet<u64> = revisions(&events).into_iter().chain(revisions(&rest)).collect();
    assert_eq!(all, (1..=4_000).collect(), "nothing is missed");
    assert!(!events.is_empty() && !rest.is_empty());
}
