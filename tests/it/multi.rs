//! Multi-hop reads, from both stores, compared with sets that the test computes.

mod explained;
mod input;
mod sets;
mod suggestions;

use std::collections::{BTreeMap, BTreeSet};

use proto::command::v1::{ImportEdge, ImportEdgesRequest};
use proto::query::v1::{
    Consistency, ListFollowersYouKnowRequest, ListFollowersYouKnowResponse, ListMutualsRequest,
    ListMutualsResponse, ListedEdge, Source,
};
use tests::clients::{List, consistent, walk};
use tests::importing;
use tests::truth::wait_caught_up;
use tests::{Endpoints, Queries, new_user, until};
use tonic::Status;

/// The store that must answer a walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Store {
    Neo4j,
    Postgres,
}

impl Store {
    const BOTH: [Self; 2] = [Self::Neo4j, Self::Postgres];

    fn consistency(self) -> Option<Consistency> {
        match self {
            Self::Neo4j => None,
            Self::Postgres => consistent(),
        }
    }

    /// True if this store answered. On a busy machine the read model may take too long for a page, and then the other
    /// store answers; the answer must be right in both cases.
    fn is(self, source: Source) -> bool {
        match self {
            Self::Neo4j => source == Source::Neo4j,
            Self::Postgres => source == Source::Postgres,
        }
    }
}

async fn mutuals(
    queries: &mut Queries,
    user: &str,
    page_size: i32,
    page_token: &str,
    consistency: Option<Consistency>,
) -> Result<ListMutualsResponse, Status> {
    let request = ListMutualsRequest {
        user_id: user.into(),
        page_size,
        page_token: page_token.into(),
        consistency,
        ..Default::default()
    };
    queries.list_mutuals(request).await.map(tonic::Response::into_inner)
}

async fn known(
    queries: &mut Queries,
    viewer: &str,
    target: &str,
    page_size: i32,
    page_token: &str,
    consistency: Option<Consistency>,
) -> Result<ListFollowersYouKnowResponse, Status> {
    let request = ListFollowersYouKnowRequest {
        viewer_id: viewer.into(),
        target_id: target.into(),
        page_size,
        page_token: page_token.into(),
        consistency,
        ..Default::default()
    };
    queries.list_followers_you_know(request).await.map(tonic::Response::into_inner)
}

/// All pages; each is at most as long as requested, and none is older than the previous one.
async fn all_mutuals(queries: &mut Queries, user: &str, page_size: i32, store: Store) -> Vec<ListedEdge> {
    let (mut edges, mut token, mut as_of) = (Vec::new(), String::new(), String::new());
    loop {
        let page = mutuals(queries, user, page_size, &token, store.consistency()).await.expect("a page");
        assert!(page.edges.len() <= usize::try_from(page_size).expect("a size"));
        assert!(page.as_of >= as_of, "a walk never goes back");
        as_of = page.as_of;
        edges.extend(page.edges);
        token = page.next_page_token;
        if token.is_empty() {
            return edges;
        }
    }
}

fn users(edges: &[ListedEdge]) -> Vec<String> {
    edges.iter().map(|edge| edge.user_id.clone()).collect()
}

fn ids(number: usize) -> Vec<String> {
    (0..number).map(|_| new_user()).collect()
}

/// Follows of one account, or follows of it.
fn star(user: &str, others: &[String], outgoing: bool) -> Vec<(String, String)> {
    let edge = |other: &String| {
        if outgoing { (user.to_owned(), other.clone()) } else { (other.clone(), user.to_owned()) }
    };
    others.iter().map(edge).collect()
}

async fn import(endpoints: &Endpoints, edges: &[(String, String)]) {
    importing::all(&mut endpoints.commands(), edges, 1_000).await;
}

