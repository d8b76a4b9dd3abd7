//! Tests of the policy, with stores that answer as told and a clock that stands still.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use proto::{Epoch, Position, Revision, Token, UserId};
use tokio::time::Instant;

use super::*;
use crate::pipeline::{Checkpoint, Horizon, Limits, Recent, Replica};

/// What a store does with the next question.
enum Act {
    Answer(Token),
    Fail(Error),
    /// Never answers; the caller's patience ends it.
    Hang,
}

/// A store that answers as told and remembers how long it was given.
#[derive(Default)]
struct Fake {
    acts: Mutex<VecDeque<Act>>,
    asked: Mutex<Vec<Duration>>,
}

impl Fake {
    fn will(&self, act: Act) {
        self.acts.lock().expect("not poisoned").push_back(act);
    }

    fn asked(&self) -> Vec<Duration> {
        self.asked.lock().expect("not poisoned").clone()
    }
}

#[async_trait]
impl Reader for Fake {
    fn multi(&self) -> Option<&dyn MultiReader> {
        None
    }

    async fn check(
        &self,
        _viewer: UserId,
        targets: &[UserId],
        within: Duration,
    ) -> Result<Versioned<Vec<bool>>, Error> {
        self.asked.lock().expect("not poisoned").push(within);
        let act = self.acts.lock().expect("not poisoned").pop_front();
        match act.expect("the store is not asked more often than the test says") {
            Act::Answer(as_of) => Ok(Versioned::exact(vec![true; targets.len()], as_of)),
            Act::Fail(error) => Err(error),
            Act::Hang => {
                tokio::time::sleep(within).await;
                Err(Error::TimedOut)
            }
        }
    }

    async fn list(
        &self,
        _: ListKind,
        _: UserId,
        _: Option<Position>,
        _: usize,
        _: Duration,
    ) -> Result<Versioned<Vec<ListRow>>, Error> {
        unreachable!("the tests ask checks only")
    }

    async fn relations(
        &self,
        _: UserId,
        _: &[UserId],
        _: Duration,
    ) -> Result<Versioned<Vec<Relation>>, Error> {
        unreachable!("the tests ask checks only")
    }

    async fn list_seen(
        &self,
        _: PublicList,
        _: UserId,
        _: Option<Position>,
        _: usize,
        _: UserId,
        _: Duration,
    ) -> Result<Versioned<Vec<SeenRow>>, Error> {
        unreachable!("the tests ask checks only")
    }

    async fn counts(&self, _: &[UserId], _: Duration) -> Result<Versioned<Vec<Counts>>, Error> {
        unreachable!("the tests ask checks only")
    }
}

struct World {
    neo4j: Arc<Fake>,
    postgres: Arc<Fake>,
    policy: Arc<Policy>,
}

const SETTINGS: Settings = Settings {
    neo4j_timeout: Duration::from_millis(500),
    freshness_wait: Duration::from_millis(200),
    max_staleness: Duration::from_secs(60),
    read_source: ReadSource::Auto,
};

fn token(revision: u64) -> Token {
    of_epoch(1, revision)
}

fn of_epoch(epoch: u64, revision: u64) -> Token {
    Token::new(Epoch(epoch), Revision(revision))
}

impl World {
    /// Both stores are up, the read model is complete at revision 100, and so is the head.
    fn healthy() -> Self {
        Self::with_budget(10)
    }

    fn with_budget(per_second: u32) -> Self {
        let now = Instant::now();
        let (neo4j, postgres) = (Arc::<Fake>::default(), Arc::<Fake>::default());
        let store = |reader: &Arc<Fake>| {
            let breaker = Arc::new(Breaker::new(now));
            breaker.close(now);
            Store { reader: Arc::clone(reader) as Arc<dyn Reader>, breaker }
        };
        let policy = Policy {
            neo4j: store(&neo4j),
            postgres: store(&postgres),
            replica: Arc::new(Replica::new("projector-0")),
            recent: Arc::new(Recent::new(Limits { events: 1, bytes: 1 })),
            horizon: Arc::new(Horizon::default()),
            budget: Budget::new(NonZeroU32::new(per_second).expect("above zero"), 100, now),
            settings: SETTINGS,
        };
        let world = Self { neo4j, postgres, policy: Arc::new(policy) };
        world.announce(100);
        world.policy.horizon.observe(token(100), now);
        world
    }

