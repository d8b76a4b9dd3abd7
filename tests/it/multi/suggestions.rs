//! Suggestions: friends of friends.

use std::collections::BTreeSet;

use proto::query::v1::{SuggestAccountsRequest, SuggestAccountsResponse};
use tests::asks::{Act, Ask};
use tests::jobs::OnAccount;
use tests::truth::wait_caught_up;
use tests::{Endpoints, Queries, until, users};
use tonic::{Code, Status};

async fn suggest(
    queries: &Queries,
    viewer: proto::UserId,
    limit: i32,
) -> Result<SuggestAccountsResponse, Status> {
    let request = SuggestAccountsRequest { viewer_id: viewer.to_string(), limit, ..Default::default() };
    queries.clone().suggest_accounts(request).await.map(tonic::Response::into_inner)
}

/// Only the read model can answer, and it may be too busy for a moment.
async fn suggested(queries: &Queries, viewer: proto::UserId, limit: i32) -> SuggestAccountsResponse {
    until("suggestions", || async {
        match suggest(queries, viewer, limit).await {
            Err(status) if status.code() == Code::Unavailable => Err(status.to_string()),
            other => Ok(other.expect("suggestions")),
        }
    })
    .await
}

#[tokio::test]
async fn suggestions_are_ranked_and_leave_out_related_accounts() {
    let endpoints = Endpoints::shared();
    let (commands, queries) = (endpoints.commands(), endpoints.queries());
    let [viewer, best, second] = users();
    let [followed, requested, muted, blocked, blocking, archived] = users();
    let middles = users::<4>();
    let act = async |act, actor, other| Ask::new(act, actor, other).done(&commands).await;
    for middle in middles {
        act(Act::Follow, viewer, middle).await;
        act(Act::Follow, middle, viewer).await;
        for somebody in [best, followed, muted, blocked, blocking, archived, requested] {
            act(Act::Follow, middle, somebody).await;
        }
    }
    for middle in &middles[..2] {
        act(Act::Follow, *middle, second).await;
    }
    // One of the follows follows another one, which the viewer follows already.
    act(Act::Follow, middles[0], middles[1]).await;
    act(Act::Follow, viewer, followed).await;
    act(Act::Mute, viewer, muted).await;
    act(Act::Block, viewer, blocked).await;
    act(Act::Block, blocking, viewer).await;
    OnAccount::SetPrivate(true).finish(&commands, requested).await;
    act(Act::Follow, viewer, requested).await;
    OnAccount::Archive.finish(&commands, archived).await;
    wait_caught_up(&endpoints).await;

    let answer = suggested(&queries, viewer, 0).await;
    let found: Vec<_> = answer
        .suggestions
        .iter()
        .map(|suggestion| (suggestion.user_id.clone(), suggestion.followed_by_count))
        .collect();
    assert_eq!(found, [(best.to_string(), 4), (second.to_string(), 2)]);
    for (suggestion, named, between) in
        [(&answer.suggestions[0], 3, &middles[..]), (&answer.suggestions[1], 2, &middles[..2])]
    {
        let between: BTreeSet<_> = between.iter().map(ToString::to_string).collect();
        let told: BTreeSet<_> = suggestion.followed_by.iter().cloned().collect();
        assert_eq!(told.len(), named, "{suggestion:?}");
        assert!(told.is_subset(&between), "{suggestion:?}");
    }
    assert_ne!(answer.as_of, "");
    let first = suggested(&queries, viewer, 1).await.suggestions;
    assert_eq!(first, answer.suggestions[..1]);

    // An account that was unfollowed is suggested again.
    act(Act::Unmute, viewer, muted).await;
    act(Act::Cancel, viewer, requested).await;
    wait_caught_up(&endpoints).await;
    let again = suggested(&queries, viewer, 0).await.suggestions;
    let again: BTreeSet<_> = again.into_iter().map(|suggestion| suggestion.user_id).collect();
    let wanted = [best, second, muted, requested].map(|user| user.to_string());
    assert_eq!(again, BTreeSet::from(wanted));
}

#[tokio::test]
async fn an_account_without_follows_gets_no_suggestions() {
    let queries = Endpoints::shared().queries();
    assert_eq!(suggested(&queries, tests::user(), 5).await.suggestions, []);
}