#[tokio::test]
async fn friends_are_listed_in_the_order_of_the_follows() {
    let endpoints = Endpoints::shared();
    let mut queries = endpoints.queries();
    let user = new_user();
    let others = ids(2_400);
    let back: Vec<String> = others.iter().step_by(3).cloned().collect();
    // The follow-backs were created in another order, and some come from other accounts.
    let reversed: Vec<String> = back.iter().rev().cloned().chain(ids(300)).collect();
    import(&endpoints, &star(&user, &others, true)).await;
    import(&endpoints, &star(&user, &reversed, false)).await;
    wait_caught_up(&endpoints).await;
    let in_order = walk(&mut queries, List::Following, &user, 1_000, consistent()).await.expect("a walk");
    let friends: BTreeSet<&String> = back.iter().collect();
    let wanted: Vec<String> = in_order.into_iter().filter(|other| friends.contains(other)).collect();
    assert_eq!(wanted.len(), 800);
    for store in Store::BOTH {
        for page_size in [1_000, 97, 40] {
            let edges = all_mutuals(&mut queries, &user, page_size, store).await;
            assert_eq!(users(&edges), wanted, "{store:?}, pages of {page_size}");
            assert!(edges.iter().all(|edge| edge.created_at.is_some() && edge.expires_at.is_none()));
        }
    }
}

#[tokio::test]
async fn a_page_looks_through_a_bounded_number_of_follows() {
    let endpoints = Endpoints::shared();
    let mut queries = endpoints.queries();
    let user = new_user();
    let friend = new_user();
    // The only friend is the oldest of many follows.
    import(&endpoints, &[(user.clone(), friend.clone()), (friend.clone(), user.clone())]).await;
    import(&endpoints, &star(&user, &ids(1_200), true)).await;
    wait_caught_up(&endpoints).await;
    for store in Store::BOTH {
        let first = mutuals(&mut queries, &user, 10, "", store.consistency()).await.expect("a page");
        assert_eq!(first.edges, [], "{store:?}: it is not among the first 500");
        assert_ne!(first.next_page_token, "", "{store:?}: there is more");
        let edges = all_mutuals(&mut queries, &user, 10, store).await;
        assert_eq!(users(&edges), *std::slice::from_ref(&friend), "{store:?}");
    }
}

#[tokio::test]
async fn known_followers_have_a_total_and_dates() {
    let endpoints = Endpoints::shared();
    let mut queries = endpoints.queries();
    let (viewer, target) = (new_user(), new_user());
    let followed = ids(2_000);
    let shared: Vec<String> = followed.iter().skip(7).step_by(4).cloned().collect();
    import(&endpoints, &star(&viewer, &followed, true)).await;
    let strangers = ids(250);
    let fans: Vec<String> = strangers.iter().chain(&shared).cloned().collect();
    import(&endpoints, &star(&target, &fans, false)).await;
    wait_caught_up(&endpoints).await;
    let in_order = walk(&mut queries, List::Following, &viewer, 1_000, consistent()).await.expect("a walk");
    let set: BTreeSet<&String> = shared.iter().collect();
    let wanted: Vec<String> = in_order.into_iter().filter(|other| set.contains(other)).collect();
    let mut dates = BTreeMap::new();
    let mut token = String::new();
    loop {
        let page = tests::clients::page(&mut queries, List::Followers, &target, 1_000, &token, consistent())
            .await
            .expect("a page");
        dates.extend(page.edges.into_iter().map(|edge| (edge.user_id, edge.created_at)));
        token = page.next;
        if token.is_empty() {
            break;
        }
    }
    for store in Store::BOTH {
        // Each page costs a tenth of the fallback budget.
        for page_size in [1_000, 131] {
            let (mut found, mut token) = (Vec::new(), String::new());
            loop {
                let page = known(&mut queries, &viewer, &target, page_size, &token, store.consistency())
                    .await
                    .expect("a page");
                assert_eq!(page.total, wanted.len() as u64, "{store:?}");
                found.extend(page.edges);
                token = page.next_page_token;
                if token.is_empty() {
                    break;
                }
            }
            assert_eq!(users(&found), wanted, "{store:?}, pages of {page_size}");
            for edge in &found {
                assert_eq!(dates.get(&edge.user_id), Some(&edge.created_at), "{store:?}");
            }
        }
    }
}

