//! Compares every answer of the hot set with the truth at its position, over random events, loads, repairs and restarts.
//!
//! The replica is modelled as badly as the contract of a load allows: each edge of an answer may be of another revision
//! between its bounds, and an edge that moved may be there twice.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use event_log::LoggedEvent;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proto::event::{AccountCounts, EdgeChange, EdgeKey, EdgeKind, EdgeOp, Event, Verb};
use proto::{Epoch, Position, UserId};
use time::OffsetDateTime;
use uuid::Uuid;

use super::*;

use crate::queries::{Counts, Generation, ListRow, PublicList};

const ACCOUNTS: u8 = 6;

/// The follows of one revision: the date is that of the position.
type Graph = BTreeMap<(UserId, UserId), Position>;

#[derive(Clone, Debug)]
enum Op {
    /// Some follows change in one event. True: those that come back have their old positions, as after an archive.
    Event(Vec<(u8, u8)>, bool),
    /// This process reads the next event. A replica may have applied it before.
    Follow,
    /// A replica is read. The answer lies between two revisions: the later one is `behind` the newest, the earlier one is
    /// `torn` before that. `bits` choose the revision of each edge.
    Read { what: What, behind: u8, torn: u8, bits: u64 },
    /// The oldest answer arrives.
    Arrive,
    /// An edge of the replica is damaged: present, where it is absent, and the other way round.
    Damage(u8, u8),
    /// The replica is repaired.
    Repair,
    /// The recent events are loaded again from the newest revision; true: after a time without a position.
    Restart(bool),
}

#[derive(Clone, Copy, Debug)]
enum What {
    Ids(u8),
    Newest { user: u8, followers: bool, limit: u8 },
    Counts(u8, u8),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let account = || 0..ACCOUNTS;
    let what = prop_oneof![
        account().prop_map(What::Ids),
        (account(), any::<bool>(), 1..6_u8).prop_map(|(user, followers, limit)| What::Newest {
            user,
            followers,
            limit
        }),
        (account(), account()).prop_map(|(one, other)| What::Counts(one, other)),
    ];
    let op = prop_oneof![
        5 => (prop::collection::vec((account(), account()), 1..3), any::<bool>())
            .prop_map(|(pairs, restored)| Op::Event(pairs, restored)),
        1 => prop::collection::vec((account(), account()), 20..30).prop_map(|pairs| Op::Event(pairs, false)),
        7 => Just(Op::Follow),
        6 => (what, 0..5_u8, 0..5_u8, any::<u64>())
            .prop_map(|(what, behind, torn, bits)| Op::Read { what, behind, torn, bits }),
        9 => Just(Op::Arrive),
        1 => (account(), account()).prop_map(|(source, target)| Op::Damage(source, target)),
        1 => Just(Op::Repair),
        1 => any::<bool>().prop_map(Op::Restart),
    ];
    prop::collection::vec(op, 1..120)
}

fn user(number: u8) -> UserId {
    UserId::new(Uuid::from_u128(u128::from(number) + 1)).expect("not nil")
}

fn users() -> impl Iterator<Item = UserId> {
    (0..ACCOUNTS).map(user)
}

fn token(revision: u64) -> Token {
    Token::new(Epoch(1), Revision(revision))
}

fn date(position: Position) -> i64 {
    i64::try_from(position.0).expect("small")
}

fn counts(graph: &Graph, user: UserId) -> Counts {
    let count = |is: &dyn Fn(&(UserId, UserId)) -> bool| graph.keys().filter(|edge| is(edge)).count() as u64;
    Counts {
        followers: count(&|edge| edge.1 == user),
        following: count(&|edge| edge.0 == user),
        ..Counts::default()
    }
}

/// A list, newest first.
fn list(graph: &Graph, list: PublicList, user: UserId) -> Vec<ListRow> {
    let mut rows: Vec<ListRow> = graph
        .iter()
        .filter_map(|((source, target), position)| {
            let (own, other) = match list {
                PublicList::Followers => (target, source),
                PublicList::Following => (source, target),
            };
            (*own == user).then_some(row(*other, *position))
        })
        .collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.position));
    rows
}

fn row(user: UserId, position: Position) -> ListRow {
    ListRow { user, position, created_at_millis: date(position), expires_at_millis: None }
}

struct Model {
    recent: Recent,
    generations: Generations,
    /// By revision.
    graphs: Vec<Graph>,
    damaged: Option<(UserId, UserId)>,
    /// True since a damage, until the repair is known: entries may be as wrong as the replica.
    suspect: bool,
    generation: i64,
    arriving: VecDeque<Load>,
    /// Events that this process has not read.
    unread: VecDeque<LoggedEvent>,
    hits: usize,
}

