//! A subscriber stops before its tables become wrong, and removes erased accounts. The test publishes streams that the
//! relay never would, on its own NATS server.

use async_nats::{HeaderMap, jetstream};
use devstack::{Nats, Ports, Principal, Secrets, Tools};
use prost::Message as _;
use proto::event::{AccountOp, EdgeKind, EdgeOp};
use proto::events::v1::{AccountChange, AccountCounts, EdgeChange, Event, Verb};
use proto::{Epoch, subjects};
use tests::new_user;
use tokio::task::block_in_place;

use super::example::{Subscriber, example};

/// Creates a database file with a checkpoint only, as after an empty export.
const PREPARE: &str = "
import sqlite3, sys
sys.path.insert(0, sys.argv[2])
import subscriber
db = sqlite3.connect(sys.argv[1])
db.executescript(subscriber.SCHEMA)
with db:
    db.execute('INSERT INTO checkpoint VALUES (?, ?, ?, 0)', (1, int(sys.argv[3]), sys.argv[4]))";

/// The revision of the checkpoint in the test below. The stream has two events after it.
const START: u64 = 9;

/// Id of the event of a revision, or of an account.
fn id(number: u64) -> String {
    format!("00000000-0000-4000-8000-{number:012}")
}

/// The two ends of the follow of a revision.
fn ends(revision: u64) -> [String; 2] {
    [id(1_000 + revision), id(2_000 + revision)]
}

/// A follow, as the relay would publish it.
fn event(revision: u64) -> Event {
    let [source_id, target_id] = ends(revision);
    let counts = vec![
        AccountCounts { user_id: source_id.clone(), following: 1, ..Default::default() },
        AccountCounts { user_id: target_id.clone(), followers: 1, ..Default::default() },
    ];
    let edge = EdgeChange {
        kind: EdgeKind::Follow.into(),
        op: EdgeOp::Added.into(),
        source_id,
        target_id,
        position: revision << 10,
        created_at: Some(prost_types::Timestamp::default()),
        expires_at: None,
    };
    Event {
        epoch: 1,
        revision,
        event_id: id(revision),
        prev_id: id(revision - 1),
        committed_at: Some(prost_types::Timestamp::default()),
        verb: Verb::Follow.into(),
        edges: vec![edge],
        counts,
        ..Event::default()
    }
}

/// A stream made by the test.
struct Case {
    name: &'static str,
    exit_code: i32,
    epoch: Epoch,
    first_sequence: u64,
    header_id: Option<String>,
    payload: Vec<u8>,
    /// The number of applied events, and of the edges and counts then.
    left: [u64; 3],
}

impl Case {
    /// The first event is valid, the second one is this.
    fn event(name: &'static str, exit_code: i32, change: impl FnOnce(&mut Event)) -> Self {
        let mut second = event(START + 2);
        change(&mut second);
        Self {
            name,
            exit_code,
            epoch: Epoch(1),
            first_sequence: START + 1,
            header_id: None,
            payload: second.encode_to_vec(),
            // The first event is kept, and no part of the second.
            left: if exit_code == 0 { [2, 2, 4] } else { [1, 1, 2] },
        }
    }

    /// Both events are valid, and the second one erases an account of the first.
    fn erased(name: &'static str, account: String) -> Self {
        let erased = AccountChange { user_id: account, op: AccountOp::Erased.into() };
        Self { left: [2, 1, 3], ..Self::event(name, 0, |event| event.accounts.push(erased)) }
    }

    async fn publish(&self, context: &jetstream::Context) {
        let stream = jetstream::stream::Config {
            name: subjects::stream_name(self.epoch),
            subjects: vec![subjects::EVENTS_WILDCARD.to_owned()],
            first_sequence: Some(self.first_sequence),
            ..Default::default()
        };
        let name = stream.name.clone();
        context.create_stream(stream).await.unwrap_or_else(|error| panic!("no stream {name}: {error}"));
        let first = (id(START + 1), event(START + 1).encode_to_vec());
        let second = (self.header_id.clone().unwrap_or_else(|| id(START + 2)), self.payload.clone());
        for (id, payload) in [first, second] {
            let mut headers = HeaderMap::new();
            headers.insert(subjects::HEADER_ID, id);
            let subject = subjects::event_subject(&subjects::verb_name(Verb::Follow));
            let ack = context.publish_with_headers(subject, headers, payload.into()).await.expect("sent");
            ack.await.expect("stored");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_stops_before_its_tables_become_wrong() {
    let folder = std::env::temp_dir().join(format!("followgraph-subscriber-nats-{}", new_user()));
    let ports = Ports::free().expect("free ports");
    let nats = block_in_place(|| {
        let tools = Tools::install()?;
        let secrets = Secrets::load_or_create(&folder.join("secrets"))?;
        Nats::start(&tools, &folder.join("data"), &folder.join("log"), &ports, &secrets, None)
    })
    .unwrap_or_else(|error| panic!("{error:#}"));
    let context = jetstream::new(tests::endpoints::nats(&nats.url()).await);

    let account = |op| AccountChange { user_id: new_user(), op };
    let cases = [
        Case::event("all is well", 0, |_| {}),
        Case::erased("the source of a follow is erased", ends(START + 1)[0].clone()),
        Case::erased("the target of a follow is erased", ends(START + 1)[1].clone()),
        Case::event("an unknown verb", 5, |event| event.verb = 77),
        Case::event("no verb", 5, |event| event.verb = 0),
        Case::event("an unknown kind of edge", 5, |event| event.edges[0].kind = 77),
        Case::event("an unknown change of an edge", 5, |event| event.edges[0].op = 77),
        Case::event("an unknown change of an account", 5, |event| event.accounts.push(account(77))),
        Case::event("an event of another place", 3, |event| event.revision += 1),
        Case::event("an event of another epoch", 3, |event| event.epoch = 2),
        Case::event("another history", 3, |event| event.prev_id = new_user()),
        Case { header_id: Some(new_user()), ..Case::event("headers of another event", 3, |_| {}) },
        Case { payload: b"stray".to_vec(), ..Case::event("no event at all", 3, |_| {}) },
        Case {
            first_sequence: START + 2,
            left: [0; 3],
            ..Case::event("a stream that begins too late", 3, |_| {})
        },
        Case { epoch: Epoch(7), left: [0; 3], ..Case::event("another epoch", 4, |_| {}) },
    ];
    for case in cases {
        case.publish(&context).await;
        // No process listens at the first address: after an export the subscriber does not call query-service.
        let subscriber = Subscriber::new("127.0.0.1:1", "", &nats.url_of(Principal::Subscriber));
        let folder = example().display().to_string();
        subscriber.script(PREPARE, &[&folder, &START.to_string(), &id(START)]);
        let last = START + 2;
        let (code, out, err) =
            subscriber.run(&["--until-revision", &last.to_string(), "--patience", "0"]).await;
        assert_eq!(code, Some(case.exit_code), "{}: {out}{err}", case.name);

        let tables = subscriber.tables();
        let applied = tables.revision.0 - START;
        let left = [applied, tables.edges.len() as u64, tables.counts.len() as u64];
        assert_eq!(left, case.left, "{}", case.name);
        assert_eq!(err.is_empty(), case.exit_code == 0, "{}: {err}", case.name);
        context.delete_stream(subjects::stream_name(case.epoch)).await.expect("the stream is deleted");
    }
    drop(nats);
    std::fs::remove_dir_all(&folder).expect("the folder is removed");
}