/// I13: both stores return the imported date.
#[tokio::test]
async fn a_follow_from_the_last_millisecond_before_1970_keeps_its_date() {
    let endpoints = Endpoints::shared();
    let mut queries = endpoints.queries();
    let (viewer, fan, target) = (new_user(), new_user(), new_user());
    import(&endpoints, &[(viewer.clone(), fan.clone())]).await;
    let date = Some(proto::timestamp::millis_to_proto(-1));
    let edge = ImportEdge {
        source_id: fan.clone(),
        target_id: target.clone(),
        created_at: date,
        ..ImportEdge::default()
    };
    let request = ImportEdgesRequest { edges: vec![edge], ..ImportEdgesRequest::default() };
    let imported = importing::chunk(&mut endpoints.commands(), request).await.expect("an import");
    assert_eq!(imported.accepted, 1);
    wait_caught_up(&endpoints).await;
    for store in Store::BOTH {
        let page = known(&mut queries, &viewer, &target, 10, "", store.consistency()).await.expect("a page");
        let dates: Vec<_> = page.edges.iter().map(|edge| edge.created_at).collect();
        assert_eq!(dates, [date], "{store:?}");
    }
}

#[tokio::test]
async fn known_followers_are_among_the_newest_follows() {
    let endpoints = Endpoints::shared();
    let mut queries = endpoints.queries();
    let (viewer, target) = (new_user(), new_user());
    let (oldest, newest) = (new_user(), new_user());
    import(&endpoints, &star(&target, &[oldest.clone(), newest.clone()], false)).await;
    import(&endpoints, &[(viewer.clone(), oldest.clone())]).await;
    import(&endpoints, &star(&viewer, &ids(9_999), true)).await;
    let mut assert_known = async |wanted: &String| {
        wait_caught_up(&endpoints).await;
        for store in Store::BOTH {
            let page = known(&mut queries, &viewer, &target, 10, "", store.consistency()).await;
            let page = page.expect("a page");
            assert_eq!(users(&page.edges), *std::slice::from_ref(wanted), "{store:?}");
            assert_eq!(page.total, 1, "{store:?}");
        }
    };
    assert_known(&oldest).await;
    // One more, and the oldest is beyond the bound.
    import(&endpoints, &[(viewer.clone(), newest.clone())]).await;
    assert_known(&newest).await;
}

#[tokio::test]
async fn the_read_model_answers_and_names_its_revision() {
    let endpoints = Endpoints::shared();
    let (user, other) = (new_user(), new_user());
    import(&endpoints, &[(user.clone(), other.clone()), (other.clone(), user.clone())]).await;
    wait_caught_up(&endpoints).await;
    for store in Store::BOTH {
        let queries = endpoints.queries();
        until("an answer of the store", || {
            let (mut queries, user, other) = (queries.clone(), user.clone(), other.clone());
            async move {
                let page = mutuals(&mut queries, &user, 0, "", store.consistency()).await.expect("a page");
                assert_eq!(users(&page.edges), *std::slice::from_ref(&other));
                let token = Some(page.as_of.clone()).filter(|token| !token.is_empty()).expect("a token");
                let again = mutuals(&mut queries, &user, 0, "", tests::clients::fresh(&token))
                    .await
                    .expect("the same, at least as fresh");
                assert!(again.as_of >= token);
                if store.is(page.source()) { Ok(()) } else { Err(format!("{:?}", page.source())) }
            }
        })
        .await;
    }
}

#[tokio::test]
async fn unknown_accounts_have_no_friends() {
    let mut queries = Endpoints::shared().queries();
    for store in Store::BOTH {
        assert_eq!(all_mutuals(&mut queries, &new_user(), 10, store).await, []);
        let page = known(&mut queries, &new_user(), &new_user(), 10, "", store.consistency()).await;
        let page = page.expect("a page");
        assert_eq!((page.edges.len(), page.total, page.next_page_token.as_str()), (0, 0, ""));
    }
}
