//! Permissions on NATS (I3): only the relay publishes to the stream, and each service only to its own subjects.

use async_nats::jetstream::{self, consumer};
use async_nats::{Client, ConnectOptions, ServerAddr};
use devstack::Principal;
use futures::StreamExt as _;
use proto::event::Event;
use proto::{Epoch, Token, subjects};
use tests::clients::follow;
use tests::{Endpoints, LIMIT, new_user, truth};
use tokio::sync::mpsc;

/// A connection, and the server's errors for it.
struct Caller {
    client: Client,
    said: mpsc::UnboundedReceiver<String>,
    who: Principal,
}

impl Caller {
    async fn new(who: Principal) -> Self {
        let address: ServerAddr = Endpoints::shared().logins.nats(who).parse().expect("an address");
        let (user, password) = address.username().zip(address.password()).expect("a login");
        let (sender, said) = mpsc::unbounded_channel();
        let client = ConnectOptions::with_user_and_password(user.to_owned(), password.to_owned())
            .event_callback(move |event| {
                // The receiver is dropped at the end of the test.
                let _ = sender.send(event.to_string());
                std::future::ready(())
            })
            .connect(address)
            .await
            .expect("the user is known");
        Self { client, said, who }
    }

    /// Waits until the server has denied an operation on this subject.
    async fn refused(&mut self, subject: &str) {
        let found = async {
            while let Some(said) = self.said.recv().await {
                if said.to_lowercase().contains("permissions violation") && said.contains(subject) {
                    return;
                }
            }
        };
        let found = tokio::time::timeout(LIMIT, found).await;
        assert!(found.is_ok(), "{:?} got no permissions error for {subject}", self.who);
    }

    async fn cannot_publish(&mut self, subject: &'static str) {
        self.client.publish(subject, "stray".into()).await.expect("it is sent");
        self.refused(subject).await;
    }

    async fn cannot_subscribe(&mut self, subject: &'static str) {
        let _subscription = self.client.subscribe(subject).await.expect("the subscription is sent");
        self.refused(subject).await;
    }
}

#[tokio::test]
async fn only_the_relay_publishes_into_the_stream_and_manages_it() {
    for who in [Principal::Subscriber, Principal::Query, Principal::Projector] {
        let mut caller = Caller::new(who).await;
        for subject in [
            "followgraph.events.follow",
            "followgraph.beacon",
            "followgraph.committed",
            "$JS.API.STREAM.CREATE.MINE",
            "$JS.API.STREAM.UPDATE.FOLLOWGRAPH",
            "$JS.API.STREAM.DELETE.MINE",
            "$JS.API.STREAM.PURGE.MINE",
            "$JS.API.STREAM.MSG.DELETE.MINE",
            "_INBOX_command-service.answer",
        ] {
            caller.cannot_publish(subject).await;
        }
        caller.cannot_subscribe("_INBOX_command-service.>").await;
        caller.cannot_subscribe("followgraph.committed").await;
    }
}

#[tokio::test]
async fn each_service_publishes_only_its_own_subjects() {
    for who in [Principal::Subscriber, Principal::Query, Principal::Command] {
        Caller::new(who).await.cannot_publish("followgraph.projector.projector-0").await;
    }
    // The relay may do its work on the stream, but no operation that would leave a gap in it.
    let mut relay = Caller::new(Principal::Command).await;
    for subject in ["$JS.API.STREAM.PURGE.MINE", "$JS.API.STREAM.MSG.DELETE.MINE", "anything.else"] {
        relay.cannot_publish(subject).await;
    }
    let mut subscriber = Caller::new(Principal::Subscriber).await;
    subscriber.cannot_publish("$JS.API.CONSUMER.DELETE.FOLLOWGRAPH.mine").await;
    subscriber.cannot_publish("$JS.API.CONSUMER.NAMES.FOLLOWGRAPH").await;
    subscriber.cannot_subscribe("_INBOX_query-service.>").await;
    subscriber.cannot_subscribe(">").await;
}

#[tokio::test]
async fn a_subscriber_reads_the_stream_by_a_consumer() {
    let shared = Endpoints::shared();
    let (actor, target) = (new_user(), new_user());
    let written = follow(&mut shared.commands(), &actor, &target).await.expect("a follow").written_at;
    let written = Token::parse(&written).expect("a token").revision;
    // A consumer that starts beyond the stream's end starts at its end.
    truth::wait_caught_up(&shared).await;

    let subscriber = Caller::new(Principal::Subscriber).await;
    let context = jetstream::new(subscriber.client.clone());
    let stream = context.get_stream(subjects::stream_name(Epoch(1))).await.expect("the stream is shown");
    let config = consumer::pull::OrderedConfig {
        deliver_policy: consumer::DeliverPolicy::ByStartSequence { start_sequence: written.0 },
        ..Default::default()
    };
    let consumer = stream.create_consumer(config).await.expect("a consumer");
    let mut messages = consumer.messages().await.expect("its messages");
    let message = tokio::time::timeout(LIMIT, messages.next()).await.expect("in time");
    let message = message.expect("one more").expect("a message");
    let event = Event::decode(&message.payload).expect("an event of the relay");
    assert_eq!(event.revision, written);

    // Permissions do not cover the delivery subject of a push consumer; but it cannot be the stream's own.
    let config = consumer::push::Config {
        deliver_subject: "followgraph.events.follow".to_owned(),
        deliver_policy: consumer::DeliverPolicy::New,
        ..Default::default()
    };
    let refused = stream.create_consumer(config).await.expect_err("a cycle");
    assert!(refused.to_string().contains("cycle"), "{refused}");
}

#[tokio::test]
async fn an_unknown_nats_user_is_refused() {
    let address: ServerAddr = Endpoints::shared().nats_url.parse().expect("an address");
    let bare = format!("{}:{}", address.host(), address.port());
    assert!(async_nats::connect(&bare).await.is_err(), "without a login");
    let wrong = ConnectOptions::with_user_and_password("operator".to_owned(), "guessed".to_owned());
    assert!(wrong.connect(&bare).await.is_err(), "with a wrong password");
}
