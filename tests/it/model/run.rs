//! Executes a sequence in the services and in the model.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::join_all;
use proto::command::v1::{ImportEdge, ImportEdgesRequest};
use proto::error::{Reason, reason_of};
use proto::event::{EdgeKey, EdgeKind};
use proto::{Etag, UserId, timestamp};
use tests::asks::{self, Answer, Expected};
use tests::jobs::{self, OnAccount, Started};
use tests::model::{Imported, Model, Outcome, Replaced};
use tests::{Ask, Commands, importing};
use time::OffsetDateTime;
use tonic::Status;
use uuid::Uuid;

use super::steps::{ACCOUNTS, Pair, Step, What};
use super::world::World;

/// Expiry times of mutes and blocks, in hours from now.
const DATES: [Option<i64>; 4] = [None, Some(24), Some(48), Some(50_000)];

/// A sequence in progress.
pub struct Case<'a> {
    pub world: &'a World,
    pub users: [UserId; ACCOUNTS],
    pub model: Model,
    /// Position and date of every observed edge, by the model's step that added it.
    pub known: BTreeMap<(EdgeKey, (u64, i64)), (i64, OffsetDateTime)>,
    /// The etags that the commands of a step returned: one command per pair, so each is still current.
    pub answered: BTreeMap<(UserId, UserId), Etag>,
}

impl<'a> Case<'a> {
    /// With accounts without edges.
    pub fn new(world: &'a World) -> Self {
        Self {
            world,
            users: tests::users(),
            model: Model::default(),
            known: BTreeMap::new(),
            answered: BTreeMap::new(),
        }
    }

    fn ask(&self, pair: &Pair) -> Ask {
        let expiring = matches!(pair.act, tests::Act::Mute | tests::Act::Block);
        Ask {
            expires_at: DATES[pair.expiry].filter(|_| expiring).map(day_of),
            expected: pair.expected.map(Expected::Following),
            ..Ask::new(pair.act, self.users[pair.actor], self.users[pair.other])
        }
    }

    pub async fn carry_out(&mut self, step: &Step) {
        match &step.what {
            What::One(pair) => {
                self.world.note("commands alone");
                let ask = self.ask(pair).under(Uuid::new_v4());
                self.one(step.replica, ask).await;
            }
            What::AtOnce(pairs) => self.at_once(step.replica, pairs).await,
            What::Batch { atomic, pairs } => self.batch(step.replica, *atomic, pairs).await,
            What::Privacy { user, private } => {
                let (user, private) = (self.users[*user], *private);
                let wanted = self.model.set_private(user, private);
                self.on_account(step.replica, OnAccount::SetPrivate(private), user, Some(wanted)).await;
            }
            What::Replace { user, targets, dry_run } => {
                let user = self.users[*user];
                let targets: Vec<_> =
                    targets.iter().map(|n| self.users[*n]).filter(|target| *target != user).collect();
                self.replace(step.replica, user, &targets, *dry_run).await;
            }
            What::Import { kind, pairs, expiry } => {
                let pairs = pairs.iter().filter(|(source, target)| source != target);
                let pairs: Vec<_> = pairs.map(|(s, t)| (self.users[*s], self.users[*t])).collect();
                let expires_at = DATES[*expiry].filter(|_| *kind != EdgeKind::Follow).map(day_of);
                self.import(step.replica, *kind, &pairs, expires_at).await;
            }
            What::Archive(user) => {
                let wanted = Ok(self.model.set_archived(self.users[*user], true));
                self.on_account(step.replica, OnAccount::Archive, self.users[*user], Some(wanted)).await;
            }
            What::Restore(user) => {
                let wanted = Ok(self.model.set_archived(self.users[*user], false));
                self.on_account(step.replica, OnAccount::Restore, self.users[*user], Some(wanted)).await;
            }
            What::Erase(user) => {
                // Erase removes its own answer, and whether an account without edges has a row is not part of the
                // contract; only whether something changed is compared.
                let wanted = self.model.erase(self.users[*user]).then_some(Ok(true));
                self.on_account(step.replica, OnAccount::Erase, self.users[*user], wanted).await;
            }
        }
    }

