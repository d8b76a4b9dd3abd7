//! How questions share statements. The test answers the statements.

use std::time::Duration;

use parking_lot::Mutex;
use proto::{Epoch, Revision, Token, UserId};
use service_kit::config::Env;
use service_kit::neo4j;
use service_kit::trace::Parent;
use tokio::sync::Semaphore;

use super::*;
use crate::neo4j::Neo4jReader;
use crate::queries::{Begins, Error, Room, Statement, Versioned};

/// The items of each statement. One runs at a time, when the test allows it.
#[derive(Default)]
struct Server {
    statements: Mutex<Vec<Vec<u32>>>,
    gate: Option<Semaphore>,
}

fn server(gated: bool) -> Arc<Server> {
    Arc::new(Server { gate: gated.then(|| Semaphore::new(0)), ..Server::default() })
}

/// A question about numbers.
struct Doubled(Vec<u32>);

impl Question for Doubled {
    type Answer = Vec<u32>;

    fn name(&self) -> QuestionName {
        QuestionName::Check
    }

    fn items(&self) -> usize {
        self.0.len()
    }
}

impl Shared for Doubled {
    type Item = u32;
    type Value = u32;

    fn to_items(&self) -> Vec<u32> {
        self.0.clone()
    }
}

/// Doubles the items; fails those from one million on.
impl ReadItems<Doubled> for Arc<Server> {
    const ROOM: Room = Room { statement: 100, question: 0 };

    async fn read_items(&self, items: Vec<u32>, begins: Begins, _: Context<'_>) -> ReadResult<Vec<u32>> {
        begins();
        self.statements.lock().push(items.clone());
        if let Some(gate) = &self.gate {
            gate.acquire().await.expect("open").forget();
        }
        if items.iter().any(|item| *item >= 1_000_000) {
            return Err(Error::failed("no"));
        }
        let revision = u64::from(items.iter().copied().min().unwrap_or(0));
        let token = |n| Token::new(Epoch(1), Revision(n));
        let values = items.iter().map(|item| item * 2).collect();
        Ok(Versioned::between(values, token(revision), token(revision + 5)))
    }
}

type TestLanes = Lanes<Doubled, Arc<Server>>;

fn lanes(server: &Arc<Server>) -> Arc<TestLanes> {
    Arc::new(Lanes::new(QuestionName::Check, Arc::clone(server)))
}

fn start(lanes: &Arc<TestLanes>) -> CancellationToken {
    let stop = CancellationToken::new();
    let (lanes, stopped) = (Arc::clone(lanes), stop.clone());
    tokio::spawn(async move { lanes.run(stopped).await });
    stop
}

fn ask(
    lanes: &Arc<TestLanes>,
    items: impl IntoIterator<Item = u32>,
) -> tokio::task::JoinHandle<ReadResult<Vec<u32>>> {
    let (lanes, question) = (Arc::clone(lanes), Doubled(items.into_iter().collect()));
    tokio::spawn(async move {
        lanes.get(&question, Context { within: Duration::from_secs(5), parent: &Parent::default() }).await
    })
}

async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_arrives_while_a_statement_runs_forms_the_next() {
    let server = server(true);
    let lanes = lanes(&server);
    let _stop = start(&lanes);
    let first = ask(&lanes, [1]);
    settle().await;
    let others: Vec<_> = [2, 3, 4].map(|n| ask(&lanes, [n])).into();
    settle().await;
    assert_eq!(*server.statements.lock(), [vec![1]]);
    server.gate.as_ref().expect("gated").add_permits(2);
    assert_eq!(first.await.expect("no panic").expect("answered").value, [2]);
    for (other, wanted) in others.into_iter().zip([4, 6, 8]) {
        assert_eq!(other.await.expect("no panic").expect("answered").value, [wanted]);
    }
    assert_eq!(*server.statements.lock(), [vec![1], vec![2, 3, 4]]);
}

