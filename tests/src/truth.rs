//! What every store says, and that they agree.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_nats::jetstream::{self, consumer};
use futures::StreamExt as _;
use proto::event::{EdgeKind, EdgeOp, Event};
use proto::graph::v1::{StreamState, StreamStatus};
use proto::{Epoch, Revision, Token, subjects};
use sqlx::Row as _;
use uuid::Uuid;

use crate::clients::{self, List};
use crate::endpoints::Endpoints;
use crate::until;

/// The follows: pair to position.
pub type Follows = BTreeMap<(String, String), i64>;

/// The longest that a projector may take to catch up.
const CATCH_UP: Duration = Duration::from_secs(180);

/// All follows in PostgreSQL.
pub async fn postgres(endpoints: &Endpoints) -> Follows {
    let pool = endpoints.postgres().await;
    let rows = sqlx::query("SELECT follower_id, following_id, position FROM follows")
        .fetch_all(&pool)
        .await
        .expect("follows are readable");
    rows.iter()
        .map(|row| {
            let id = |column| row.get::<Uuid, _>(column).to_string();
            ((id(0), id(1)), row.get(2))
        })
        .collect()
}

/// All follows in Neo4j, by the nodes at their ends.
pub async fn neo4j(endpoints: &Endpoints) -> Follows {
    let graph = endpoints.neo4j();
    let mut rows = graph
        .execute(neo4rs::query(
            "MATCH (a:User)-[r:FOLLOWS]->(b:User)
             RETURN a.id AS a, b.id AS b, r.src AS src, r.dst AS dst, r.pos AS pos",
        ))
        .await
        .expect("the read model is readable");
    let mut follows = Follows::new();
    while let Some(row) = rows.next().await.expect("the read model is readable") {
        let text = |name: &str| row.get::<String>(name).expect("a text");
        assert_eq!((text("a"), text("b")), (text("src"), text("dst")), "an edge names its ends");
        let before = follows.insert((text("a"), text("b")), row.get("pos").expect("a number"));
        assert_eq!(before, None, "parallel edges");
    }
    follows
}

/// The counts that PostgreSQL keeps: account to (followers, following).
pub async fn kept_counts(endpoints: &Endpoints) -> BTreeMap<String, (i64, i64)> {
    let pool = endpoints.postgres().await;
    let rows = sqlx::query("SELECT user_id, followers, following FROM accounts")
        .fetch_all(&pool)
        .await
        .expect("accounts are readable");
    rows.iter().map(|row| (row.get::<Uuid, _>(0).to_string(), (row.get(1), row.get(2)))).collect()
}

/// The newest revision.
pub async fn head(endpoints: &Endpoints) -> Revision {
    head_token(endpoints).await.revision
}

/// The newest revision and its epoch.
pub async fn head_token(endpoints: &Endpoints) -> Token {
    let pool = endpoints.postgres().await;
    let (epoch, revision): (i64, i64) = sqlx::query_as("SELECT epoch, revision FROM log_head")
        .fetch_one(&pool)
        .await
        .expect("there is a head");
    Token::new(Epoch(epoch.unsigned_abs()), Revision::from_i64(revision))
}

/// Waits until the stream and every read model have reached the head.
pub async fn wait_caught_up(endpoints: &Endpoints) {
    let Token { epoch, revision: head } = head_token(endpoints).await;
    let commands = endpoints.commands();
    until("stream and read model to reach the head", CATCH_UP, || {
        let mut commands = commands.clone();
        async move {
            let status = commands
                .get_status(proto::command::v1::GetStatusRequest {})
                .await
                .map_err(|status| status.to_string())?
                .into_inner();
            let of_epoch =
                |s: &&StreamStatus| s.name == subjects::stream_name(epoch) && s.state() == StreamState::Ok;
            let stream = status.stream.as_ref().filter(of_epoch).map_or(0, |stream| stream.last_revision);
            let complete = |r: &proto::graph::v1::ReplicaStatus| r.complete && r.visible >= head.0;
            let done =
                stream >= head.0 && !status.replicas.is_empty() && status.replicas.iter().all(complete);
            if done { Ok(()) } else { Err(format!("head {head}, {status:?}")) }
        }
    })
    .await;
}