impl Model {
    fn new(hot: usize) -> Self {
        let generations = Generations::new(1);
        generations.set(0, Generation::new(0));
        let recent = Recent::new(Limits { events: 12, bytes: usize::MAX }, hot, generations.clone());
        recent.begin(token(0));
        Self {
            recent,
            generations,
            graphs: vec![Graph::new()],
            damaged: None,
            suspect: false,
            generation: 0,
            arriving: VecDeque::new(),
            unread: VecDeque::new(),
            hits: 0,
        }
    }

    fn newest(&self) -> usize {
        self.graphs.len() - 1
    }

    fn act(&mut self, op: &Op) {
        match op {
            Op::Event(pairs, restored) => self.event(pairs, *restored),
            Op::Follow => {
                if let Some(event) = self.unread.pop_front() {
                    assert!(self.recent.push(&event));
                }
            }
            Op::Read { what, behind, torn, bits } => self.read(*what, *behind, *torn, *bits),
            Op::Arrive => {
                if let Some(load) = self.arriving.pop_front() {
                    self.recent.install(load);
                }
            }
            Op::Damage(source, target) if source != target => {
                self.damaged = Some((user(*source), user(*target)));
                self.suspect = true;
            }
            Op::Damage(..) => {}
            Op::Repair => {
                self.damaged = None;
                self.suspect = false;
                self.generation += 1;
                self.generations.set(0, Generation::new(self.generation));
            }
            Op::Restart(forget) => {
                if *forget {
                    self.recent.forget();
                    assert_eq!(self.recent.hot_figures().entries, 0);
                }
                self.unread.clear();
                self.recent.begin(token(self.newest() as u64));
            }
        }
    }

    /// Each pair changes: a follow that is there goes, another one comes.
    fn event(&mut self, pairs: &[(u8, u8)], restored: bool) {
        let revision = self.graphs.len() as u64;
        let mut graph = self.graphs[self.newest()].clone();
        let pairs: BTreeSet<_> = pairs.iter().filter(|(source, target)| source != target).collect();
        let mut edges = Vec::new();
        for (index, (source, target)) in pairs.into_iter().enumerate() {
            let (source, target) = (user(*source), user(*target));
            let (op, position) = match graph.remove(&(source, target)) {
                Some(position) => (EdgeOp::Removed, position),
                None => {
                    let new = Position::new(Revision(revision), index);
                    let old = self.graphs.iter().rev().find_map(|graph| graph.get(&(source, target)));
                    let position = old.copied().filter(|_| restored).unwrap_or(new);
                    graph.insert((source, target), position);
                    (EdgeOp::Added, position)
                }
            };
            let created_at =
                OffsetDateTime::from_unix_timestamp_nanos(i128::from(date(position)) * 1_000_000)
                    .expect("a date");
            let key = EdgeKey { kind: EdgeKind::Follow, source, target };
            edges.push(EdgeChange { key, op, position, created_at, expires_at: None });
        }
        let ends: BTreeSet<_> = edges.iter().flat_map(|edge| [edge.key.source, edge.key.target]).collect();
        let told = ends.into_iter().map(|user| {
            let Counts { followers, following, .. } = counts(&graph, user);
            let (muting, blocking, requests_sent, requests_received) = (0, 0, 0, 0);
            AccountCounts { user, followers, following, muting, blocking, requests_sent, requests_received }
        });
        let event = Event {
            epoch: Epoch(1),
            revision: Revision(revision),
            event_id: Uuid::from_u128(u128::from(revision)),
            prev_id: None,
            committed_at: OffsetDateTime::UNIX_EPOCH,
            verb: Verb::Follow,
            actor: None,
            accounts: Vec::new(),
            counts: told.collect(),
            edges,
        };
        let payload = event.encode().into();
        self.unread.push_back(LoggedEvent { event, payload, traceparent: None });
        self.graphs.push(graph);
    }