#[tokio::test(start_paused = true)]
async fn a_small_question_does_not_wait_for_a_huge_one() {
    let server = server(true);
    let lanes = lanes(&server);
    let _stop = start(&lanes);
    let huge = ask(&lanes, 0..1_000);
    settle().await;
    let small = ask(&lanes, [5_000]);
    settle().await;
    server.gate.as_ref().expect("gated").add_permits(2);
    assert_eq!(small.await.expect("no panic").expect("answered").value, [10_000]);
    assert!(!huge.is_finished());
    server.gate.as_ref().expect("gated").add_permits(100);
    let answer = huge.await.expect("no panic").expect("answered");
    assert_eq!(answer.value, (0..1_000).map(|n| n * 2).collect::<Vec<_>>());
    // From the part that was read first to the one that was read last.
    assert_eq!(answer.as_of.revision, Revision(0));
    assert!(answer.target.revision >= Revision(900));
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_beyond_their_time_and_who_left_is_dropped() {
    let server = server(true);
    let lanes = lanes(&server);
    let _stop = start(&lanes);
    let first = ask(&lanes, [1]);
    settle().await;
    let late = lanes
        .get(&Doubled(vec![2]), Context { within: Duration::from_millis(10), parent: &Parent::default() })
        .await;
    let (late, statement) = late.expect_err("it is late").unshared();
    assert!(matches!(late, Error::TimedOut));
    assert!(!statement.expect("a statement of others").count(), "it was in none");
    let third = ask(&lanes, [3]);
    settle().await;
    server.gate.as_ref().expect("gated").add_permits(2);
    assert!(first.await.expect("no panic").is_ok() && third.await.expect("no panic").is_ok());
    assert_eq!(*server.statements.lock(), [vec![1], vec![3]]);
}

#[tokio::test(start_paused = true)]
async fn a_failure_reaches_all_that_share_the_statement_and_no_others() {
    let server = server(false);
    let lanes = lanes(&server);
    let (bad, with_it) = (ask(&lanes, [1_000_000]), ask(&lanes, [7]));
    settle().await;
    let _stop = start(&lanes);
    let mut counted = 0;
    for question in [bad, with_it] {
        let (error, statement) = question.await.expect("no panic").expect_err("a failure").unshared();
        assert!(matches!(error, Error::Failed(_)));
        counted += u32::from(statement.expect("a shared one").count());
    }
    assert_eq!(counted, 1, "it was one statement");
    assert_eq!(ask(&lanes, [8]).await.expect("no panic").expect("answered").value, [16]);
}

/// A read model whose server is down, and two accounts.
fn away() -> (Batched<Neo4jReader>, UserId, UserId) {
    let mut env = Env::from_pairs([
        ("NEO4J_URI", "bolt://127.0.0.1:1"),
        ("NEO4J_USER", "nobody"),
        ("NEO4J_PASSWORD", "nothing"),
    ]);
    let settings = neo4j::Settings::read(&mut env);
    let settings = env.finish(settings).expect("valid settings");
    let graph = neo4j::connect(&settings).expect("nothing is opened yet");
    let user = |text| UserId::parse(text).expect("an id");
    let (one, other) =
        (user("f47ac10b-58cc-4372-a567-0e02b2c3d479"), user("f47ac10b-58cc-4372-a567-0e02b2c3d480"));
    let reader = Neo4jReader::new(graph);
    (Batched::new(reader.clone(), &reader.shared(), 1), one, other)
}

#[tokio::test]
async fn questions_of_one_kind_that_wait_at_the_same_time_share_a_statement() {
    let (reader, one, other) = away();
    let stop = CancellationToken::new();
    let lanes = async {
        // All of them are queued before the lanes start.
        tokio::task::yield_now().await;
        reader.clone().run(stop.clone()).await;
    };
    let parent = Parent::default();
    let cx = Context { within: Duration::from_secs(5), parent: &parent };
    let relations = |viewer, targets: &[UserId]| Relations { viewer, targets: targets.to_vec() };
    let check = |viewer, target| Check { viewer, targets: vec![target] };
    let counts = |user| CountsOf { users: vec![user] };
    let (relations, checks) =
        ([relations(one, &[other]), relations(other, &[one, one])], [check(one, other), check(other, one)]);
    let counts = [counts(one), counts(other)];
    let asked = async {
        let answers = tokio::join!(
            reader.read(&relations[0], cx),
            reader.read(&relations[1], cx),
            reader.read(&checks[0], cx),
            reader.read(&checks[1], cx),
            reader.read(&counts[0], cx),
            reader.read(&counts[1], cx),
        );
        stop.cancel();
        answers
    };
    let (answers, ()) = tokio::join!(asked, lanes);
    let statements = [
        [statement_of(answers.0), statement_of(answers.1)],
        [statement_of(answers.2), statement_of(answers.3)],
        [statement_of(answers.4), statement_of(answers.5)],
    ];
    assert!(statements.iter().all(|[first, second]| first == second), "each kind shares one");
    assert!(statements[0][0] != statements[1][0] && statements[1][0] != statements[2][0]);
}

/// The statement that failed.
fn statement_of<T: std::fmt::Debug>(answer: Result<T, Error>) -> Statement {
    answer.expect_err("the server is away").unshared().1.expect("a shared one")
}

#[tokio::test(start_paused = true)]
async fn a_statement_is_late_for_who_gave_it_most_of_their_time() {
    for (before, is_late) in [(90, false), (10, true)] {
        let server = server(true);
        let lanes = lanes(&server);
        let _stop = start(&lanes);
        let first = ask(&lanes, [1]);
        settle().await;
        let second = tokio::spawn({
            let lanes = Arc::clone(&lanes);
            async move {
                lanes
                    .get(
                        &Doubled(vec![2]),
                        Context { within: Duration::from_millis(100), parent: &Parent::default() },
                    )
                    .await
            }
        });
        settle().await;
        tokio::time::sleep(Duration::from_millis(before)).await;
        server.gate.as_ref().expect("gated").add_permits(1);
        first.await.expect("no panic").expect("answered");
        settle().await;
        let (error, statement) = second.await.expect("no panic").expect_err("it is late").unshared();
        assert!(matches!(error, Error::TimedOut));
        assert_eq!(statement.expect("a shared one").count(), is_late, "begun after {before} of 100 ms");
    }
}
