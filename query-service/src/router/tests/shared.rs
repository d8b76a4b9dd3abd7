//! Questions that share a statement, and the conclusions from its outcome about the read model.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio_util::sync::CancellationToken;

use super::*;
use crate::batching::lanes::Lanes;
use crate::queries::{Begins, QuestionName, ReadItems, Room};

/// Runs the statements of the lane, if there is a place.
struct Server {
    store: Arc<Fake>,
    /// Statements wait for a place and get none.
    full: Arc<AtomicBool>,
}

impl ReadItems<Check> for Server {
    const ROOM: Room = Room { statement: 100, question: 1 };

    async fn read_items(
        &self,
        pairs: Vec<(UserId, UserId)>,
        begins: Begins,
        cx: Context<'_>,
    ) -> ReadResult<Vec<bool>> {
        if !self.full.load(Ordering::SeqCst) {
            begins();
        }
        self.store.act(vec![true; pairs.len()], cx.within).await
    }
}

type Checks = Lanes<Check, Server>;

/// Checks through one lane; other questions do not occur.
struct Sharing(Arc<Checks>);

impl Read<Check> for Sharing {
    async fn read(&self, check: &Check, cx: Context<'_>) -> ReadResult<Vec<bool>> {
        self.0.get(check, cx).await
    }
}

/// A router whose read model shares statements.
struct Shared {
    world: World<Sharing>,
    lane: Arc<Checks>,
    full: Arc<AtomicBool>,
}

impl Shared {
    fn new() -> Self {
        let full = Arc::<AtomicBool>::default();
        let sharing = |store: &Arc<Fake>| {
            let server = Server { store: Arc::clone(store), full: Arc::clone(&full) };
            Sharing(Arc::new(Lanes::new(QuestionName::Check, server)))
        };
        let world = World::with_models(1, 1_000, sharing);
        let lane = Arc::clone(&world.model(0).reader.0);
        Self { world, lane, full }
    }

    /// Sends this many concurrent checks, which wait for the lane and so share one statement.
    async fn together(&self, number: usize) -> Vec<Result<(Token, Source), Refusal>> {
        let stop = CancellationToken::new();
        let run = async {
            // All of them are queued before the lane starts.
            tokio::task::yield_now().await;
            self.lane.run(stop.clone()).await;
        };
        let asked = async {
            let answers = futures::future::join_all((0..number).map(|_| self.world.ask(ANY))).await;
            stop.cancel();
            answers
        };
        tokio::join!(asked, run).0
    }

    /// The next statement of twenty questions has this outcome; PostgreSQL answers the questions then.
    async fn lost(&self, act: Act) {
        let asked = self.world.neo4j[0].asked().len();
        self.world.neo4j[0].will(act);
        (0..20).for_each(|_| self.world.postgres.will(Act::Answer(token(100))));
        assert_eq!(self.together(20).await, vec![Ok((token(100), Source::Postgres)); 20]);
        assert_eq!(self.world.neo4j[0].asked().len(), asked + 1, "they shared a statement");
    }

    fn is_given_up(&self) -> bool {
        self.world.model(0).breaker.open().is_some()
    }
}

#[tokio::test(start_paused = true)]
async fn a_shared_statement_that_fails_is_one_failure() {
    let shared = Shared::new();
    for _ in 0..4 {
        shared.lost(Act::Fail(Error::failed("reset"))).await;
        assert!(!shared.is_given_up());
    }
    shared.lost(Act::Fail(Error::failed("reset"))).await;
    assert!(shared.is_given_up(), "five statements in a row are enough");
}

#[tokio::test(start_paused = true)]
async fn a_shared_statement_that_hangs_is_one_failure() {
    let shared = Shared::new();
    for _ in 0..4 {
        shared.lost(Act::Hang).await;
        assert!(!shared.is_given_up());
    }
    shared.lost(Act::Hang).await;
    assert!(shared.is_given_up());
}

#[tokio::test(start_paused = true)]
async fn a_shared_statement_that_never_began_is_no_failure() {
    let shared = Shared::new();
    shared.full.store(true, Ordering::SeqCst);
    for _ in 0..10 {
        shared.lost(Act::Hang).await;
    }
    assert!(!shared.is_given_up(), "our own queue took the time");
}

#[tokio::test(start_paused = true)]
async fn who_waits_behind_a_statement_that_hangs_proves_nothing_more() {
    let shared = Shared::new();
    // Half of them fit the statement. The others time out before their turn.
    shared.world.neo4j[0].will(Act::Hang);
    (0..100).for_each(|_| shared.world.postgres.will(Act::Answer(token(100))));
    assert_eq!(shared.together(100).await, vec![Ok((token(100), Source::Postgres)); 100]);
    assert_eq!(shared.world.neo4j[0].asked().len(), 1);
    assert!(!shared.is_given_up());
}

#[tokio::test(start_paused = true)]
async fn an_impatient_caller_does_not_hide_that_a_statement_hangs() {
    let shared = Shared::new();
    for _ in 0..5 {
        shared.world.neo4j[0].will(Act::Hang);
        (0..2).for_each(|_| shared.world.postgres.will(Act::Answer(token(100))));
        let stop = CancellationToken::new();
        let asked = async {
            let impatient = shared.world.ask_within(ANY, Duration::from_millis(30));
            let (impatient, patient) = tokio::join!(impatient, shared.world.ask(ANY));
            assert!(impatient.is_ok() && patient.is_ok());
            stop.cancel();
        };
        let run = async {
            tokio::task::yield_now().await;
            shared.lane.run(stop.clone()).await;
        };
        tokio::join!(asked, run);
    }
    assert!(shared.is_given_up());
}

#[tokio::test(start_paused = true)]
async fn a_shared_statement_that_is_answered_is_one_answer() {
    let shared = Shared::new();
    for _ in 0..5 {
        assert!(!shared.is_given_up());
        shared.world.neo4j[0].will(Act::Answer(token(100)));
        assert_eq!(shared.together(20).await, vec![Ok((token(100), Source::Neo4j)); 20]);
        shared.lost(Act::Fail(Error::failed("reset"))).await;
    }
    assert!(shared.is_given_up(), "half of the statements fail");
}
