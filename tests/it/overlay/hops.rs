//! Multi-hop reads: how readers make them, and which answers are right.

use std::collections::{BTreeMap, HashMap};

use proto::event::EdgeKind::{Block, Follow, FollowRequest, Mute};
use proto::query::v1 as wire;
use proto::query::v1::{AccountSet, ListedEdge, SetKind, SetOperation};
use proto::{Position, UserId, timestamp};
use rand::Rng as _;
use tests::truth::Edge;
use tonic::Status;

use super::ask::{Answer, List, Origin, Reader, in_time};
use super::judge::{State, Told, Walks};

/// Pages of one walk.
const PAGES: usize = 3;
/// Numbers of the viewer's newest follows that suggestions are based on, and of the newest follows of each of those.
const SUGGESTING: (usize, usize) = (250, 100);
/// Number of accounts in between that a suggestion names.
const NAMED: usize = 3;

/// One side of an account.
pub type Set = (List, UserId);

/// A page of a walk: the walk, the page's number and size, and whether there are more.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    walk: (u64, u64),
    number: usize,
    size: usize,
    more: bool,
}

/// A question and its answer.
#[derive(Clone, Debug)]
pub enum Hops {
    Mutuals { user: UserId, at: Place, edges: Vec<ListedEdge> },
    Known { viewer: UserId, target: UserId, at: Place, edges: Vec<ListedEdge>, total: u64 },
    Sets { operation: SetOperation, first: Set, second: Set, at: Place, ids: Vec<String> },
    Suggestions { viewer: UserId, limit: usize, given: Vec<wire::Suggestion> },
}

/// Positions of walks through two sets. An intersection walks the smaller set, and its first pages may not show which
/// set that is: then a walk has several possible positions.
pub type SetWalks = HashMap<(u64, u64), Vec<SetWalk>>;

/// The position of a walk through two sets.
#[derive(Clone, Copy, Debug, Default)]
pub struct SetWalk {
    pages: usize,
    /// The walk is in the second set.
    second: bool,
    before: Option<i64>,
    /// Edges of a union's first set at or above this position do not count.
    begun: Option<i64>,
}

impl Reader {
    pub(super) async fn one_over_hops(&mut self) -> Result<(), Status> {
        let user = self.user();
        match self.rng.random_range(0..8) {
            0 => self.relationships(user).await,
            1 => self.counts(user).await,
            2 => self.suggestions(user).await,
            3 => self.mutuals(user).await,
            4 => self.known(user).await,
            _ => self.sets().await,
        }
    }

    fn place(&mut self) -> Place {
        self.walks += 1;
        let size = if self.rng.random() { self.rng.random_range(1..6) } else { 50 };
        Place { walk: (self.seed, self.walks), number: 0, size, more: false }
    }

    async fn mutuals(&mut self, user: UserId) -> Result<(), Status> {
        let (mut at, mut page_token) = (self.place(), String::new());
        while at.number < PAGES {
            let (consistency, at_least) = self.consistency();
            let (pod, mut queries) = self.pod();
            let request = wire::ListMutualsRequest {
                user_id: user.to_string(),
                page_size: at.size as i32,
                page_token,
                consistency,
                explain: true,
            };
            let answer = queries.list_mutuals(in_time(request)).await?.into_inner();
            page_token = answer.next_page_token;
            at.more = !page_token.is_empty();
            let origin = Origin::new(answer.as_of, answer.source, answer.explanation);
            let seen = Hops::Mutuals { user, at, edges: answer.edges };
            self.saw(pod, Answer::Hops(seen), at_least, origin);
            if !at.more {
                break;
            }
            at.number += 1;
        }
        Ok(())
    }

    async fn known(&mut self, viewer: UserId) -> Result<(), Status> {
        let target = self.user();
        let (mut at, mut page_token) = (self.place(), String::new());
        while at.number < PAGES {
            let (consistency, at_least) = self.consistency();
            let (pod, mut queries) = self.pod();
            let request = wire::ListFollowersYouKnowRequest {
                viewer_id: viewer.to_string(),
                target_id: target.to_string(),
                page_size: at.size as i32,
                page_token,
                consistency,
                explain: true,
            };
            let answer = queries.list_followers_you_know(in_time(request)).await?.into_inner();
            page_token = answer.next_page_token;
            at.more = !page_token.is_empty();
            let origin = Origin::new(answer.as_of, answer.source, answer.explanation);
            let seen = Hops::Known { viewer, target, at, edges: answer.edges, total: answer.total };
            self.saw(pod, Answer::Hops(seen), at_least, origin);
            if !at.more {
                break;
            }
            at.number += 1;
        }
        Ok(())
    }

