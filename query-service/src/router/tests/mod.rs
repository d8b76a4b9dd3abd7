//! Tests of the router, with scripted stores and a clock that stands still.

mod freshness;
mod health;
mod hops;
mod memory;
mod replicas;
mod shared;
mod truth;

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use proto::{Epoch, Revision, Token, UserId};
use tokio::time::Instant;

use super::*;
use crate::queries::{self, Check, Checkpoint, ListKind, Versioned};
use crate::recent::{Limits, Recent};
use crate::replicas::{ReadModel, Replica, Tolerance};

/// Behaviour of a store for the next question.
enum Act {
    Answer(Token),
    Fail(Error),
    /// Never answers; the read's time limit ends it.
    Hang,
}

/// A store that follows the test's script, and records the time limit of each read.
#[derive(Default)]
struct Fake {
    acts: Mutex<VecDeque<Act>>,
    asked: Mutex<Vec<Duration>>,
}

impl Fake {
    fn will(&self, act: Act) {
        self.acts.lock().push_back(act);
    }

    fn asked(&self) -> Vec<Duration> {
        self.asked.lock().clone()
    }

    async fn act<T>(&self, value: T, within: Duration) -> ReadResult<T> {
        self.asked.lock().push(within);
        let act = self.acts.lock().pop_front();
        match act.expect("a scripted outcome for each read") {
            Act::Answer(as_of) => Ok(Versioned::exact(value, as_of)),
            Act::Fail(error) => Err(error),
            Act::Hang => {
                tokio::time::sleep(within).await;
                Err(Error::TimedOut)
            }
        }
    }
}

impl<Q: Question<Answer: Default>> Read<Q> for Fake {
    async fn read(&self, _: &Q, cx: Context<'_>) -> ReadResult<Q::Answer> {
        self.act(Q::Answer::default(), cx.within).await
    }
}

/// A router and its stores; each read model is read through an `N` of the fake.
struct World<N = Arc<Fake>> {
    /// One for each replica.
    neo4j: Vec<Arc<Fake>>,
    postgres: Arc<Fake>,
    router: Router<N, Arc<Fake>>,
}

const SETTINGS: Settings = Settings {
    neo4j_timeout: Duration::from_millis(500),
    postgres_timeout: Duration::from_secs(5),
    freshness_wait: Duration::from_millis(200),
    memory_max_lag: Duration::from_secs(5),
    read_source: ReadSource::Auto,
};

const TOLERANCE: Tolerance =
    Tolerance { max_staleness: Duration::from_secs(60), max_lag: Duration::from_secs(5) };

fn token(revision: u64) -> Token {
    of_epoch(1, revision)
}

fn of_epoch(epoch: u64, revision: u64) -> Token {
    Token::new(Epoch(epoch), Revision(revision))
}

impl World {
    /// Both stores are up, all read models are complete at revision 100, and so is the head.
    fn healthy() -> Self {
        Self::with_budget(10)
    }

    fn with_budget(per_second: u32) -> Self {
        Self::with(1, per_second)
    }

    fn with_replicas(replicas: usize) -> Self {
        Self::with(replicas, 10)
    }

    fn with(replicas: usize, per_second: u32) -> Self {
        Self::with_models(replicas, per_second, Arc::clone)
    }
}

impl<N: Read<Check>> World<N> {
    fn with_models(replicas: usize, per_second: u32, model: impl Fn(&Arc<Fake>) -> N) -> Self {
        let now = Instant::now();
        let heads = Arc::new(HeadTracker::default());
        let recent = Arc::new(Recent::without_hot_set(Limits { events: 1, bytes: 1 }));
        let breaker = || {
            let breaker = Breaker::new(now);
            breaker.close(now);
            Arc::new(breaker)
        };
        let (neo4j, postgres) =
            ((0..replicas).map(|_| Arc::<Fake>::default()).collect::<Vec<_>>(), Arc::<Fake>::default());
        let models = neo4j.iter().enumerate().map(|(number, fake)| {
            let replica = Arc::new(Replica::new(format!("projector-{number}")));
            ReadModel::new(model(fake), breaker(), replica)
        });
        let router = Router {
            replicas: Replicas::new(models.collect(), Arc::clone(&heads), Arc::clone(&recent), TOLERANCE),
            postgres: Store { reader: Arc::clone(&postgres), breaker: breaker() },
            memory: Memory { recent },
            heads,
            budget: Budget::new(NonZeroU32::new(per_second).expect("above zero"), 100, now),
            lists: Holders::new(4, Arc::default()),
            handles: Handles::default(),
            settings: SETTINGS,
        };
        let world = Self { neo4j, postgres, router };
        (0..replicas).for_each(|number| world.announced_by(number, 100));
        world.router.heads.observe_head(token(100), now);
        world
    }

    fn model(&self, number: usize) -> &ReadModel<N> {
        self.router.replicas.get(number)
    }

    fn only(mut self, source: ReadSource) -> Self {
        self.router.settings.read_source = source;
        self
    }

    fn announce(&self, revision: u64) {
        self.announced_by(0, revision);
    }

    fn announced_by(&self, number: usize, revision: u64) {
        let checkpoint = Checkpoint { visible: token(revision), complete: true };
        self.model(number).replica.announced(checkpoint, Instant::now());
    }

    /// Sends one check with a deadline of two seconds.
    async fn ask(&self, need: Need) -> Result<(Token, Source), Refusal> {
        self.ask_within(need, Duration::from_secs(2)).await
    }

    async fn ask_within(&self, need: Need, within: Duration) -> Result<(Token, Source), Refusal> {
        let someone = UserId::parse("f47ac10b-58cc-4372-a567-0e02b2c3d479").expect("an id");
        let question = Check { viewer: someone, targets: vec![someone] };
        let answer = self.router.answer(&question, &call(need, Instant::now() + within)).await?;
        Ok((answer.as_of, answer.source))
    }

    fn fail_probes(&self, breaker: &Breaker) {
        (0..2).for_each(|_| breaker.probe_failed(Instant::now(), None));
    }
}

fn call(need: Need, deadline: Instant) -> Call {
    Call { need, deadline, trace: QueryTrace::default() }
}

/// Polls a question once; it must still be pending.
async fn begins_to_wait<T>(asked: Pin<&mut impl Future<Output = T>>) {
    assert!(futures::poll!(asked).is_pending());
}

const NO_TOKEN: CallerKey = CallerKey::NONE;
const ANY: Need = Need { at_least: None, truth: false, caller: NO_TOKEN };
const TRUTH: Need = Need { at_least: None, truth: true, caller: NO_TOKEN };

fn at_least(token: Token) -> Need {
    Need { at_least: Some(token), ..ANY }
}
