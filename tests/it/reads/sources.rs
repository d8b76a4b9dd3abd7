//! `READ_SOURCE`: every read of a query-service that may use one store only.

use std::collections::BTreeSet;

use devstack::env_file::Env;
use proto::error::Reason;
use proto::legacy::v2 as legacy;
use proto::legacy::v2::graph_service_client::GraphServiceClient;
use proto::query::v1::{
    self as wire, Consistency, Explanation, GetStatusRequest, SetKind, SetOperation, Source,
};
use tests::clients::{channel, consistent, fresh};
use tests::explained::in_time;
use tests::jobs::OnAccount;
use tests::own::query_service_beside;
use tests::refusal::{assert_refused, metadata};
use tests::{Act, Ask, Endpoints, Queries, metrics, until, users};
use tonic::Status;
use tonic_types::StatusExt as _;

/// The parts of an answer that this test compares.
struct Told {
    /// Number of rows; 1 for other answers.
    rows: usize,
    source: Source,
    explanation: Explanation,
}

macro_rules! told {
    ($call:expr, $answer:ident => $rows:expr) => {
        $call.await.map(|response| {
            let $answer = response.into_inner();
            let explanation = $answer.explanation.clone().expect("an explanation");
            Told { rows: $rows, source: $answer.source(), explanation }
        })
    };
}

/// Accounts with one edge of each kind, whose friends have one in common.
struct World {
    viewer: String,
    friend: String,
    far: String,
}

impl World {
    async fn make(shared: &Endpoints) -> Self {
        let commands = shared.commands();
        let [viewer, friend, far, muted, blocked, private] = users();
        OnAccount::SetPrivate(true).finish(&commands, private).await;
        for (act, actor, other) in [
            (Act::Follow, viewer, friend),
            (Act::Follow, friend, viewer),
            (Act::Follow, friend, far),
            (Act::Follow, viewer, private),
            (Act::Mute, viewer, muted),
            (Act::Block, viewer, blocked),
        ] {
            Ask::new(act, actor, other).done(&commands).await;
        }
        Self { viewer: viewer.to_string(), friend: friend.to_string(), far: far.to_string() }
    }

    /// Reads everything that both stores can answer, each by name.
    async fn ask_all(
        &self,
        queries: &mut Queries,
        consistency: Option<Consistency>,
    ) -> Vec<(&'static str, Result<Told, Status>)> {
        let (viewer, friend, far) = (|| self.viewer.clone(), || self.friend.clone(), || self.far.clone());
        let consistency = || consistency.clone();
        let mut all = Vec::new();

        let ask = wire::CheckRequest {
            viewer_id: viewer(),
            target_id: friend(),
            consistency: consistency(),
            explain: true,
        };
        all.push(("Check", told!(queries.check(in_time(ask)), a => usize::from(a.following))));
        let ask = wire::BatchCheckRequest {
            viewer_id: viewer(),
            target_ids: vec![friend(), far()],
            consistency: consistency(),
            explain: true,
        };
        let told =
            told!(queries.batch_check(in_time(ask)), a => a.results.iter().filter(|r| r.following).count());
        all.push(("BatchCheck", told));
        let ask = wire::GetRelationshipsRequest {
            viewer_id: viewer(),
            target_ids: vec![friend(), far()],
            consistency: consistency(),
            explain: true,
        };
        let told = told!(
            queries.get_relationships(in_time(ask)),
            a => a.relationships.iter().filter(|pair| pair.following && pair.followed_by).count()
        );
        all.push(("GetRelationships", told));
        let ask = wire::GetCountsRequest {
            user_ids: vec![viewer()],
            consistency: consistency(),
            viewer_id: viewer(),
            explain: true,
        };
        let told = told!(queries.get_counts(in_time(ask)), a => a.counts[0].muting() as usize);
        all.push(("GetCounts", told));
        self.ask_lists(queries, &consistency, &mut all).await;
        self.ask_about_several(queries, &consistency, &mut all).await;
        all
    }

