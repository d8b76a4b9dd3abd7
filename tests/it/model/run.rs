//! A sequence, carried out by the services and by the model side by side.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::future::join_all;
use proto::UserId;
use proto::error::{Reason, reason_of};
use proto::event::{EdgeKey, EdgeKind};
use proto::graph::v1::Relationship;
use sqlx::PgPool;
use tests::asks::{self, Answer, Expected};
use tests::clients::{self, List, fresh};
use tests::importing::{invites_repeat, retried};
use tests::jobs::{self, OnAccount, Started};
use tests::model::{Model, Outcome, Replaced};
use tests::own::Victim;
use tests::truth::postgres::snapshot_of;
use tests::truth::{Edge, counts_of};
use tests::{Ask, Commands, Endpoints, Own, until, users};
use time::OffsetDateTime;
use tokio::task::block_in_place;
use tonic::Status;
use uuid::Uuid;
use xtask::services::Service;

use super::steps::{ACCOUNTS, Killed, Pair, Step, What};

/// How long a command is repeated for while processes are away.
const PATIENCE: Duration = Duration::from_secs(60);

/// The services, and what has happened to them.
pub struct World {
    endpoints: Endpoints,
    replicas: [Commands; 2],
    pool: PgPool,
    own: RefCell<Own>,
    second: RefCell<Service>,
    counted: RefCell<BTreeMap<&'static str, usize>>,
}

impl World {
    pub async fn new(own: Own, second: Service) -> Self {
        let endpoints = own.endpoints.clone();
        Self {
            replicas: [endpoints.commands(), endpoints.through(&second).commands()],
            pool: endpoints.postgres().await,
            endpoints,
            own: RefCell::new(own),
            second: RefCell::new(second),
            counted: RefCell::default(),
        }
    }

    /// What happened how often.
    pub fn story(&self) -> String {
        format!("{:?}", self.counted.borrow())
    }

    fn note(&self, what: &'static str) {
        *self.counted.borrow_mut().entry(what).or_default() += 1;
    }

    /// Carries out a sequence with accounts of its own.
    ///
    /// # Panics
    /// Where an answer or a state is not the model's.
    pub async fn play(&self, sequence: &[Step]) {
        let mut case = Case { world: self, users: users(), model: Model::default(), known: BTreeMap::new() };
        for step in sequence {
            case.model.begin_step();
            match step.kill {
                None => case.carry_out(step).await,
                Some((killed, after)) => {
                    let kill = async {
                        // Not a wait for a state: the moment is part of the sequence.
                        tokio::time::sleep(Duration::from_millis(after)).await;
                        self.kill(killed);
                    };
                    tokio::join!(case.carry_out(step), kill);
                }
            }
            case.compare().await;
        }
        case.compare_api().await;
    }

    /// Kills a process and starts it again, without waiting until all is well.
    fn kill(&self, killed: Killed) {
        self.note("kills");
        match killed {
            Killed::Command(0) => {
                self.own.borrow_mut().kill(Victim::Command);
                self.own.borrow_mut().revive(Victim::Command);
            }
            Killed::Command(_) => block_in_place(|| {
                let mut second = self.second.borrow_mut();
                second.kill9().expect("killed");
                second.start_again().expect("started again");
            }),
            Killed::Projector => {
                self.own.borrow_mut().kill(Victim::Projector);
                self.own.borrow_mut().revive(Victim::Projector);
            }
        }
    }

    /// Asks one replica, and while there is no answer the other one, the first one, ...
    async fn answered<T, F>(&self, first: usize, call: impl Fn(Commands) -> F) -> Result<T, Status>
    where
        F: Future<Output = Result<T, Status>>,
    {
        let tries = RefCell::new(0);
        until("an answer", PATIENCE, || {
            let replica = self.replicas[(first + *tries.borrow()) % 2].clone();
            *tries.borrow_mut() += 1;
            let outcome = call(replica);
            async {
                match outcome.await {
                    Err(status) if invites_repeat(&status) => {
                        self.note("repeats");
                        Err(status.to_string())
                    }
                    decided => Ok(decided),
                }
            }
        })
        .await
    }
}