/// Every event in the stream, checked: each revision once, in order, chained.
pub async fn stream(endpoints: &Endpoints) -> Vec<Event> {
    let name = subjects::stream_name(head_token(endpoints).await.epoch);
    let stream = jetstream::new(endpoints.nats().await).get_stream(name).await.expect("there is a stream");
    let state = stream.cached_info().state.clone();
    let mut events: Vec<Event> = Vec::new();
    if state.messages == 0 {
        return events;
    }
    let config =
        consumer::pull::OrderedConfig { deliver_policy: consumer::DeliverPolicy::All, ..Default::default() };
    let mut messages =
        stream.create_consumer(config).await.expect("a consumer").messages().await.expect("messages");
    while let Some(message) = messages.next().await {
        let message = message.expect("a message");
        let sequence = message.info().expect("a JetStream message").stream_sequence;
        let event = Event::decode(&message.payload).expect("an event of ours");
        let header = |name| message.headers.as_ref().and_then(|h| h.get(name)).map(|v| v.as_str().to_owned());
        assert_eq!(event.revision, Revision(sequence), "the sequence is the revision");
        assert_eq!(header(subjects::HEADER_ID), Some(event.event_id.to_string()));
        assert_eq!(header(subjects::HEADER_SEQUENCE), Some(sequence.to_string()));
        if let Some(last) = events.last() {
            assert_eq!(event.revision, last.revision.next(), "no revision is missing or repeated");
            assert_eq!(event.prev_id, Some(last.event_id), "the chain holds");
        }
        events.push(event);
        if sequence >= state.last_sequence {
            break;
        }
    }
    events
}

/// The follows that the events alone lead to.
pub fn replay(events: &[Event]) -> Follows {
    let mut follows = Follows::new();
    for change in events.iter().flat_map(|event| &event.edges).filter(|c| c.key.kind == EdgeKind::Follow) {
        let pair = (change.key.source.to_string(), change.key.target.to_string());
        let existed = match change.op {
            EdgeOp::Removed => follows.remove(&pair).is_some(),
            _ => follows.insert(pair.clone(), change.position.as_i64()).is_some(),
        };
        assert_eq!(existed, change.op != EdgeOp::Added, "{pair:?}: {:?} of what was there", change.op);
    }
    follows
}

/// Waits for the read model, then compares everything with everything: lists, counts
/// and checks in PostgreSQL, in Neo4j, in the stream (if it reaches back to the first
/// revision) and through the API (for as many accounts as asked for).
pub async fn assert_agreement(endpoints: &Endpoints, accounts_through_api: usize) -> Follows {
    wait_caught_up(endpoints).await;
    let truth = postgres(endpoints).await;
    assert_same("Neo4j", &neo4j(endpoints).await, &truth);
    let events = stream(endpoints).await;
    if events.first().is_some_and(|event| event.revision == Revision(1)) {
        assert_same("the replayed stream", &replay(&events), &truth);
        assert_eq!(events.last().map(|event| event.revision), Some(head(endpoints).await));
    }

    let mut lists: BTreeMap<&str, (BTreeSet<&str>, BTreeSet<&str>)> = BTreeMap::new();
    for (source, target) in truth.keys() {
        lists.entry(target).or_default().0.insert(source);
        lists.entry(source).or_default().1.insert(target);
    }
    for (user, (followers, following)) in kept_counts(endpoints).await {
        let listed = lists.get(user.as_str()).map_or((0, 0), |(a, b)| (a.len() as i64, b.len() as i64));
        assert_eq!((followers, following), listed, "kept counts of {user}");
    }
    let mut busiest: Vec<_> = lists.iter().collect();
    busiest.sort_by_key(|(_, (followers, following))| std::cmp::Reverse(followers.len() + following.len()));
    busiest.truncate(accounts_through_api);
    let mut queries = endpoints.queries();
    for (user, (followers, following)) in busiest {
        for (list, wanted) in [(List::Followers, followers), (List::Following, following)] {
            let walked = clients::walk(&mut queries, list, user, 1_000, None).await.expect("a list");
            let set: BTreeSet<&str> = walked.iter().map(String::as_str).collect();
            assert_eq!(walked.len(), set.len(), "{list:?} of {user} repeat somebody");
            assert!(set == *wanted, "{list:?} of {user}: {} listed, {} true", set.len(), wanted.len());
        }
        let counts = clients::counts(&mut queries, &[(*user).to_owned()], None).await.expect("counts");
        let counted = (counts[0].followers as usize, counts[0].following as usize);
        assert_eq!(counted, (followers.len(), following.len()), "counts of {user} through the API");
    }
    truth
}

fn assert_same(name: &str, found: &Follows, truth: &Follows) {
    let missing: Vec<_> = truth.iter().filter(|(pair, _)| !found.contains_key(*pair)).take(3).collect();
    let extra: Vec<_> = found.iter().filter(|(pair, _)| !truth.contains_key(*pair)).take(3).collect();
    assert!(
        found == truth,
        "{name} has {} follows, PostgreSQL {}; missing {missing:?}, extra {extra:?}",
        found.len(),
        truth.len()
    );
}
