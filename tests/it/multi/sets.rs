//! Unions, intersections and differences of two accounts' sets.

use std::collections::BTreeSet;

use proto::query::v1::{
    AccountSet, Consistency, ListSetOperationRequest, ListSetOperationResponse, SetKind, SetOperation,
};
use tests::clients::{List, consistent, follow, unfollow, walk};
use tests::importing::retried;
use tests::jobs::OnAccount;
use tests::truth::wait_caught_up;
use tests::{Endpoints, Queries, new_user};
use tonic::Status;

use super::{Store, ids, import, star};

/// An operation on two sets.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) operation: SetOperation,
    pub(super) first: (String, SetKind),
    pub(super) second: (String, SetKind),
}

impl Wanted {
    pub(super) async fn page(
        &self,
        queries: &mut Queries,
        page_size: i32,
        page_token: &str,
        consistency: Option<Consistency>,
    ) -> Result<ListSetOperationResponse, Status> {
        let set = |(user_id, kind): &(String, SetKind)| {
            Some(AccountSet { user_id: user_id.clone(), kind: (*kind).into() })
        };
        let request = ListSetOperationRequest {
            operation: self.operation.into(),
            first: set(&self.first),
            second: set(&self.second),
            page_size,
            page_token: page_token.into(),
            consistency,
            ..Default::default()
        };
        queries.list_set_operation(request).await.map(tonic::Response::into_inner)
    }

    async fn all(&self, queries: &mut Queries, page_size: i32, store: Store) -> Vec<String> {
        let (mut found, mut token, mut as_of) = (Vec::new(), String::new(), String::new());
        loop {
            // On a fast machine, reads from PostgreSQL exceed its budget.
            let page = retried(|| {
                let (mut queries, token) = (queries.clone(), token.clone());
                async move { self.page(&mut queries, page_size, &token, store.consistency()).await }
            })
            .await;
            assert!(page.user_ids.len() <= usize::try_from(page_size).expect("a size"));
            assert!(page.as_of >= as_of, "a walk never goes back");
            as_of = page.as_of;
            found.extend(page.user_ids);
            token = page.next_page_token;
            if token.is_empty() {
                return found;
            }
        }
    }
}

fn set(list: &[String]) -> BTreeSet<String> {
    list.iter().cloned().collect()
}

#[tokio::test]
async fn every_operation_on_every_pair_of_sets() {
    let endpoints = Endpoints::shared();
    let mut queries = endpoints.queries();
    let (a, b) = (new_user(), new_user());
    // Large: 3,000 followers of a. Small: 400 around b. Some are in several sets.
    let everybody = ids(3_600);
    let fans_of_a = &everybody[..3_000];
    let fans_of_b: Vec<String> = everybody.iter().skip(2_800).step_by(2).cloned().collect();
    let a_follows: Vec<String> = everybody.iter().step_by(9).cloned().collect();
    let b_follows: Vec<String> =
        everybody.iter().skip(5).step_by(18).chain(fans_of_b.iter().take(50)).cloned().collect();
    let b_follows: Vec<String> = set(&b_follows).into_iter().collect();
    import(&endpoints, &star(&a, fans_of_a, false)).await;
    import(&endpoints, &star(&b, &fans_of_b, false)).await;
    import(&endpoints, &star(&a, &a_follows, true)).await;
    import(&endpoints, &star(&b, &b_follows, true)).await;
    wait_caught_up(&endpoints).await;
    let sides = [
        ((a.clone(), SetKind::Followers), List::Followers),
        ((a.clone(), SetKind::Following), List::Following),
        ((b.clone(), SetKind::Followers), List::Followers),
        ((b.clone(), SetKind::Following), List::Following),
    ];
    let mut lists = Vec::new();
    for ((user, _), list) in &sides {
        lists.push(walk(&mut queries, *list, user, 1_000, consistent()).await.expect("a walk"));
    }
    for (first, second) in [(0, 2), (2, 0), (0, 3), (3, 0), (1, 3), (1, 2), (0, 1), (2, 2)] {
        let (x, y) = (&lists[first], &lists[second]);
        let (in_x, in_y) = (set(x), set(y));
        let only_y: Vec<_> = y.iter().filter(|user| !in_x.contains(*user)).cloned().collect();
        let smaller = if y.len() < x.len() { y } else { x };
        for (operation, wanted) in [
            (SetOperation::Union, [x.as_slice(), &only_y].concat()),
            (SetOperation::Difference, x.iter().filter(|user| !in_y.contains(*user)).cloned().collect()),
            (
                SetOperation::Intersection,
                smaller.iter().filter(|user| in_x.contains(*user) && in_y.contains(*user)).cloned().collect(),
            ),
        ] {
            let asked = Wanted { operation, first: sides[first].0.clone(), second: sides[second].0.clone() };
            for store in Store::BOTH {
                let found = asked.all(&mut queries, 499, store).await;
                assert_eq!(set(&found), set(&wanted), "{operation:?} of {first} and {second}, {store:?}");
                assert_eq!(found, wanted, "the order of {operation:?} of {first} and {second}, {store:?}");
            }
        }
    }
    // Small pages too.
    let asked = Wanted {
        operation: SetOperation::Intersection,
        first: sides[0].0.clone(),
        second: sides[2].0.clone(),
    };
    for store in Store::BOTH {
        let found = asked.all(&mut queries, 7, store).await;
        assert_eq!(set(&found), &set(&lists[0]) & &set(&lists[2]), "{store:?}");
        assert_eq!(found.len(), set(&found).len());
    }
}

