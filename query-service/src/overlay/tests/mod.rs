//! Tests of the overlay (I13): no matter which of the changes in progress a read model shows, the answer is the state
//! at the ring's position.

mod history;
mod hops;
mod torn;

use std::sync::LazyLock;

use proptest::prelude::*;
use proto::Position;
use proto::event::{EdgeKey, EdgeKind};
use service_kit::trace::Parent;

use self::history::{History, USERS, counts_at, everybody, list_at, relation_at, token, user};
use self::torn::Torn;
use super::*;
use crate::queries::{ListKind, PublicList};
use crate::recent::Limits;

const WITHIN: Duration = Duration::from_secs(1);
/// Parent span of calls without a trace.
static UNTRACED: LazyLock<Parent> = LazyLock::new(Parent::default);

fn cx() -> Context<'static> {
    Context { within: WITHIN, parent: &UNTRACED }
}

/// A read model whose projector is silent.
fn replica() -> Arc<Replica> {
    Arc::new(Replica::new("projector-0"))
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime").block_on(future)
}

/// Runs a future on a clock that advances only while all tasks wait.
fn paused<T>(future: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_time().start_paused(true).build().expect("a runtime").block_on(future)
}

fn check(viewer: UserId, targets: &[UserId]) -> Check {
    Check { viewer, targets: targets.to_vec() }
}

fn relations(viewer: UserId, targets: &[UserId]) -> Relations {
    Relations { viewer, targets: targets.to_vec() }
}

fn counts(users: &[UserId]) -> CountsOf {
    CountsOf { users: users.to_vec() }
}

fn page(kind: ListKind, user: UserId, before: Option<Position>, limit: usize) -> Page {
    Page { kind, user, before, limit }
}

fn seen_page(
    list: PublicList,
    user: UserId,
    before: Option<Position>,
    limit: usize,
    viewer: UserId,
) -> SeenPage {
    SeenPage { list, user, before, limit, viewer }
}

fn exact<T>(outcome: ReadResult<T>, at: usize) -> T {
    let answer = outcome.expect("an answer");
    assert_eq!((answer.as_of, answer.target), (token(at), token(at)));
    answer.value
}

/// A history, the changes in progress at the read model, and this process's position: from <= to <= position.
fn cases() -> impl Strategy<Value = (History, usize, usize, usize, u64)> {
    let step = prop::collection::vec((0usize..4, 0..USERS, 0..USERS, any::<bool>()), 0..4);
    (prop::collection::vec(step, 1..30), any::<[prop::sample::Index; 3]>(), any::<u64>()).prop_map(
        |(steps, places, dice)| {
            let mut at = places.map(|place| place.index(steps.len() + 1));
            at.sort_unstable();
            (History::of(&steps), at[0], at[1], at[2], dice)
        },
    )
}

proptest! {
    #[test]
    fn every_answer_is_the_state_at_the_position((history, from, to, position, dice) in cases()) {
        let torn = Torn { states: history.states.clone(), from, to, dice };
        let overlaid = Overlaid::new(torn, history.read(from, position), replica(), Duration::ZERO);
        let state = &history.states[position];
        let users = everybody();
        block_on(async {
            let counts = exact(overlaid.read(&self::counts(&users), cx()).await, position);
            prop_assert_eq!(counts, users.iter().map(|user| counts_at(state, *user)).collect::<Vec<_>>());
            for viewer in &users {
                let follows = |target: &UserId| state.contains_key(&EdgeKey { kind: EdgeKind::Follow, source: *viewer, target: *target });
                let checks = exact(overlaid.read(&self::check(*viewer, &users), cx()).await, position);
                prop_assert_eq!(checks, users.iter().map(follows).collect::<Vec<_>>());
                let relations = exact(overlaid.read(&self::relations(*viewer, &users), cx()).await, position);
                let wanted: Vec<_> = users.iter().map(|other| relation_at(state, *viewer, *other)).collect();
                prop_assert_eq!(relations, wanted);
            }
            Ok(())
        })?;
    }

    #[test]
    fn every_page_is_a_page_of_the_list_at_the_position(
        (history, from, to, position, dice) in cases(),
        limit in 1usize..5,
    ) {
        let torn = Torn { states: history.states.clone(), from, to, dice };
        let overlaid = Overlaid::new(torn, history.read(from, position), replica(), Duration::ZERO);
        let state = &history.states[position];
        block_on(async {
            for user in everybody() {
                for kind in ListKind::ALL {
                    let wanted = list_at(state, user, kind.side());
                    for before in std::iter::once(None).chain(wanted.iter().map(|row| Some(row.position))) {
                        let page: Vec<_> = wanted.iter().filter(|row| before.is_none_or(|b| row.position < b)).take(limit).copied().collect();
                        let given = exact(overlaid.read(&self::page(kind, user, before, limit), cx()).await, position);
                        prop_assert_eq!(&given, &page, "{:?} of {} before {:?}", kind, user, before);
                        for (list, viewer) in [(PublicList::Followers, self::user(0)), (PublicList::Following, self::user(1))] {
                            if list.kind() != kind {
                                continue;
                            }
                            let seen = exact(overlaid.read(&seen_page(list, user, before, limit, viewer), cx()).await, position);
                            let relation = |row: &ListRow| relation_at(state, viewer, row.user);
                            let page: Vec<_> = page.iter().map(|row| SeenRow { row: *row, relation: relation(row) }).collect();
                            prop_assert_eq!(seen, page, "{:?} of {} before {:?}", kind, user, before);
                        }
                    }
                }
            }
            Ok(())
        })?;
    }
}

/// User 0 follows 1 to 5, one after the other, then unfollows 3.
fn follows_then_one_less() -> History {
    let follow = |target| vec![(0, 0, target, false)];
    History::of(&[follow(1), follow(2), follow(3), follow(4), follow(5), follow(3)])
}

