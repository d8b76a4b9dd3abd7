//! Single-hop reads, example by example.

use std::collections::BTreeSet;

use proto::error::Reason;
use proto::query::v1::{CheckRequest, GetRelationshipsRequest, ListFollowersRequest, Source};
use proto::{Etag, Token, UserId};
use tests::clients::{consistent, fresh};
use tests::jobs::OnAccount;
use tests::refusal::assert_refused;
use tests::{Act, Ask, Endpoints, asks, importing, truth, until, user};

use super::compare::{Kind, PageAsk, page};

/// Followers of a new account, newest first, and the token after them.
async fn star_with(fans: usize) -> (UserId, Vec<UserId>, String) {
    let endpoints = Endpoints::shared();
    let star = user();
    let mut fans: Vec<UserId> = (0..fans).map(|_| user()).collect();
    let edges: Vec<_> = fans.iter().map(|fan| (fan.to_string(), star.to_string())).collect();
    importing::all(&mut endpoints.commands(), &edges, 1_000).await;
    fans.reverse();
    let token = tests::truth::head_token(&endpoints).await.to_string();
    (star, fans, token)
}

/// Makes the viewer block these accounts; returns the token.
async fn block_all(viewer: UserId, others: &[UserId]) -> String {
    let commands = Endpoints::shared().commands();
    let blocks: Vec<_> = others.iter().map(|other| Ask::new(Act::Block, viewer, *other)).collect();
    let mut token = String::new();
    for part in blocks.chunks(100) {
        token = asks::batch(&commands, part, true, None).await.expect("blocked").written_at;
    }
    token
}