    async fn one(&mut self, replica: usize, ask: Ask) {
        let wanted = self.model.act(&ask);
        let found =
            self.world.answered(replica, move |commands| async move { ask.send(&commands).await }).await;
        self.check(&ask, wanted, found);
    }

    fn check(&mut self, ask: &Ask, wanted: Outcome, found: Result<Answer, Status>) {
        let outcome = found.as_ref().map(|answer| answer.changed).map_err(reason);
        assert_eq!(outcome, wanted, "{ask:?}: {found:?}");
        if let Ok(answer) = found {
            self.check_pair(ask.actor, ask.other, &answer.relationship);
            self.answered.insert((ask.actor, ask.other), asks::etag(&answer.relationship));
        }
    }

    async fn at_once(&mut self, replica: usize, pairs: &[Pair]) {
        self.world.note("commands at once");
        let mut taken = BTreeSet::new();
        let asks: Vec<_> = pairs
            .iter()
            .filter(|pair| taken.insert((pair.actor.min(pair.other), pair.actor.max(pair.other))))
            .map(|pair| self.ask(pair).under(Uuid::new_v4()))
            .collect();
        let answers = join_all(asks.iter().zip(replica..).map(|(ask, replica)| {
            self.world.answered(replica, move |commands| async move { ask.send(&commands).await })
        }))
        .await;
        for (ask, found) in asks.iter().zip(answers) {
            let wanted = self.model.act(ask);
            self.check(ask, wanted, found);
        }
        self.model.forget_order_of_step();
    }

    async fn batch(&mut self, replica: usize, atomic: bool, pairs: &[Pair]) {
        self.world.note(if atomic { "atomic batches" } else { "independent batches" });
        let id = atomic.then(Uuid::new_v4);
        let asks: Vec<_> = pairs
            .iter()
            .map(|pair| {
                let ask = self.ask(pair);
                if atomic { ask } else { ask.under(Uuid::new_v4()) }
            })
            .collect();
        let send = |commands| {
            let asks = &asks;
            async move { asks::batch(&commands, asks, atomic, id).await }
        };
        let found = self.world.answered(replica, send).await;
        if atomic {
            let wanted = self.model.atomically(&asks).map_err(|(index, reason)| (index.to_string(), reason));
            let found = found.map(|answer| answer.results.iter().map(|r| r.changed).collect()).map_err(|s| {
                let index = tests::refusal::metadata(&s, "index").unwrap_or_default();
                (index, reason(&s))
            });
            assert_eq!(found, wanted, "{asks:?}");
            return;
        }
        let answer = found.expect("the call itself succeeds");
        assert_eq!(answer.results.len(), asks.len());
        for (ask, result) in asks.iter().zip(answer.results) {
            let wanted = self.model.act(ask);
            let found = result.error.as_ref().map_or(Ok(result.changed), |error| Err(error.reason()));
            assert_eq!(found, wanted, "{ask:?} of {asks:?}");
            if let Some(pair) = &result.relationship {
                self.check_pair(ask.actor, ask.other, pair);
            }
        }
    }

    /// `wanted` is `None` if either answer is correct.
    async fn on_account(
        &mut self,
        replica: usize,
        on_account: OnAccount,
        user: UserId,
        wanted: Option<Outcome>,
    ) {
        self.world.note(match on_account {
            OnAccount::SetPrivate(_) => "privacy",
            OnAccount::Archive => "archives",
            OnAccount::Restore => "restores",
            OnAccount::Erase => "erases",
        });
        let id = Some(Uuid::new_v4());
        let send = |commands| async move { on_account.send(&commands, user, id).await };
        let repeats = self.world.repeats();
        let found: Result<Started, _> = self.world.answered(replica, send).await;
        let outcome = found.as_ref().map(|started| started.changed).map_err(reason);
        let forgotten = on_account == OnAccount::Erase && self.world.repeats() > repeats;
        if let Some(wanted) = wanted.filter(|_| !forgotten) {
            assert_eq!(outcome, wanted, "{on_account:?} of {user}: {found:?}");
        }
        if let Ok(started) = found {
            self.wait(&started.job_id).await;
        }
    }

