//! Bad input of multi-hop reads, and tokens of another read.

use proto::error::Reason;
use proto::query::v1::{SetKind, SetOperation, SuggestAccountsRequest};
use tests::clients::{List, consistent, page};
use tests::refusal::assert_refused;
use tests::truth::wait_caught_up;
use tests::{Endpoints, new_user};

use super::sets::Wanted;
use super::{ids, import, known, mutuals, star};

#[tokio::test]
async fn ids_and_sizes() {
    let mut queries = Endpoints::shared().queries();
    let user = new_user();
    let status = mutuals(&mut queries, "x", 0, "", None).await.expect_err("refused");
    assert_refused(&status, Reason::InvalidUuid, Some("user_id"));
    let status = mutuals(&mut queries, &user, -1, "", None).await.expect_err("refused");
    assert_refused(&status, Reason::NegativePageSize, Some("page_size"));
    let status = known(&mut queries, "", &user, 0, "", None).await.expect_err("refused");
    assert_refused(&status, Reason::FieldRequired, Some("viewer_id"));
    let status = known(&mut queries, &user, "x", 0, "", None).await.expect_err("refused");
    assert_refused(&status, Reason::InvalidUuid, Some("target_id"));
    let set = |user: &str, kind| (user.to_owned(), kind);
    let followers = set(&user, SetKind::Followers);
    for (operation, first, second, reason, field) in [
        (SetOperation::Unspecified, followers.clone(), followers.clone(), Reason::FieldRequired, "operation"),
        (
            SetOperation::Union,
            set("", SetKind::Followers),
            followers.clone(),
            Reason::FieldRequired,
            "first.user_id",
        ),
        (
            SetOperation::Union,
            followers.clone(),
            set("x", SetKind::Following),
            Reason::InvalidUuid,
            "second.user_id",
        ),
        (
            SetOperation::Union,
            followers.clone(),
            set(&user, SetKind::Unspecified),
            Reason::FieldRequired,
            "second.kind",
        ),
    ] {
        let asked = Wanted { operation, first, second };
        let status = asked.page(&mut queries, 0, "", None).await.expect_err("refused");
        assert_refused(&status, reason, Some(field));
    }
}

#[tokio::test]
async fn suggestions_have_limits_and_no_source_of_truth() {
    let mut queries = Endpoints::shared().queries();
    let ask = |viewer_id: &str, limit, consistency| SuggestAccountsRequest {
        viewer_id: viewer_id.to_owned(),
        limit,
        consistency,
        ..Default::default()
    };
    let user = new_user();
    for (request, reason, field) in [
        (ask("x", 0, None), Reason::InvalidUuid, "viewer_id"),
        (ask(&user, -1, None), Reason::NegativePageSize, "limit"),
        (ask(&user, 0, consistent()), Reason::InvalidConsistency, "consistency.fully_consistent"),
    ] {
        let status = queries.suggest_accounts(request).await.expect_err("refused");
        assert_refused(&status, reason, Some(field));
    }
}

#[tokio::test]
async fn a_page_token_belongs_to_its_question() {
    let endpoints = Endpoints::shared();
    let mut queries = endpoints.queries();
    let (user, other) = (new_user(), new_user());
    let friends = ids(3);
    import(&endpoints, &star(&user, &friends, true)).await;
    import(&endpoints, &star(&user, &friends, false)).await;
    wait_caught_up(&endpoints).await;
    let of_mutuals = mutuals(&mut queries, &user, 1, "", None).await.expect("a page").next_page_token;
    let of_known = known(&mut queries, &user, &user, 1, "", None).await.expect("a page").next_page_token;
    let of_list = page(&mut queries, List::Following, &user, 1, "", None).await.expect("a page").next;
    let sets = |operation, first: &str, second: &str| Wanted {
        operation,
        first: (first.to_owned(), SetKind::Followers),
        second: (second.to_owned(), SetKind::Following),
    };
    let union = sets(SetOperation::Union, &user, &other);
    let of_union = union.page(&mut queries, 1, "", None).await.expect("a page").next_page_token;
    assert!([&of_mutuals, &of_known, &of_list, &of_union].iter().all(|token| !token.is_empty()));

    assert!(mutuals(&mut queries, &user, 2, &of_mutuals, None).await.is_ok(), "the size may change");
    assert!(union.page(&mut queries, 2, &of_union, None).await.is_ok());
    for token in [&of_known, &of_list, &of_union, "x"] {
        let status = mutuals(&mut queries, &user, 1, token, None).await.expect_err("refused");
        assert_refused(&status, Reason::InvalidPageToken, Some("page_token"));
    }
    let status = mutuals(&mut queries, &other, 1, &of_mutuals, None).await.expect_err("refused");
    assert_refused(&status, Reason::InvalidPageToken, Some("page_token"));
    let status = known(&mut queries, &user, &other, 1, &of_known, None).await.expect_err("refused");
    assert_refused(&status, Reason::InvalidPageToken, Some("page_token"));
    let status = page(&mut queries, List::Following, &user, 1, &of_mutuals, None).await.expect_err("refused");
    assert_refused(&status, Reason::InvalidPageToken, Some("page_token"));
    for asked in [
        sets(SetOperation::Difference, &user, &other),
        sets(SetOperation::Union, &other, &user),
        sets(SetOperation::Union, &user, &user),
    ] {
        let status = asked.page(&mut queries, 1, &of_union, None).await.expect_err("refused");
        assert_refused(&status, Reason::InvalidPageToken, Some("page_token"));
    }
}