/// One sequence on its way.
struct Case<'a> {
    world: &'a World,
    users: [UserId; ACCOUNTS],
    model: Model,
    /// Place and date of every edge that was seen, by when the model says it was added.
    known: BTreeMap<(EdgeKey, (u64, i64)), (i64, OffsetDateTime)>,
}

impl Case<'_> {
    fn ask(&self, pair: &Pair) -> Ask {
        let expiring = matches!(pair.act, tests::Act::Mute | tests::Act::Block);
        let dates = [None, Some(24), Some(48), Some(50_000)];
        Ask {
            expires_at: dates[pair.expiry].filter(|_| expiring).map(day_of),
            expected: pair.expected.map(Expected::Following),
            ..Ask::new(pair.act, self.users[pair.actor], self.users[pair.other])
        }
    }

    async fn carry_out(&mut self, step: &Step) {
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
            What::Archive(user) => {
                let wanted = Ok(self.model.set_archived(self.users[*user], true));
                self.on_account(step.replica, OnAccount::Archive, self.users[*user], Some(wanted)).await;
            }
            What::Restore(user) => {
                let wanted = Ok(self.model.set_archived(self.users[*user], false));
                self.on_account(step.replica, OnAccount::Restore, self.users[*user], Some(wanted)).await;
            }
            What::Erase(user) => {
                // It forgets its own answer, and whether an account without edges has a row
                // is nobody's business: only that it changes something where there is something.
                let wanted = self.model.erase(self.users[*user]).then_some(Ok(true));
                let wanted = wanted.filter(|_| step.kill.is_none());
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

    fn check(&self, ask: &Ask, wanted: Outcome, found: Result<Answer, Status>) {
        let outcome = found.as_ref().map(|answer| answer.changed).map_err(reason);
        assert_eq!(outcome, wanted, "{ask:?}: {found:?}");
        if let Ok(answer) = found {
            self.check_pair(ask, &answer.relationship);
        }
    }

    fn check_pair(&self, ask: &Ask, found: &Relationship) {
        let wanted = self.model.relationship(ask.actor, ask.other);
        let comparable =
            Relationship { following_since: None, followed_by_since: None, revision: 0, ..found.clone() };
        assert_eq!(comparable, wanted, "the pair after {ask:?}");
        assert_eq!(found.following_since.is_some(), found.following, "{found:?}");
        assert_eq!(found.followed_by_since.is_some(), found.followed_by, "{found:?}");
        // Nobody learns that they are muted.
        let linked = self.model.visible().any(|(key, _)| {
            let other_way = (key.source, key.target) == (ask.other, ask.actor);
            let one_way = (key.source, key.target) == (ask.actor, ask.other);
            one_way || (other_way && key.kind != EdgeKind::Mute)
        });
        assert_eq!(found.revision > 0, linked, "the revision of the pair after {ask:?}");
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
                self.check_pair(ask, pair);
            }
        }
    }

    /// `wanted` is none where either answer will do.
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
        let found: Result<Started, _> = self.world.answered(replica, send).await;
        let outcome = found.as_ref().map(|started| started.changed).map_err(reason);
        if let Some(wanted) = wanted {
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

    /// PostgreSQL is in the model's state: edges, their dates and order, counts, flags.
    async fn compare(&mut self) {
        let found = snapshot_of(&self.world.pool, &self.users).await;
        let wanted: BTreeMap<_, _> = self.model.visible().map(|(key, edge)| (*key, *edge)).collect();
        let expiries = |edges: BTreeMap<EdgeKey, Option<OffsetDateTime>>| edges;
        assert_eq!(
            expiries(found.edges.iter().map(|(key, edge)| (*key, edge.expires_at)).collect()),
            expiries(wanted.iter().map(|(key, edge)| (*key, edge.expires_at)).collect()),
            "edges, and when they run out"
        );
        let counts = counts_of(wanted.keys());
        for user in &self.users {
            let account = found.accounts.get(user).cloned().unwrap_or_default();
            assert_eq!(account.counts, counts.get(user).copied().unwrap_or_default(), "counts of {user}");
            assert_eq!(account.private, self.model.private.contains(user), "privacy of {user}");
            let wanted = if self.model.archived.contains(user) { "archived" } else { "active" };
            let known = found.accounts.contains_key(user);
            assert_eq!(if known { account.state.as_str() } else { "active" }, wanted, "state of {user}");
        }

        // Places and dates never change while an edge lives, hidden or not; newer edges are
        // before older ones.
        let mut by_age: Vec<_> = wanted.iter().map(|(key, edge)| (edge.place, *key)).collect();
        by_age.sort();
        let mut newest = ((0, 0), i64::MIN);
        for (place, key) in by_age {
            let Edge { position, created_at, .. } = found.edges[&key];
            let first_seen = *self.known.entry((key, place)).or_insert((position, created_at));
            assert_eq!((position, created_at), first_seen, "place and date of {key:?}");
            assert!(place == newest.0 || position > newest.1, "{key:?} is newer than its place");
            newest = (place, position.max(newest.1));
        }
    }

    /// The read side agrees: checks, lists and counts of the follows.
    async fn compare_api(&self) {
        let token = found_token(&self.world.pool, &self.users).await;
        let mut queries = self.world.endpoints.queries();
        let follows: BTreeSet<_> = self
            .model
            .visible()
            .filter(|(key, _)| key.kind == EdgeKind::Follow)
            .map(|(key, _)| (key.source, key.target))
            .collect();
        for user in self.users {
            let text = user.to_string();
            let lists = [
                (List::Followers, follows.iter().filter(|(_, t)| *t == user).map(|(s, _)| *s).collect()),
                (List::Following, follows.iter().filter(|(s, _)| *s == user).map(|(_, t)| *t).collect()),
            ];
            let counts = retried(|| {
                let (mut queries, text, token) = (queries.clone(), text.clone(), token.clone());
                async move { clients::counts(&mut queries, &[text], fresh(&token)).await }
            })
            .await;
            let sizes: [BTreeSet<UserId>; 2] = lists.clone().map(|(_, users)| users);
            let counted = (counts[0].followers as usize, counts[0].following as usize);
            assert_eq!(counted, (sizes[0].len(), sizes[1].len()), "counts of {user}");
            for (list, wanted) in lists {
                let listed =
                    clients::walk(&mut queries, list, &text, 2, fresh(&token)).await.expect("a list");
                let set: BTreeSet<_> = listed.iter().map(|id| UserId::parse(id).expect("an id")).collect();
                assert_eq!((listed.len(), set), (wanted.len(), wanted), "{list:?} of {user}");
            }
            for other in self.users.iter().filter(|other| **other != user) {
                let seen = clients::check(&mut queries, &text, &other.to_string(), fresh(&token)).await;
                let following = seen.expect("a check").following;
                assert_eq!(following, follows.contains(&(user, *other)), "{user} follows {other}");
            }
        }
    }
}

/// Of the present head, so that reads see all that was written.
async fn found_token(pool: &PgPool, users: &[UserId]) -> String {
    snapshot_of(pool, users).await.head.to_string()
}

fn reason(status: &Status) -> Reason {
    reason_of(status).unwrap_or_else(|| panic!("not an error of the contract: {status:?}"))
}

/// So many hours from a day that all sequences of this process share.
fn day_of(hours: i64) -> OffsetDateTime {
    static DAY: std::sync::LazyLock<OffsetDateTime> = std::sync::LazyLock::new(|| asks::in_hours(0));
    *DAY + time::Duration::hours(hours)
}