/// I8, for an operation on two lists.
#[tokio::test]
async fn a_walk_neither_misses_nor_repeats_those_who_stay() {
    let endpoints = Endpoints::shared();
    let (mut commands, mut queries) = (endpoints.commands(), endpoints.queries());
    for store in Store::BOTH {
        let (a, b) = (new_user(), new_user());
        let (of_a, of_b) = (ids(8), ids(8));
        import(&endpoints, &star(&a, &of_a, false)).await;
        import(&endpoints, &star(&b, &of_b, false)).await;
        wait_caught_up(&endpoints).await;
        let asked = Wanted {
            operation: SetOperation::Union,
            first: (a.clone(), SetKind::Followers),
            second: (b.clone(), SetKind::Followers),
        };
        let (mut found, mut token) = (Vec::new(), String::new());
        for number in 0.. {
            let page = asked.page(&mut queries, 3, &token, store.consistency()).await.expect("a page");
            found.extend(page.user_ids);
            token = page.next_page_token;
            if token.is_empty() {
                break;
            }
            // Accounts of the second set enter the first one by one, above all existing ones; other accounts come and
            // go.
            if let Some(fan) = of_b.get(number) {
                follow(&mut commands, fan, &a).await.expect("a follow");
            }
            let stranger = new_user();
            follow(&mut commands, &stranger, &b).await.expect("a follow");
            unfollow(&mut commands, &stranger, &b).await.expect("an unfollow");
            wait_caught_up(&endpoints).await;
        }
        let stayed = &set(&of_a) | &set(&of_b);
        let listed: Vec<_> = found.iter().filter(|user| stayed.contains(*user)).collect();
        assert_eq!(listed.len(), stayed.len(), "{store:?}: no account is missed or repeated: {found:?}");
    }
}

#[tokio::test]
async fn a_member_restored_to_one_set_stays_listed() {
    let endpoints = Endpoints::shared();
    let (commands, mut queries) = (endpoints.commands(), endpoints.queries());
    for store in Store::BOTH {
        let [a, b, fan, other] = tests::users();
        let asked = Wanted {
            operation: SetOperation::Union,
            first: (a.to_string(), SetKind::Followers),
            second: (b.to_string(), SetKind::Followers),
        };
        import(&endpoints, &[a, b].map(|user| (fan.to_string(), user.to_string()))).await;
        follow(&mut commands.clone(), &other.to_string(), &b.to_string()).await.expect("a follow");
        OnAccount::Archive.finish(&commands, a).await;
        wait_caught_up(&endpoints).await;
        let page = asked.page(&mut queries, 1, "", store.consistency()).await.expect("a page");
        assert_eq!(page.user_ids, [other.to_string()], "{store:?}: of the second set: {page:?}");
        assert!(!page.next_page_token.is_empty(), "{store:?}: {page:?}");
        // Its follower is at the old position again, before all that the walk has returned.
        OnAccount::Restore.finish(&commands, a).await;
        wait_caught_up(&endpoints).await;
        let token = page.next_page_token;
        let page = asked.page(&mut queries, 3, &token, store.consistency()).await.expect("a page");
        assert_eq!(page.user_ids, [fan.to_string()], "{store:?}");
    }
}