    fn read(&mut self, what: What, behind: u8, torn: u8, mut bits: u64) {
        let target = self.newest().saturating_sub(usize::from(behind));
        let as_of = target.saturating_sub(usize::from(torn));
        let mut choose = |upto: usize| {
            bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(bits >> 33).expect("31 bits") % upto
        };
        let width = target - as_of + 1;
        // What the replica shows: each edge of a revision of its own.
        let mut shown: Vec<((UserId, UserId), Position)> = Vec::new();
        for edge in users().flat_map(|source| users().map(move |target| (source, target))) {
            let mut seen = BTreeSet::from([as_of + choose(width)]);
            if choose(4) == 0 {
                seen.insert(as_of + choose(width));
            }
            let found: BTreeSet<_> = seen.iter().filter_map(|at| self.graphs[*at].get(&edge)).collect();
            let is_damaged = self.damaged == Some(edge);
            shown.extend(found.into_iter().filter(|_| !is_damaged).map(|position| (edge, *position)));
            if is_damaged && !self.graphs[target].contains_key(&edge) && edge.0 != edge.1 {
                shown.push((edge, Position::new(Revision(1), 999)));
            }
        }
        let content = match what {
            What::Ids(account) => {
                let ids = shown.iter().filter(|((source, _), _)| *source == user(account));
                Content::Ids(user(account), ids.map(|((_, target), _)| *target).collect())
            }
            What::Newest { user: account, followers, limit } => {
                let list = if followers { PublicList::Followers } else { PublicList::Following };
                let own = |edge: &(UserId, UserId)| if followers { (edge.1, edge.0) } else { *edge };
                let rows = shown.iter().filter(|(edge, _)| own(edge).0 == user(account));
                let mut rows: Vec<_> = rows.map(|(edge, position)| row(own(edge).1, *position)).collect();
                rows.sort_by_key(|row| std::cmp::Reverse(row.position));
                rows.truncate(usize::from(limit));
                let is_whole = rows.len() < usize::from(limit);
                Content::Newest { user: user(account), list, rows, is_whole }
            }
            What::Counts(one, other) => {
                let mut read =
                    |number| (user(number), counts(&self.graphs[as_of + choose(width)], user(number)));
                Content::Counts(vec![read(one), read(other)])
            }
        };
        let generation = Generation::new(self.generation).expect("not negative");
        let (as_of, target) = (token(as_of as u64), token(target as u64));
        self.arriving.push_back(Load { content, as_of, target, origin: Origin { replica: 0, generation } });
    }

    /// Every answer that the hot set gives is the truth.
    fn check(&mut self) -> Result<(), TestCaseError> {
        let world = self.recent.world();
        let (position, hot) = world.hot().expect("a position");
        let at = self.newest() - self.unread.len();
        prop_assert_eq!(position, token(at as u64));
        let figures = hot.figures();
        if self.suspect {
            return Ok(());
        }
        let truth = &self.graphs[at];
        let everybody: Vec<UserId> = users().collect();
        for account in users() {
            if let Some(found) = hot.check(account, &everybody) {
                let wanted: Vec<bool> =
                    everybody.iter().map(|target| truth.contains_key(&(account, *target))).collect();
                prop_assert_eq!(found, wanted);
                self.hits += 1;
            }
            if let Some(found) = hot.counts(&[account]) {
                prop_assert_eq!(found, vec![counts(truth, account)]);
                self.hits += 1;
            }
            for kind in PublicList::ALL {
                let whole = list(truth, kind, account);
                let befores = whole.iter().map(|row| Some(row.position)).chain([None]);
                for (before, limit) in befores.flat_map(|before| (1..7).map(move |limit| (before, limit))) {
                    let below = whole.iter().filter(|row| before.is_none_or(|before| row.position < before));
                    if let Some(found) = hot.page(kind, account, before, limit) {
                        prop_assert_eq!(found, below.take(limit).copied().collect::<Vec<_>>());
                        self.hits += 1;
                    }
                }
            }
        }
        prop_assert!(figures.bytes <= 1 << 20);
        Ok(())
    }
}

fn run(ops: &[Op], hot: usize) -> Result<Model, TestCaseError> {
    let mut model = Model::new(hot);
    for op in ops {
        model.act(op);
        model.check()?;
    }
    Ok(model)
}

proptest! {
    #[test]
    fn every_hit_is_the_truth(ops in ops()) {
        run(&ops, 1 << 20)?;
    }

    /// Room for a few entries only.
    #[test]
    fn every_hit_is_the_truth_while_entries_come_and_go(ops in ops()) {
        let model = run(&ops, 6 << 10)?;
        prop_assert!(model.recent.hot_figures().bytes <= 6 << 10);
    }
}

#[test]
fn without_damage_no_event_contradicts_an_entry_and_there_are_hits() {
    let mut model = Model::new(1 << 20);
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    for _ in 0..50 {
        let ops = ops().new_tree(&mut runner).expect("operations").current();
        for op in ops.iter().filter(|op| !matches!(op, Op::Damage(..))) {
            model.act(op);
            model.check().expect("the truth");
        }
    }
    assert_eq!(model.recent.hot_figures().differences, 0);
    assert!(model.hits > 5_000, "{} hits", model.hits);
}
