//! I8: a walk through all pages misses and repeats no account, regardless of concurrent changes in the list.

use std::collections::BTreeSet;
use std::time::Duration;

use proto::command::v1::BlockRequest;
use proto::error::{Reason, reason_of};
use proto::legacy::v2 as legacy;
use proto::legacy::v2::graph_service_client::GraphServiceClient;
use proto::query::v1::{GetCountsRequest, ListFollowersRequest};
use tests::clients::{List, consistent, fresh, page, walk};
use tests::importing;
use tests::{Endpoints, new_user};

#[tokio::test(flavor = "multi_thread")]
async fn a_walk_through_20_000_followers_while_1_000_others_come_and_go() {
    let endpoints = Endpoints::shared();
    let mut commands = endpoints.commands();
    let star = new_user();
    let fans: Vec<_> = (0..20_000).map(|_| (new_user(), star.clone())).collect();
    assert_eq!(importing::all(&mut commands, &fans, 1_000).await, (20_000, 0));
    tests::truth::wait_caught_up(&endpoints).await;

    let others: Vec<_> = (0..1_000).map(|_| (new_user(), star.clone())).collect();
    let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
    let churn = tokio::spawn({
        let (mut commands, others) = (commands.clone(), others.clone());
        async move {
            let mut rounds = 0;
            while stopped.try_recv().is_err() {
                for (fan, star) in &others {
                    if rounds % 2 == 0 {
                        tests::clients::follow(&mut commands, fan, star).await.expect("a follow");
                    } else {
                        tests::clients::unfollow(&mut commands, fan, star).await.expect("an unfollow");
                    }
                    if stopped.try_recv().is_ok() {
                        return rounds;
                    }
                }
                rounds += 1;
            }
            rounds
        }
    });
    let stayed: BTreeSet<_> = fans.iter().map(|(fan, _)| fan.as_str()).collect();
    for page_size in [1_000, 137] {
        let walked =
            walk(&mut endpoints.queries(), List::Followers, &star, page_size, None).await.expect("a walk");
        let set: BTreeSet<_> = walked.iter().map(String::as_str).collect();
        assert_eq!(set.len(), walked.len(), "no account is repeated");
        let missed = stayed.difference(&set).count();
        assert_eq!(missed, 0, "every account that stayed is listed");
    }
    // The churn ends by itself only if it fails.
    let _ = stop.send(());
    churn.await.expect("the churn succeeds");
}

#[tokio::test]
async fn page_sizes_are_clamped_and_may_change_within_a_walk() {
    let endpoints = Endpoints::shared();
    let (mut commands, mut queries) = (endpoints.commands(), endpoints.queries());
    let star = new_user();
    let fans: Vec<_> = (0..1_200).map(|_| (new_user(), star.clone())).collect();
    importing::all(&mut commands, &fans, 600).await;
    let written =
        tests::clients::follow(&mut commands, &new_user(), &star).await.expect("a follow").written_at;

    let first = page(&mut queries, List::Followers, &star, 0, "", fresh(&written)).await.expect("a page");
    assert_eq!(first.edges.len(), 50, "the default");
    let second =
        page(&mut queries, List::Followers, &star, i32::MAX, &first.next, None).await.expect("a page");
    assert_eq!(second.edges.len(), 1_000, "the most");
    assert!(second.as_of >= first.as_of, "a walk never goes back");
    let third = page(&mut queries, List::Followers, &star, 1_000, &second.next, None).await.expect("a page");
    assert_eq!(third.edges.len(), 151);
    assert_eq!(third.next, "", "the end");
    let all: BTreeSet<_> =
        [&first, &second, &third].iter().flat_map(|page| &page.edges).map(|row| &row.user_id).collect();
    assert_eq!(all.len(), 1_201);
}