    async fn ask_lists(
        &self,
        queries: &mut Queries,
        consistency: &impl Fn() -> Option<Consistency>,
        all: &mut Vec<(&'static str, Result<Told, Status>)>,
    ) {
        let viewer = || self.viewer.clone();
        let ask = wire::ListFollowersRequest {
            user_id: self.far.clone(),
            consistency: consistency(),
            explain: true,
            ..Default::default()
        };
        all.push(("ListFollowers", told!(queries.list_followers(in_time(ask)), a => a.edges.len())));
        let ask = wire::ListFollowingRequest {
            user_id: viewer(),
            viewer_id: self.friend.clone(),
            with_relationships: true,
            consistency: consistency(),
            explain: true,
            ..Default::default()
        };
        all.push(("ListFollowing", told!(queries.list_following(in_time(ask)), a => a.edges.len())));
        let ask = wire::ListMutesRequest {
            user_id: viewer(),
            consistency: consistency(),
            explain: true,
            ..Default::default()
        };
        all.push(("ListMutes", told!(queries.list_mutes(in_time(ask)), a => a.edges.len())));
        let ask = wire::ListBlocksRequest {
            user_id: viewer(),
            consistency: consistency(),
            explain: true,
            ..Default::default()
        };
        all.push(("ListBlocks", told!(queries.list_blocks(in_time(ask)), a => a.edges.len())));
        let ask = wire::ListFollowRequestsRequest {
            user_id: viewer(),
            direction: wire::RequestDirection::Outgoing.into(),
            consistency: consistency(),
            explain: true,
            ..Default::default()
        };
        let told = told!(queries.list_follow_requests(in_time(ask)), a => a.edges.len());
        all.push(("ListFollowRequests", told));
    }

    async fn ask_about_several(
        &self,
        queries: &mut Queries,
        consistency: &impl Fn() -> Option<Consistency>,
        all: &mut Vec<(&'static str, Result<Told, Status>)>,
    ) {
        let viewer = || self.viewer.clone();
        let ask = wire::ListMutualsRequest {
            user_id: viewer(),
            consistency: consistency(),
            explain: true,
            ..Default::default()
        };
        all.push(("ListMutuals", told!(queries.list_mutuals(in_time(ask)), a => a.edges.len())));
        let ask = wire::ListFollowersYouKnowRequest {
            viewer_id: viewer(),
            target_id: self.far.clone(),
            consistency: consistency(),
            explain: true,
            ..Default::default()
        };
        let told = told!(queries.list_followers_you_know(in_time(ask)), a => a.edges.len());
        all.push(("ListFollowersYouKnow", told));
        let set = |user: &str, kind: SetKind| {
            Some(wire::AccountSet { user_id: user.to_owned(), kind: kind.into() })
        };
        let ask = wire::ListSetOperationRequest {
            operation: SetOperation::Intersection.into(),
            first: set(&self.viewer, SetKind::Following),
            second: set(&self.far, SetKind::Followers),
            consistency: consistency(),
            explain: true,
            ..Default::default()
        };
        let told = told!(queries.list_set_operation(in_time(ask)), a => a.user_ids.len());
        all.push(("ListSetOperation", told));
    }

    async fn suggest(&self, queries: &mut Queries, consistency: Option<Consistency>) -> Result<Told, Status> {
        let ask = wire::SuggestAccountsRequest {
            viewer_id: self.viewer.clone(),
            consistency,
            explain: true,
            ..Default::default()
        };
        told!(queries.suggest_accounts(in_time(ask)), a => a.suggestions.len())
    }
}

/// The process's reasons for not using the excluded stores.
async fn problems(queries: &mut Queries) -> Vec<(String, String)> {
    let status = queries.get_status(GetStatusRequest {}).await.expect("a status").into_inner();
    let idle = status.stores.into_iter().filter(|store| !store.serving);
    idle.map(|store| (store.name, store.reason)).collect()
}

/// The error is not retryable, because the setting rules the read out.
#[track_caller]
fn assert_ruled_out(status: &Status, read_source: &str) {
    assert_refused(status, Reason::PreconditionFailed, None);
    assert_eq!(metadata(status, "read_source").as_deref(), Some(read_source));
    assert!(status.get_details_retry_info().is_none(), "{status:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_alone_answers_whatever_it_can_without_a_budget() {
    let shared = Endpoints::shared();
    let world = World::make(&shared).await;
    // Reads by setting are no fallback, and the budget does not apply.
    let settings = Env::default().with("READ_SOURCE", "postgres").with("FALLBACK_BUDGET_PER_SECOND", "1");
    let service = query_service_beside(&shared, settings);
    let here = shared.reading_through(&service);
    let mut queries = here.queries();
    for consistency in [None, consistent()] {
        for (question, outcome) in world.ask_all(&mut queries, consistency).await {
            let told = outcome.unwrap_or_else(|status| panic!("{question}: {status:?}"));
            assert_eq!((told.rows, told.source), (1, Source::Postgres), "{question}");
            assert_eq!(told.explanation.fallback_reason, "configured", "{question}");
            assert!(!told.explanation.steps.is_empty(), "{question}");
            for step in told.explanation.steps {
                assert_eq!((step.store.as_str(), step.outcome.as_str()), ("postgres", "ok"), "{question}");
            }
        }
    }
    let Err(refused) = world.suggest(&mut queries, None).await else { panic!("PostgreSQL cannot suggest") };
    assert_ruled_out(&refused, "postgres");
    let mut older = GraphServiceClient::new(channel(&here.query));
    let ask =
        legacy::IsFollowingRequest { follower_id: world.viewer.clone(), followee_id: world.friend.clone() };
    let answer = older.is_following(ask).await.expect("an answer of the older API").into_inner();
    assert!(answer.is_following);
    let ask = legacy::GetMutualFollowersRequest { user_id: world.viewer.clone(), limit: 0, offset: 0 };
    let answer = older.get_mutual_followers(ask).await.expect("a list of the older API").into_inner();
    assert_eq!((answer.user_ids, answer.total_count), (vec![world.friend.clone()], 1));
    let samples = metrics::scrape(service.admin_addr());
    // The series of the other store exist as well, with 0.
    let reads = samples.iter().filter(|sample| sample.metric == "query_reads_total" && sample.value > 0.0);
    let sources: BTreeSet<_> = reads.map(|sample| sample.labels["source"].as_str()).collect();
    assert_eq!(sources, ["postgres"].into(), "no other store has answered");
    let reason = "reads are set to PostgreSQL alone (READ_SOURCE)".to_owned();
    assert_eq!(problems(&mut queries).await, [("neo4j".to_owned(), reason)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn neo4j_alone_answers_everything_but_what_must_be_the_truth() {
    let shared = Endpoints::shared();
    let world = World::make(&shared).await;
    let token = tests::truth::head_token(&shared).await.to_string();
    // All servers share one small machine here: that alone must not make a read fail.
    let settings = Env::default().with("READ_SOURCE", "neo4j").with("NEO4J_READ_TIMEOUT_MILLIS", "5000");
    let service = query_service_beside(&shared, settings);
    let queries = shared.reading_through(&service).queries();
    let told = until("Neo4j to answer everything", || async {
        let mut queries = queries.clone();
        let mut all = world.ask_all(&mut queries, fresh(&token)).await;
        all.push(("SuggestAccounts", world.suggest(&mut queries, fresh(&token)).await));
        // It may be cold, or not have reached the token.
        let told = all.into_iter().map(|(question, outcome)| match outcome {
            Ok(told) => Ok((question, told)),
            Err(status) => {
                assert_refused(&status, Reason::StoreUnavailable, None);
                Err(format!("{question}: {status}"))
            }
        });
        told.collect::<Result<Vec<_>, _>>()
    })
    .await;
    for (question, told) in told {
        assert_eq!((told.rows, told.source), (1, Source::Neo4j), "{question}");
        assert_eq!(told.explanation.fallback_reason, "", "{question}");
        assert!(!told.explanation.steps.is_empty(), "{question}");
        for step in told.explanation.steps {
            assert_eq!((step.store.as_str(), step.replica.as_str()), ("neo4j", "projector-0"), "{question}");
        }
    }
    let mut queries = queries.clone();
    for (question, outcome) in world.ask_all(&mut queries, consistent()).await {
        let Err(status) = outcome else { panic!("{question}: READ_SOURCE excludes PostgreSQL") };
        assert_ruled_out(&status, "neo4j");
    }
    let reason = "reads are set to Neo4j alone (READ_SOURCE)".to_owned();
    assert_eq!(problems(&mut queries).await, [("postgres".to_owned(), reason)]);
}