    async fn sets(&mut self) -> Result<(), Status> {
        let operations = [SetOperation::Union, SetOperation::Intersection, SetOperation::Difference];
        let operation = operations[self.rng.random_range(0..operations.len())];
        let mut set = || {
            let list = if self.rng.random() { List::Followers } else { List::Following };
            (list, self.user())
        };
        let (first, second) = (set(), set());
        let (mut at, mut page_token) = (self.place(), String::new());
        while at.number < PAGES {
            let (consistency, at_least) = self.consistency();
            let (pod, mut queries) = self.pod();
            let request = wire::ListSetOperationRequest {
                operation: operation.into(),
                first: Some(on_the_wire(first)),
                second: Some(on_the_wire(second)),
                page_size: at.size as i32,
                page_token,
                consistency,
                explain: true,
            };
            let answer = queries.list_set_operation(in_time(request)).await?.into_inner();
            page_token = answer.next_page_token;
            at.more = !page_token.is_empty();
            let origin = Origin::new(answer.as_of, answer.source, answer.explanation);
            let seen = Hops::Sets { operation, first, second, at, ids: answer.user_ids };
            self.saw(pod, Answer::Hops(seen), at_least, origin);
            if !at.more {
                break;
            }
            at.number += 1;
        }
        Ok(())
    }

    async fn suggestions(&mut self, viewer: UserId) -> Result<(), Status> {
        let (consistency, at_least) = self.consistency();
        let (pod, mut queries) = self.pod();
        let limit = self.rng.random_range(1..20);
        let request = wire::SuggestAccountsRequest {
            viewer_id: viewer.to_string(),
            limit: limit as i32,
            consistency,
            explain: true,
        };
        let answer = queries.suggest_accounts(in_time(request)).await?.into_inner();
        let origin = Origin::new(answer.as_of, answer.source, answer.explanation);
        let seen = Hops::Suggestions { viewer, limit, given: answer.suggestions };
        self.saw(pod, Answer::Hops(seen), at_least, origin);
        Ok(())
    }
}

fn on_the_wire((list, user): Set) -> AccountSet {
    let kind = if list == List::Followers { SetKind::Followers } else { SetKind::Following };
    AccountSet { user_id: user.to_string(), kind: kind.into() }
}

impl Hops {
    pub fn judge(&self, state: &State, told: &Told<'_>, walks: &mut Walks, set_walks: &mut SetWalks) {
        match self {
            Self::Mutuals { user, at, edges } => {
                let mut rows = state.list(List::Following, *user);
                rows.retain(|(_, other, _)| state.edge(Follow, *other, *user).is_some());
                judge_walk(rows, at, edges, told, walks);
            }
            Self::Known { viewer, target, at, edges, total } => {
                let rows = known(state, *viewer, *target);
                told.same(total, &(rows.len() as u64));
                judge_walk(rows, at, edges, told, walks);
            }
            Self::Sets { operation, first, second, at, ids } => {
                let walks = set_walks.entry(at.walk).or_insert_with(|| beginnings(*operation));
                told.same(&at.number, &walks[0].pages);
                let given = (ids.clone(), at.more);
                let pages =
                    walks.iter().map(|walk| set_page(state, *operation, (*first, *second), at, *walk, told));
                let (possible, others): (Vec<_>, Vec<_>) =
                    pages.partition(|(page, more, _)| (page, *more) == (&given.0, given.1));
                if let (Some((page, more, _)), true) = (others.into_iter().next(), possible.is_empty()) {
                    told.same(&given, &(page, more));
                }
                let pages = at.number + 1;
                *walks = possible.into_iter().map(|(_, _, next)| SetWalk { pages, ..next }).collect();
            }
            Self::Suggestions { viewer, limit, given } => {
                judge_suggestions(state, *viewer, *limit, given, told);
            }
        }
    }
}

/// Possible start positions of a walk.
fn beginnings(operation: SetOperation) -> Vec<SetWalk> {
    let first = SetWalk::default();
    match operation {
        SetOperation::Intersection => vec![first, SetWalk { second: true, ..first }],
        _ => vec![first],
    }
}

/// Accounts that the viewer follows and that follow the target, with the date of the latter.
pub fn known(state: &State, viewer: UserId, target: UserId) -> Vec<(i64, UserId, Edge)> {
    let rows = state.list(List::Following, viewer).into_iter();
    rows.filter_map(|(position, other, _)| {
        let (edge, _) = state.edge(Follow, other, target)?;
        Some((position, other, edge))
    })
    .collect()
}

