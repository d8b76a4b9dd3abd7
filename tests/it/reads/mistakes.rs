//! Bad input of the reads that `bad_input` does not cover.

use proto::error::Reason;
use proto::query::v1::{
    GetCountsRequest, GetRelationshipsRequest, ListBlocksRequest, ListFollowRequestsRequest,
    ListFollowersRequest, ListFollowingRequest, ListMutesRequest,
};
use tests::refusal::assert_refused;
use tests::{Endpoints, new_user};

const NIL: &str = "00000000-0000-0000-0000-000000000000";

#[tokio::test]
async fn invalid_pairs_are_refused() {
    let mut queries = Endpoints::shared().queries();
    let user = new_user();
    let request = |viewer: &str, targets: Vec<String>| GetRelationshipsRequest {
        viewer_id: viewer.to_owned(),
        target_ids: targets,
        ..GetRelationshipsRequest::default()
    };
    for (viewer, targets, reason, field) in [
        ("x", vec![user.clone()], Reason::InvalidUuid, "viewer_id"),
        ("", vec![], Reason::FieldRequired, "viewer_id"),
        (user.as_str(), vec![user.clone(), NIL.to_owned()], Reason::NilUuid, "target_ids[1]"),
        (user.as_str(), vec![user.clone(); 1_001], Reason::TooManyItems, "target_ids"),
    ] {
        let refused = queries.get_relationships(request(viewer, targets)).await.expect_err("refused");
        assert_refused(&refused, reason, Some(field));
    }
    let empty = queries.get_relationships(request(&user, vec![])).await.expect("no pair").into_inner();
    assert!(empty.relationships.is_empty() && !empty.as_of.is_empty());
}

#[tokio::test]
async fn invalid_requests_for_own_lists_are_refused() {
    let mut queries = Endpoints::shared().queries();
    let user = new_user();
    macro_rules! refused {
        ($method:ident, $request:ident) => {{
            for (user_id, page_size, page_token, reason, field) in [
                ("x", 1, "", Reason::InvalidUuid, "user_id"),
                (user.as_str(), -1, "", Reason::NegativePageSize, "page_size"),
                (user.as_str(), 1, "made-up", Reason::InvalidPageToken, "page_token"),
            ] {
                let request = $request {
                    user_id: user_id.to_owned(),
                    page_size,
                    page_token: page_token.to_owned(),
                    ..$request::default()
                };
                let refused = queries.$method(request).await.expect_err("refused");
                assert_refused(&refused, reason, Some(field));
            }
            let request = $request { user_id: user.clone(), ..$request::default() };
            let empty = queries.$method(request).await.expect("an empty list").into_inner();
            assert!(empty.edges.is_empty() && empty.next_page_token.is_empty());
        }};
    }
    refused!(list_mutes, ListMutesRequest);
    refused!(list_blocks, ListBlocksRequest);
    refused!(list_follow_requests, ListFollowRequestsRequest);
    let request = ListFollowRequestsRequest {
        user_id: user.clone(),
        direction: 9,
        ..ListFollowRequestsRequest::default()
    };
    let refused = queries.list_follow_requests(request).await.expect_err("refused");
    assert_refused(&refused, Reason::UnknownEnumValue, Some("direction"));
}

#[tokio::test]
async fn invalid_viewers_are_refused() {
    let mut queries = Endpoints::shared().queries();
    let user = new_user();
    for (viewer, relationships, reason) in
        [("x", false, Reason::InvalidUuid), (NIL, true, Reason::NilUuid), ("", true, Reason::FieldRequired)]
    {
        let request = ListFollowersRequest {
            user_id: user.clone(),
            viewer_id: viewer.to_owned(),
            with_relationships: relationships,
            ..ListFollowersRequest::default()
        };
        let refused = queries.list_followers(request).await.expect_err("refused");
        assert_refused(&refused, reason, Some("viewer_id"));
        let request = ListFollowingRequest {
            user_id: user.clone(),
            viewer_id: viewer.to_owned(),
            with_relationships: relationships,
            ..ListFollowingRequest::default()
        };
        let refused = queries.list_following(request).await.expect_err("refused");
        assert_refused(&refused, reason, Some("viewer_id"));
    }
    let request =
        GetCountsRequest { user_ids: vec![user], viewer_id: "x".to_owned(), ..GetCountsRequest::default() };
    let refused = queries.get_counts(request).await.expect_err("refused");
    assert_refused(&refused, Reason::InvalidUuid, Some("viewer_id"));
}