    async fn wait(&self, job_id: &str) {
        if !job_id.is_empty() {
            self.world.note("jobs");
            jobs::wait(&self.world.replicas[0], job_id).await;
        }
    }

    async fn replace(&mut self, replica: usize, user: UserId, targets: &[UserId], dry_run: bool) {
        self.world.note("replacements");
        let id = Some(Uuid::new_v4());
        let send = |commands: Commands| async move {
            jobs::replace_following(&commands, user, targets, id, dry_run).await
        };
        let found = self.world.answered(replica, send).await;
        let wanted = self.model.replace_following(user, targets, dry_run);
        let ids = |texts: &[String]| -> BTreeSet<UserId> {
            texts.iter().map(|text| UserId::parse(text).expect("an id")).collect()
        };
        let outcome = found.as_ref().map(|answer| Replaced {
            added: ids(&answer.added),
            removed: ids(&answer.removed),
            requested: ids(&answer.requested),
        });
        let outcome = outcome.map_err(reason);
        assert_eq!(outcome, wanted.map_err(|(_, reason)| reason), "{user} follows {targets:?}: {found:?}");
        if let Ok(answer) = found {
            let some = answer.added.len() + answer.removed.len() + answer.requested.len() > 0;
            assert_eq!(answer.changed, some, "{answer:?}");
            self.wait(&answer.job_id).await;
        }
    }

    async fn import(
        &mut self,
        replica: usize,
        kind: EdgeKind,
        pairs: &[(UserId, UserId)],
        expires_at: Option<OffsetDateTime>,
    ) {
        self.world.note("imports");
        let edge = |(source, target): &(UserId, UserId)| ImportEdge {
            source_id: source.to_string(),
            target_id: target.to_string(),
            expires_at: expires_at.map(timestamp::to_proto),
            ..ImportEdge::default()
        };
        let edges: Vec<_> = pairs.iter().map(edge).collect();
        let request = ImportEdgesRequest { kind: kind.into(), edges, ..Default::default() };
        let send = |mut commands: Commands| {
            let request = request.clone();
            async move { importing::chunk(&mut commands, request).await }
        };
        let repeats = self.world.repeats();
        let found = self.world.answered(replica, send).await.expect("a chunk is answered");
        let wanted = self.model.import(kind, pairs, expires_at);
        let mut outcome = Imported {
            accepted: found.accepted,
            unchanged: found.unchanged,
            refused: found.refused.iter().map(|edge| (edge.index, edge.reason())).collect(),
        };
        // A chunk has no idempotency key: a repeated chunk finds its own edges.
        if self.world.repeats() > repeats && outcome.accepted == 0 {
            outcome = Imported { accepted: wanted.accepted, unchanged: wanted.unchanged, ..outcome };
            assert_eq!(found.unchanged, wanted.accepted + wanted.unchanged, "{found:?}");
        }
        assert_eq!(outcome, wanted, "import of {kind:?} {pairs:?}");
    }
}

fn reason(status: &Status) -> Reason {
    reason_of(status).unwrap_or_else(|| panic!("not an error of the contract: {status:?}"))
}

/// This many hours after a day that all sequences of this process share.
fn day_of(hours: i64) -> OffsetDateTime {
    static DAY: std::sync::LazyLock<OffsetDateTime> = std::sync::LazyLock::new(|| asks::in_hours(0));
    *DAY + time::Duration::hours(hours)
}