    fn only(mut self, source: ReadSource) -> Self {
        Arc::get_mut(&mut self.policy).expect("not shared yet").settings.read_source = source;
        self
    }

    fn announce(&self, revision: u64) {
        let checkpoint = Checkpoint { visible: token(revision), complete: true };
        self.policy.replica.announced(checkpoint, Instant::now());
    }

    /// Asks one check with a deadline of two seconds.
    async fn ask(&self, need: Need) -> Result<(Token, Source), Refusal> {
        self.ask_within(need, Duration::from_secs(2)).await
    }

    async fn ask_within(&self, need: Need, within: Duration) -> Result<(Token, Source), Refusal> {
        let someone = UserId::parse("f47ac10b-58cc-4372-a567-0e02b2c3d479").expect("an id");
        let question = Check { viewer: someone, targets: vec![someone] };
        let answer = self.policy.answer(&question, need, Instant::now() + within, &Trail::default()).await?;
        Ok((answer.as_of, answer.source))
    }

    fn fail_probes(&self, breaker: &Breaker) {
        (0..2).for_each(|_| breaker.probe_failed(Instant::now()));
    }
}

const ANY: Need = Need { at_least: None, truth: false };
const TRUTH: Need = Need { at_least: None, truth: true };

fn at_least(token: Token) -> Need {
    Need { at_least: Some(token), truth: false }
}

#[tokio::test(start_paused = true)]
async fn a_healthy_read_model_answers_and_leaves_time_for_the_fallback() {
    let world = World::healthy();
    world.neo4j.will(Act::Answer(token(100)));
    assert_eq!(world.ask(ANY).await, Ok((token(100), Source::Neo4j)));
    world.neo4j.will(Act::Answer(token(100)));
    assert!(world.ask_within(ANY, Duration::from_millis(300)).await.is_ok());
    assert_eq!(world.neo4j.asked(), [SETTINGS.neo4j_timeout, Duration::from_millis(200)]);
}