#[tokio::test]
async fn a_page_token_belongs_to_its_list() {
    let endpoints = Endpoints::shared();
    let (mut commands, mut queries) = (endpoints.commands(), endpoints.queries());
    let (star, other) = (new_user(), new_user());
    let fans: Vec<_> = (0..3).map(|_| (new_user(), star.clone())).collect();
    importing::all(&mut commands, &fans, 3).await;
    let written = tests::clients::follow(&mut commands, &star, &other).await.expect("a follow").written_at;
    let token =
        page(&mut queries, List::Followers, &star, 1, "", fresh(&written)).await.expect("a page").next;
    assert!(page(&mut queries, List::Followers, &star, 1, &token, None).await.is_ok());

    let mut forged = token.clone().into_bytes();
    let middle = forged.len() / 2;
    forged[middle] = if forged[middle] == b'A' { b'B' } else { b'A' };
    let forged = String::from_utf8(forged).expect("ASCII");
    for (list, user, token) in [
        (List::Following, &star, token.as_str()),
        (List::Followers, &other, &token),
        (List::Followers, &star, &forged),
        (List::Followers, &star, &token[..token.len() - 1]),
        (List::Followers, &star, "x"),
    ] {
        let status = page(&mut queries, list, user, 1, token, None).await.expect_err("refused");
        assert_eq!(reason_of(&status), Some(Reason::InvalidPageToken), "{list:?} {token}");
    }
}

#[tokio::test]
async fn an_unknown_account_has_an_empty_list() {
    let endpoints = Endpoints::shared();
    let limit = tokio::time::timeout(Duration::from_secs(10), async {
        walk(&mut endpoints.queries(), List::Followers, &new_user(), 10, None).await
    });
    assert_eq!(limit.await.expect("in time").expect("a list"), Vec::<String>::new());
}

/// Lists leave out accounts across a block of the viewer, counts and the older API's lists do not.
#[tokio::test]
async fn a_viewer_sees_lists_without_its_blocks_and_counts_with_them() {
    let endpoints = Endpoints::shared();
    let (mut commands, mut queries) = (endpoints.commands(), endpoints.queries());
    let (star, viewer) = (new_user(), new_user());
    let fans: Vec<_> = (0..20).map(|_| new_user()).collect();
    let edges: Vec<_> = fans.iter().map(|fan| (fan.clone(), star.clone())).collect();
    importing::all(&mut commands, &edges, 20).await;
    // The newest row, and the last two of the last page: the list ends before them.
    for (blocker, blocked) in [(&viewer, &fans[19]), (&viewer, &fans[1]), (&fans[0], &viewer)] {
        let request =
            BlockRequest { actor_id: blocker.clone(), target_id: blocked.clone(), ..Default::default() };
        commands.block(request).await.expect("a block");
    }
    let wanted: Vec<_> = fans[2..19].iter().rev().cloned().collect();
    let token = tests::truth::head_token(&endpoints).await.to_string();
    for consistency in [consistent(), fresh(&token)] {
        for page_size in [1, 3, 17, 18, 50] {
            let (mut listed, mut page_token) = (Vec::new(), String::new());
            loop {
                let request = ListFollowersRequest {
                    user_id: star.clone(),
                    viewer_id: viewer.clone(),
                    page_size,
                    page_token,
                    consistency: consistency.clone(),
                    ..Default::default()
                };
                let page = queries.list_followers(request).await.expect("a page").into_inner();
                assert!(!page.edges.is_empty(), "pages of {page_size}: an empty one after {listed:?}");
                listed.extend(page.edges.into_iter().map(|edge| edge.user_id));
                page_token = page.next_page_token;
                if page_token.is_empty() {
                    break;
                }
            }
            assert_eq!(listed, wanted, "pages of {page_size}");
        }
        let request = GetCountsRequest {
            user_ids: vec![star.clone()],
            viewer_id: viewer.clone(),
            consistency: consistency.clone(),
            ..Default::default()
        };
        let counts = queries.get_counts(request).await.expect("counts").into_inner().counts;
        assert_eq!((counts[0].followers, counts[0].blocking), (20, None));
    }
    let mut older = GraphServiceClient::new(tests::clients::channel(&endpoints.query));
    let request =
        legacy::GetFollowersRequest { user_id: star, viewer_id: viewer, limit: 50, ..Default::default() };
    let answer = older.get_followers(request).await.expect("a list").into_inner();
    assert_eq!((answer.total_count, answer.user_ids.len(), answer.users.len()), (20, 20, 20));
}