fn overlaid(from: usize, to: usize, recent: Arc<Recent>, wait: Duration) -> Overlaid<Torn> {
    Overlaid::new(Torn { states: follows_then_one_less().states, from, to, dice: 0 }, recent, replica(), wait)
}

#[tokio::test(start_paused = true)]
async fn an_answer_of_one_revision_stands_for_itself_without_recent_events() {
    let nothing = || Arc::new(Recent::without_hot_set(Limits { events: 1, bytes: 1 }));
    let of_one = overlaid(5, 5, nothing(), WITHIN)
        .read(&self::check(user(0), &[user(3)]), cx())
        .await
        .expect("an answer");
    assert_eq!((of_one.value, of_one.as_of, of_one.origin.store_as_of), (vec![true], token(5), None));
    let torn = overlaid(5, 6, nothing(), WITHIN);
    assert!(matches!(torn.read(&self::check(user(0), &[user(3)]), cx()).await, Err(Error::NotExact)));
    assert!(matches!(
        torn.read(&self::page(ListKind::Following, user(0), None, 9), cx()).await,
        Err(Error::NotExact)
    ));
    assert!(matches!(torn.read(&self::counts(&[user(0)]), cx()).await, Err(Error::NotExact)));
}

#[tokio::test(start_paused = true)]
async fn an_answer_older_than_the_recent_events_is_not_exact() {
    let history = follows_then_one_less();
    let old = overlaid(2, 4, history.read(3, 6), WITHIN);
    assert!(matches!(old.read(&self::check(user(0), &[user(3)]), cx()).await, Err(Error::NotExact)));
    let young =
        overlaid(3, 4, history.read(3, 6), WITHIN).read(&self::check(user(0), &[user(3)]), cx()).await;
    assert_eq!(exact(young, 6), [false]);
}

#[tokio::test(start_paused = true)]
async fn it_waits_for_what_may_be_in_the_answer_but_not_for_long() {
    let history = follows_then_one_less();
    let recent = history.read(0, 4);
    let began = Instant::now();
    let wait = Duration::from_millis(200);
    let late = overlaid(4, 6, Arc::clone(&recent), wait);
    assert!(matches!(late.read(&self::check(user(0), &[user(3)]), cx()).await, Err(Error::NotExact)));
    assert_eq!(began.elapsed(), wait);
    let waiting = tokio::spawn(async move { late.read(&self::check(user(0), &[user(3)]), cx()).await });
    tokio::task::yield_now().await;
    assert!(recent.push(&history.events[4]) && recent.push(&history.events[5]));
    assert_eq!(exact(waiting.await.expect("no panic"), 6), [false]);
    assert_eq!(began.elapsed(), wait);
}

#[tokio::test(start_paused = true)]
async fn what_was_changed_is_told_to_those_who_ask() {
    let history = follows_then_one_less();
    let answer =
        overlaid(5, 5, history.read(0, 6), WITHIN).read(&self::check(user(0), &[user(3)]), cx()).await;
    let origin = answer.expect("an answer").origin;
    assert_eq!((origin.store_as_of, origin.overlaid_events), (Some(token(5)), 1));
}

/// User 1 follows and unfollows user 0 repeatedly.
fn restless(changes: usize) -> History {
    let change = |source: u128| vec![(0, source, 0, false)];
    History::of(&(0..changes).map(|_| change(1)).collect::<Vec<_>>())
}

#[tokio::test(start_paused = true)]
async fn an_account_that_changed_too_often_is_told_as_the_store_has_it_or_not_at_all() {
    let history = restless(apply::MOST_CHANGES + 1);
    let end = history.events.len();
    let over = |from, to| {
        let torn = Torn { states: history.states.clone(), from, to, dice: 0 };
        Overlaid::new(torn, history.read(0, end), replica(), Duration::ZERO)
    };
    // As many changes as are read.
    let many = over(1, 1);
    assert_eq!(exact(many.read(&self::check(user(1), &[user(0)]), cx()).await, end), [true]);
    // One more change.
    let too_many = over(0, 0);
    let check = too_many.read(&self::check(user(1), &[user(0)]), cx()).await.expect("an answer");
    assert_eq!((check.value, check.as_of, check.origin.store_as_of), (vec![false], token(0), None));
    let relations = too_many.read(&self::relations(user(0), &[user(1)]), cx()).await.expect("an answer");
    assert_eq!(relations.as_of, token(0));
    let page = too_many.read(&self::page(ListKind::Followers, user(0), None, 9), cx()).await.expect("a page");
    assert_eq!((page.value, page.as_of), (vec![], token(0)));
    let page = too_many.read(&seen_page(PublicList::Followers, user(0), None, 9, user(2)), cx()).await;
    assert_eq!(page.expect("a page").as_of, token(0), "the list has changed");
    let page = too_many.read(&seen_page(PublicList::Followers, user(2), None, 9, user(1)), cx()).await;
    assert_eq!(page.expect("a page").as_of, token(0), "what links the viewer with others has");
    // An answer between two revisions cannot be given at all.
    let torn = over(0, 1);
    assert!(matches!(torn.read(&self::check(user(1), &[user(0)]), cx()).await, Err(Error::NotExact)));
    assert!(matches!(
        torn.read(&self::page(ListKind::Followers, user(0), None, 9), cx()).await,
        Err(Error::NotExact)
    ));
    // Unchanged accounts are exact, and so are counts.
    assert_eq!(exact(too_many.read(&self::check(user(2), &[user(0)]), cx()).await, end), [false]);
    assert_eq!(exact(too_many.read(&self::counts(&[user(0)]), cx()).await, end)[0].followers, 1);
}