#[tokio::test(flavor = "multi_thread")]
async fn blocked_accounts_neither_shorten_nor_end_a_list() {
    let queries = Endpoints::shared().queries();
    let (star, fans, _) = star_with(600).await;
    let viewer = user();
    // A third of the newest 60, and an account that has blocked the viewer.
    let few: Vec<_> = fans[..60].iter().step_by(3).copied().collect();
    block_all(viewer, &few).await;
    let hostile = fans[1];
    let blocked = Ask::new(Act::Block, hostile, viewer).done(&Endpoints::shared().commands()).await;
    let shown = |but: &[UserId]| -> Vec<String> {
        let visible = fans.iter().filter(|fan| !but.contains(fan) && **fan != hostile);
        visible.map(UserId::to_string).collect()
    };
    for consistency in [consistent(), fresh(&blocked.written_at)] {
        let ask = PageAsk { size: 40, consistency, viewer: Some(viewer), ..PageAsk::default() };
        let first = page(&queries, Kind::Followers, star, ask.clone()).await.expect("a page");
        let ids = |edges: &[proto::query::v1::ListedEdge]| -> Vec<String> {
            edges.iter().map(|edge| edge.user_id.clone()).collect()
        };
        assert_eq!(ids(&first.edges), shown(&few)[..40], "the page is full");
        assert!(first.edges.iter().all(|edge| edge.relationship.is_none()), "the request does not want them");
        let ask = PageAsk { token: first.next, ..ask };
        let second = page(&queries, Kind::Followers, star, ask).await.expect("a page");
        assert_eq!(ids(&second.edges), shown(&few)[40..80]);
    }

    // All of the newest 500: a page reads at most that many rows, so it is empty, and has a next page.
    let token = block_all(viewer, &fans[..500]).await;
    for consistency in [consistent(), fresh(&token)] {
        let mut ask = PageAsk { size: 40, consistency, viewer: Some(viewer), ..PageAsk::default() };
        let (mut walked, mut short) = (Vec::new(), 0);
        loop {
            let found = page(&queries, Kind::Followers, star, ask.clone()).await.expect("a page");
            short += usize::from(found.edges.len() < 40 && !found.next.is_empty());
            walked.extend(found.edges.into_iter().map(|edge| edge.user_id));
            ask.token = found.next;
            if ask.token.is_empty() {
                break;
            }
        }
        assert_eq!(walked, shown(&fans[..500]));
        assert!(short >= 1, "no page was short");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_token_is_of_its_viewer() {
    let queries = Endpoints::shared().queries();
    let (star, _, token) = star_with(10).await;
    let (viewer, other) = (user(), user());
    let ask =
        |viewer, token: &str| PageAsk { size: 3, token: token.to_owned(), viewer, ..PageAsk::default() };
    let first = PageAsk { consistency: fresh(&token), ..ask(Some(viewer), "") };
    let next = page(&queries, Kind::Followers, star, first).await.expect("a page").next;
    assert!(page(&queries, Kind::Followers, star, ask(Some(viewer), &next)).await.is_ok());
    for (viewer, kind) in [
        (Some(other), Kind::Followers),
        (None, Kind::Followers),
        (Some(viewer), Kind::Following),
        (None, Kind::Mutes),
    ] {
        let refused = page(&queries, kind, star, ask(viewer, &next)).await.expect_err("another list");
        assert_refused(&refused, Reason::InvalidPageToken, Some("page_token"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_pairs_at_once_in_the_order_of_the_request() {
    let mut queries = Endpoints::shared().queries();
    let (star, fans, token) = star_with(500).await;
    // Fans, unrelated accounts, the viewer itself, and some of them twice.
    let mut targets = Vec::new();
    for fan in &fans[..333] {
        targets.extend([*fan, user(), *fan]);
    }
    targets.push(star);
    assert_eq!(targets.len(), 1_000);
    let mut sources = BTreeSet::new();
    for consistency in [consistent(), fresh(&token), fresh(&token), fresh(&token)] {
        let request = GetRelationshipsRequest {
            viewer_id: star.to_string(),
            target_ids: targets.iter().map(UserId::to_string).collect(),
            consistency,
            explain: false,
        };
        let answer = queries.get_relationships(request).await.expect("pairs").into_inner();
        // On a busy machine the read model may be too slow for this many, and PostgreSQL answers.
        sources.insert(answer.source);
        assert_eq!(answer.relationships.len(), 1_000);
        for (i, (target, pair)) in targets.iter().zip(&answer.relationships).enumerate() {
            assert_eq!(pair.user_id, target.to_string());
            assert_eq!(pair.followed_by, i < 999 && i % 3 != 1, "place {i}");
            let unlinked = Etag::of(star, *target, []);
            assert_eq!(asks::etag(pair) != unlinked, pair.followed_by);
            assert!(!pair.following && !pair.blocking && !pair.muting);
        }
    }
    assert!(sources.contains(&Source::Postgres.into()), "fully consistent");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_store_gives_a_pair_the_etag_of_the_command() {
    let endpoints = Endpoints::shared();
    let (commands, queries) = (endpoints.commands(), endpoints.queries());
    let pool = endpoints.postgres().await;
    let (a, b) = (user(), user());
    let pair = async |viewer: UserId, target: UserId, consistency| {
        let request = GetRelationshipsRequest {
            viewer_id: viewer.to_string(),
            target_ids: vec![target.to_string()],
            consistency,
            explain: false,
        };
        let answer = queries.clone().get_relationships(request).await.expect("a pair").into_inner();
        (asks::etag(&answer.relationships[0]), answer.source())
    };
    // From PostgreSQL, from the read model once it has applied everything, and with recent events before that.
    let check = async |token: &str, of: (UserId, UserId), wanted: Etag| {
        let etags = truth::etags(&pool, &[a, b]).await;
        assert_eq!(etags[&of], wanted);
        for (viewer, other) in [(a, b), (b, a)] {
            let wanted = etags[&(viewer, other)];
            assert_eq!(pair(viewer, other, consistent()).await, (wanted, Source::Postgres));
            until("the read model to answer", || async {
                let (etag, source) = pair(viewer, other, fresh(token)).await;
                assert_eq!(etag, wanted);
                if source == Source::Neo4j { Ok(()) } else { Err(format!("{source:?}")) }
            })
            .await;
        }
    };
    let mute = Ask::new(Act::Mute, a, b);
    // Another expiry keeps the edge's position, but is a change.
    for (ask, of) in [
        (Ask::new(Act::Follow, b, a), (b, a)),
        (mute, (a, b)),
        (mute.until(asks::in_hours(30)), (a, b)),
        (Ask::new(Act::Follow, a, b), (a, b)),
        (Ask::new(Act::Unfollow, b, a), (b, a)),
    ] {
        let answer = ask.done(&commands).await;
        check(&answer.written_at, of, asks::etag(&answer.relationship)).await;
    }
    // Restored edges keep their positions and dates.
    OnAccount::Archive.finish(&commands, b).await;
    OnAccount::Restore.finish(&commands, b).await;
    let etag = truth::etags(&pool, &[a, b]).await[&(a, b)];
    let head = truth::head_token(&endpoints).await.to_string();
    check(&head, (a, b), etag).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_explained_where_it_was_asked_for() {
    let mut queries = Endpoints::shared().queries();
    let (star, fans, token) = star_with(3).await;
    let check = |consistency, explain| CheckRequest {
        viewer_id: fans[0].to_string(),
        target_id: star.to_string(),
        consistency,
        explain,
    };
    let answer = queries.check(check(fresh(&token), false)).await.expect("a check").into_inner();
    assert_eq!(answer.explanation, None);

    // A cold read model is too slow, and the read falls back to PostgreSQL: the explanation contains that as well.
    let answer = until("the read model to answer", || {
        let (mut queries, request) = (queries.clone(), check(fresh(&token), true));
        async move {
            let answer = queries.check(request).await.map_err(|status| status.to_string())?.into_inner();
            let explanation = answer.explanation.as_ref().expect("an explanation");
            if answer.source() == Source::Neo4j {
                return Ok(answer);
            }
            assert!(!explanation.fallback_reason.is_empty(), "{explanation:?}");
            Err(format!("{explanation:?}"))
        }
    })
    .await;
    let explanation = answer.explanation.clone().expect("an explanation");
    let [step] = explanation.steps.as_slice() else { panic!("{explanation:?}") };
    assert_eq!(
        (step.store.as_str(), step.question.as_str(), step.outcome.as_str()),
        ("neo4j", "check", "ok")
    );
    assert!(step.took.is_some() && explanation.fallback_reason.is_empty(), "{explanation:?}");
    let read = Token::parse(&step.store_as_of).expect("a token");
    assert!(read <= Token::parse(&answer.as_of).expect("a token"));

    let answer = queries.check(check(consistent(), true)).await.expect("a check").into_inner();
    let explanation = answer.explanation.expect("an explanation");
    assert_eq!((explanation.steps.len(), explanation.fallback_reason.as_str()), (1, "asked"));
    assert_eq!(explanation.steps[0].store, "postgres");

    let request = ListFollowersRequest {
        user_id: star.to_string(),
        viewer_id: fans[0].to_string(),
        with_relationships: true,
        explain: true,
        ..ListFollowersRequest::default()
    };
    let answer = queries.list_followers(request).await.expect("a page").into_inner();
    let explanation = answer.explanation.expect("an explanation");
    assert_eq!(explanation.steps[0].question, "list_followers_seen");
}