fn judge_walk(
    mut rows: Vec<(i64, UserId, Edge)>,
    at: &Place,
    edges: &[ListedEdge],
    told: &Told<'_>,
    walks: &mut Walks,
) {
    let walk = walks.entry(at.walk).or_default();
    told.same(&at.number, &walk.0);
    rows.retain(|(position, ..)| walk.1.is_none_or(|before| *position < before));
    told.same(&at.more, &(rows.len() > at.size));
    rows.truncate(at.size);
    let wanted = rows.iter().map(|(_, other, edge)| ListedEdge {
        user_id: other.to_string(),
        created_at: Some(timestamp::to_proto(edge.created_at)),
        ..ListedEdge::default()
    });
    told.same(&edges.to_vec(), &wanted.collect());
    *walk = (walk.0 + 1, rows.last().map(|(position, ..)| *position));
}

/// A page of two sets, whether there are more, and the start of the next one.
fn set_page(
    state: &State,
    operation: SetOperation,
    (first, second): (Set, Set),
    at: &Place,
    walk: SetWalk,
    told: &Told<'_>,
) -> (Vec<String>, bool, SetWalk) {
    let mut page = Vec::new();
    let mut next = walk;
    let after = Position::new(told.as_of.revision.next(), 0).as_i64();
    if operation == SetOperation::Union && !walk.second {
        let rows = state.list(first.0, first.1);
        let rows: Vec<_> = rows.iter().filter(|row| walk.before.is_none_or(|at| row.0 < at)).collect();
        page.extend(rows.iter().take(at.size).map(|row| row.1.to_string()));
        next.begun = walk.begun.or(Some(after));
        if rows.len() > at.size {
            next.before = Some(rows[at.size - 1].0);
            return (page, true, next);
        }
        (next.second, next.before) = (true, None);
        if first == second {
            return (page, false, next);
        }
    }
    let walks_second = next.second;
    let (walked, other) = if walks_second { (second, first) } else { (first, second) };
    let look = (10 * at.size).clamp(500, 5_000);
    let rows = state.list(walked.0, walked.1);
    let rows: Vec<_> =
        rows.into_iter().filter(|row| next.before.is_none_or(|at| row.0 < at)).take(look).collect();
    let begun = walk.begun.unwrap_or(i64::MAX);
    let met = |id: UserId| {
        let (source, target) = if other.0 == List::Followers { (id, other.1) } else { (other.1, id) };
        let edge = state.edge(Follow, source, target);
        edge.is_some_and(|(edge, changed)| edge.position < begun && changed.as_i64() < begun / 1024)
    };
    let members = operation == SetOperation::Intersection;
    let left = at.size - page.len();
    let found: Vec<_> = rows.iter().filter(|row| met(row.1) == members).collect();
    page.extend(found.iter().take(left).map(|row| row.1.to_string()));
    if found.len() > left {
        next.before = if left == 0 { next.before } else { Some(found[left - 1].0) };
        return (page, true, next);
    }
    next.before = rows.last().map(|row| row.0);
    (page, rows.len() >= look, next)
}

fn judge_suggestions(
    state: &State,
    viewer: UserId,
    limit: usize,
    given: &[wire::Suggestion],
    told: &Told<'_>,
) {
    let mut between: BTreeMap<UserId, Vec<UserId>> = BTreeMap::new();
    for (_, middle, _) in state.list(List::Following, viewer).into_iter().take(SUGGESTING.0) {
        for (_, other, _) in state.list(List::Following, middle).into_iter().take(SUGGESTING.1) {
            between.entry(other).or_default().push(middle);
        }
    }
    let unwanted = |other: UserId| {
        let links = [
            (Follow, viewer, other),
            (FollowRequest, viewer, other),
            (Mute, viewer, other),
            (Block, viewer, other),
            (Block, other, viewer),
        ];
        other == viewer || links.into_iter().any(|(kind, a, b)| state.edge(kind, a, b).is_some())
    };
    between.retain(|other, _| !unwanted(*other));
    let mut wanted: Vec<_> = between.iter().map(|(other, middles)| (*other, middles.len())).collect();
    // Stable: equal ones stay in the order of their ids.
    wanted.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    wanted.truncate(limit);
    let id = |text: &str| UserId::parse(text).expect("an id");
    let counted: Vec<_> = given.iter().map(|s| (id(&s.user_id), s.followed_by_count as usize)).collect();
    told.same(&counted, &wanted);
    for suggestion in given {
        let middles = &between[&id(&suggestion.user_id)];
        told.same(&suggestion.followed_by.len(), &middles.len().min(NAMED));
        let named = suggestion.followed_by.iter().filter(|text| middles.contains(&id(text)));
        told.same(&named.count(), &suggestion.followed_by.len());
    }
}