#[tokio::test(start_paused = true)]
async fn the_source_of_truth_is_asked_when_the_caller_wants_it() {
    let world = World::healthy();
    world.postgres.will(Act::Answer(token(101)));
    assert_eq!(world.ask(TRUTH).await, Ok((token(101), Source::Postgres)));
    assert!(world.neo4j.asked().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_dead_read_model_costs_a_read_no_time() {
    let world = World::healthy();
    world.fail_probes(&world.policy.neo4j.breaker);
    world.postgres.will(Act::Answer(token(100)));
    let began = Instant::now();
    assert_eq!(world.ask(ANY).await, Ok((token(100), Source::Postgres)));
    assert_eq!(Instant::now(), began);
    assert!(world.neo4j.asked().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_empty_read_model_never_answers() {
    let world = World::healthy();
    world.neo4j.will(Act::Fail(Error::NotBuilt));
    world.postgres.will(Act::Answer(token(100)));
    assert_eq!(world.ask(ANY).await, Ok((token(100), Source::Postgres)));
    // It is known now, and not asked again until somebody sees a checkpoint.
    world.postgres.will(Act::Answer(token(100)));
    assert_eq!(world.ask(ANY).await, Ok((token(100), Source::Postgres)));
    assert_eq!(world.neo4j.asked().len(), 1);
    assert_eq!(world.policy.neo4j.breaker.open(), None, "an empty server is no dead server");
}

#[tokio::test(start_paused = true)]
async fn an_incomplete_read_model_is_not_asked() {
    let world = World::healthy();
    let checkpoint = Checkpoint { visible: token(100), complete: false };
    world.policy.replica.announced(checkpoint, Instant::now());
    world.postgres.will(Act::Answer(token(100)));
    assert_eq!(world.ask(ANY).await, Ok((token(100), Source::Postgres)));
    assert!(world.neo4j.asked().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_slow_read_model_is_given_up() {
    let world = World::with_budget(100);
    for _ in 0..5 {
        world.neo4j.will(Act::Hang);
        world.postgres.will(Act::Answer(token(100)));
    }
    let began = Instant::now();
    let answers = futures::future::join_all((0..5).map(|_| world.ask(ANY))).await;
    assert_eq!(answers, vec![Ok((token(100), Source::Postgres)); 5]);
    assert_eq!(began.elapsed(), SETTINGS.neo4j_timeout);
    assert!(world.policy.neo4j.breaker.open().is_some());
}

#[tokio::test(start_paused = true)]
async fn impatient_callers_do_not_condemn_the_read_model() {
    let world = World::with_budget(100);
    for _ in 0..20 {
        world.neo4j.will(Act::Hang);
        world.postgres.will(Act::Answer(token(100)));
        assert!(world.ask_within(ANY, Duration::from_millis(30)).await.is_ok());
    }
    assert_eq!(world.policy.neo4j.breaker.open(), None);
}

#[tokio::test(start_paused = true)]
async fn a_failing_read_model_is_given_up() {
    let world = World::with_budget(100);
    for _ in 0..5 {
        world.neo4j.will(Act::Fail(Error::failed("reset")));
        world.postgres.will(Act::Answer(token(100)));
        assert_eq!(world.ask(ANY).await, Ok((token(100), Source::Postgres)));
    }
    assert!(world.policy.neo4j.breaker.open().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_read_model_that_is_too_far_behind_is_not_asked() {
    let world = World::healthy();
    world.policy.horizon.observe(token(101), Instant::now());
    tokio::time::advance(SETTINGS.max_staleness).await;
    world.neo4j.will(Act::Answer(token(100)));
    assert_eq!(world.ask(ANY).await, Ok((token(100), Source::Neo4j)));
    tokio::time::advance(Duration::from_millis(1)).await;
    world.postgres.will(Act::Answer(token(101)));
    assert_eq!(world.ask(ANY).await, Ok((token(101), Source::Postgres)));
}

#[tokio::test(start_paused = true)]
async fn a_read_model_whose_lag_is_made_up_for_is_asked_however_far_behind() {
    let world = World::healthy();
    world.policy.recent.begin(token(100));
    world.policy.horizon.observe(token(101), Instant::now());
    tokio::time::advance(SETTINGS.max_staleness * 2).await;
    world.neo4j.will(Act::Answer(token(101)));
    assert_eq!(world.ask(ANY).await, Ok((token(101), Source::Neo4j)));
    world.policy.recent.begin(token(101));
    world.announce(100);
    world.postgres.will(Act::Answer(token(101)));
    assert_eq!(world.ask(ANY).await, Ok((token(101), Source::Postgres)));
}

#[tokio::test(start_paused = true)]
async fn a_token_that_this_process_has_read_is_not_waited_for() {
    let world = World::healthy();
    world.policy.recent.begin(token(102));
    world.policy.horizon.observe(token(102), Instant::now());
    world.neo4j.will(Act::Answer(token(102)));
    let began = Instant::now();
    assert_eq!(world.ask(at_least(token(102))).await, Ok((token(102), Source::Neo4j)));
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_of_no_revision_is_the_source_of_truths_to_give() {
    let world = World::healthy();
    world.neo4j.will(Act::Fail(Error::NotExact));
    world.postgres.will(Act::Answer(token(101)));
    assert_eq!(world.ask(ANY).await, Ok((token(101), Source::Postgres)));
    assert_eq!(world.policy.neo4j.breaker.open(), None, "the read model did answer");
}

#[tokio::test(start_paused = true)]
async fn a_token_is_waited_for() {
    let world = World::healthy();
    world.neo4j.will(Act::Answer(token(103)));
    let announce = async {
        tokio::time::sleep(Duration::from_millis(40)).await;
        world.announce(103);
    };
    let began = Instant::now();
    let (answer, ()) = tokio::join!(world.ask(at_least(token(102))), announce);
    assert_eq!(answer, Ok((token(103), Source::Neo4j)));
    assert_eq!(began.elapsed(), Duration::from_millis(40));
}

#[tokio::test(start_paused = true)]
async fn a_token_that_does_not_come_in_time_is_answered_by_the_source_of_truth() {
    let world = World::healthy();
    world.postgres.will(Act::Answer(token(102)));
    let began = Instant::now();
    assert_eq!(world.ask(at_least(token(102))).await, Ok((token(102), Source::Postgres)));
    assert_eq!(began.elapsed(), SETTINGS.freshness_wait);
    assert!(world.neo4j.asked().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_was_heard_is_no_proof() {
    // The projector announced revision 102, and the answer is of 101 all the same: another read model, or restored.
    let world = World::healthy();
    world.announce(102);
    world.neo4j.will(Act::Answer(token(101)));
    world.postgres.will(Act::Answer(token(102)));
    assert_eq!(world.ask(at_least(token(102))).await, Ok((token(102), Source::Postgres)));
}

#[tokio::test(start_paused = true)]
async fn a_token_beyond_the_head_is_refused() {
    let world = World::healthy();
    world.postgres.will(Act::Answer(token(101)));
    assert_eq!(world.ask(at_least(token(102))).await, Err(Refusal::TokenAhead));
}

#[tokio::test(start_paused = true)]
async fn a_token_of_a_past_epoch_is_refused_at_once() {
    let world = World::healthy();
    world.policy.horizon.observe(of_epoch(2, 5), Instant::now());
    assert_eq!(world.ask(at_least(token(100))).await, Err(Refusal::EpochChanged));
    assert_eq!((world.neo4j.asked(), world.postgres.asked()), (vec![], vec![]));
}

#[tokio::test(start_paused = true)]
async fn a_new_epoch_does_not_satisfy_a_token_of_the_old_one() {
    // Tokens order by epoch first; the answer must not pass for a later one of the same history.
    let world = World::healthy();
    world.neo4j.will(Act::Answer(of_epoch(2, 5)));
    assert_eq!(world.ask(at_least(token(100))).await, Err(Refusal::EpochChanged));
}

#[tokio::test(start_paused = true)]
async fn only_the_source_of_truth_knows_of_an_epoch_that_was_not_heard_of() {
    let world = World::healthy();
    world.postgres.will(Act::Answer(of_epoch(2, 5)));
    assert_eq!(world.ask(at_least(of_epoch(2, 5))).await, Ok((of_epoch(2, 5), Source::Postgres)));
    // From now on it is known, and what the read model still has is of the past.
    world.postgres.will(Act::Answer(of_epoch(2, 6)));
    assert_eq!(world.ask(ANY).await, Ok((of_epoch(2, 6), Source::Postgres)));
    assert!(world.neo4j.asked().is_empty());
    world.postgres.will(Act::Answer(of_epoch(2, 6)));
    assert_eq!(world.ask(at_least(of_epoch(3, 1))).await, Err(Refusal::EpochChanged));
}

#[tokio::test(start_paused = true)]
async fn beyond_the_budget_it_refuses_at_once_and_says_when_to_come_back() {
    let world = World::with_budget(3);
    world.fail_probes(&world.policy.neo4j.breaker);
    for _ in 0..3 {
        world.postgres.will(Act::Answer(token(100)));
        assert!(world.ask(ANY).await.is_ok());
    }
    let began = Instant::now();
    let refused = world.ask(ANY).await;
    let Err(Refusal::BudgetExhausted { limit: Limit::Rate, retry_after }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(Instant::now(), began);
    assert!(
        retry_after >= Duration::from_millis(300) && retry_after <= Duration::from_millis(700),
        "{retry_after:?}"
    );
    tokio::time::advance(retry_after).await;
    world.postgres.will(Act::Answer(token(100)));
    assert!(world.ask(ANY).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn without_any_store_it_says_so_at_once() {
    let world = World::healthy();
    world.fail_probes(&world.policy.neo4j.breaker);
    world.fail_probes(&world.policy.postgres.breaker);
    assert!(matches!(world.ask(ANY).await, Err(Refusal::Unavailable { .. })));
    assert_eq!((world.neo4j.asked(), world.postgres.asked()), (vec![], vec![]));
}

#[tokio::test(start_paused = true)]
async fn it_comes_back_to_the_read_model_when_the_breaker_closes() {
    let world = World::healthy();
    let breaker = &world.policy.neo4j.breaker;
    world.fail_probes(breaker);
    world.postgres.will(Act::Answer(token(100)));
    assert_eq!(world.ask(ANY).await, Ok((token(100), Source::Postgres)));
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(breaker.probe_succeeded(Instant::now()));
    breaker.close(Instant::now());
    world.neo4j.will(Act::Answer(token(100)));
    assert_eq!(world.ask(ANY).await, Ok((token(100), Source::Neo4j)));
}

#[tokio::test(start_paused = true)]
async fn a_deadline_that_has_passed_is_told_as_such() {
    let world = World::healthy();
    assert_eq!(world.ask_within(ANY, Duration::ZERO).await, Err(Refusal::DeadlineExceeded));
    world.postgres.will(Act::Hang);
    assert_eq!(world.ask_within(TRUTH, Duration::from_millis(50)).await, Err(Refusal::DeadlineExceeded));
    assert_eq!(world.policy.postgres.breaker.open(), None);
}

#[tokio::test(start_paused = true)]
async fn a_read_model_that_is_to_answer_alone_is_not_replaced() {
    let world = World::healthy().only(ReadSource::Neo4j);
    world.neo4j.will(Act::Answer(token(100)));
    assert_eq!(world.ask(ANY).await, Ok((token(100), Source::Neo4j)));
    world.neo4j.will(Act::Fail(Error::failed("reset")));
    assert!(matches!(world.ask(ANY).await, Err(Refusal::Unavailable { .. })));
    assert!(matches!(world.ask(TRUTH).await, Err(Refusal::Unavailable { .. })));
    assert!(world.postgres.asked().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_source_of_truth_that_is_to_answer_alone_has_no_budget_per_second() {
    let world = World::with_budget(1).only(ReadSource::Postgres);
    for _ in 0..5 {
        world.postgres.will(Act::Answer(token(100)));
        assert_eq!(world.ask(ANY).await, Ok((token(100), Source::Postgres)));
    }
    assert!(world.neo4j.asked().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_trail_tells_what_was_asked_and_why() {
    let world = World::healthy();
    world.neo4j.will(Act::Fail(Error::NotComplete));
    world.postgres.will(Act::Answer(token(100)));
    let trail = Trail::new(true);
    let someone = UserId::parse("f47ac10b-58cc-4372-a567-0e02b2c3d479").expect("an id");
    let question = Check { viewer: someone, targets: vec![someone] };
    let until = Instant::now() + Duration::from_secs(1);
    assert!(world.policy.answer(&question, ANY, until, &trail).await.is_ok());
    let record = trail.record().expect("it was wanted");
    assert_eq!(record.fallback, Some("not_complete"));
    let steps: Vec<_> =
        record.steps.iter().map(|s| (s.store, s.question, s.outcome, s.store_as_of)).collect();
    let wanted =
        [(Source::Neo4j, "check", "not_ready", None), (Source::Postgres, "check", "ok", Some(token(100)))];
    assert_eq!(steps, wanted);
}

/// Questions over two hops, which the fake stores do not answer: they fail.
fn two_hops() -> (multi::Suggest, multi::ListAt) {
    let viewer = UserId::parse("f47ac10b-58cc-4372-a567-0e02b2c3d479").expect("an id");
    let at = multi::ListAt { kind: ListKind::Followers, user: viewer, offset: 0, limit: 1 };
    (multi::Suggest { viewer, limit: 1 }, at)
}

#[tokio::test(start_paused = true)]
async fn what_the_read_model_alone_can_answer_is_not_asked_elsewhere() {
    let world = World::healthy();
    let (suggest, at) = two_hops();
    let (until, trail) = (Instant::now() + Duration::from_secs(1), Trail::new(true));
    let refused = world.policy.answer(&suggest, ANY, until, &trail).await;
    assert!(matches!(refused, Err(Refusal::Unavailable { .. })), "{refused:?}");
    assert_eq!(trail.record().map(|record| record.steps.len()), Some(1), "the read model");
    let trail = Trail::new(true);
    assert!(world.policy.answer(&at, ANY, until, &trail).await.is_err());
    assert_eq!(trail.record().map(|record| record.steps.len()), Some(2), "both stores");
}

#[tokio::test(start_paused = true)]
async fn recent_events_do_not_make_an_answer_over_two_hops_fresh() {
    let world = World::healthy();
    world.policy.recent.begin(token(105));
    let (_, at) = two_hops();
    let began = Instant::now();
    let trail = Trail::new(true);
    let until = began + Duration::from_secs(2);
    assert!(world.policy.answer(&at, at_least(token(105)), until, &trail).await.is_err());
    assert_eq!(Instant::now() - began, SETTINGS.freshness_wait, "the read model was waited for");
    assert_eq!(trail.record().and_then(|record| record.fallback), Some("behind"));
}
