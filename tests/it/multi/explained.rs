//! Explanations of multi-hop reads.

use proto::Token;
use proto::query::v1::{
    AccountSet, Explanation, ListFollowersYouKnowRequest, ListMutualsRequest, ListSetOperationRequest,
    SetKind, SetOperation, Source, SuggestAccountsRequest,
};
use tests::clients::fresh;
use tests::explained::in_time;
use tests::{Endpoints, Queries, new_user, until};
use tonic::Status;

use super::{Store, import};

/// The explanation of an answer.
#[derive(Debug)]
struct Told {
    as_of: String,
    source: Source,
    explanation: Option<Explanation>,
}

macro_rules! told {
    ($call:expr) => {
        $call.await.map(|response| {
            let answer = response.into_inner();
            Told { source: answer.source(), as_of: answer.as_of, explanation: answer.explanation }
        })
    };
}

/// A question, and the names of the store questions that it causes.
#[derive(Clone, Copy, Debug)]
enum Ask {
    Mutuals,
    Known,
    Set(SetOperation),
    Suggest,
}

impl Ask {
    const ALL: [(Self, &'static [&'static str]); 6] = [
        (Self::Mutuals, &["sift"]),
        (Self::Known, &["known"]),
        (Self::Set(SetOperation::Union), &["union"]),
        // The walk uses the smaller set.
        (Self::Set(SetOperation::Intersection), &["counts", "sift"]),
        (Self::Set(SetOperation::Difference), &["sift"]),
        (Self::Suggest, &["suggest"]),
    ];

    async fn of(
        self,
        queries: &Queries,
        (user, other): (&str, &str),
        consistency: Option<proto::query::v1::Consistency>,
        explain: bool,
    ) -> Result<Told, Status> {
        let mut queries = queries.clone();
        let user_id = user.to_owned();
        match self {
            Self::Mutuals => {
                let ask = ListMutualsRequest { user_id, consistency, explain, ..Default::default() };
                told!(queries.list_mutuals(in_time(ask)))
            }
            Self::Known => {
                let ask = ListFollowersYouKnowRequest {
                    viewer_id: user_id,
                    target_id: other.to_owned(),
                    consistency,
                    explain,
                    ..Default::default()
                };
                told!(queries.list_followers_you_know(in_time(ask)))
            }
            Self::Set(operation) => {
                let set = |user: &str, kind: SetKind| {
                    Some(AccountSet { user_id: user.to_owned(), kind: kind.into() })
                };
                let ask = ListSetOperationRequest {
                    operation: operation.into(),
                    first: set(user, SetKind::Following),
                    second: set(other, SetKind::Followers),
                    consistency,
                    explain,
                    ..Default::default()
                };
                told!(queries.list_set_operation(in_time(ask)))
            }
            Self::Suggest => {
                let ask =
                    SuggestAccountsRequest { viewer_id: user_id, consistency, explain, ..Default::default() };
                told!(queries.suggest_accounts(in_time(ask)))
            }
        }
    }
}

#[tokio::test]
async fn an_explanation_lists_store_replica_time_and_revision() {
    let endpoints = Endpoints::shared();
    let queries = endpoints.queries();
    let (user, other) = (new_user(), new_user());
    import(&endpoints, &[(user.clone(), other.clone()), (other.clone(), user.clone())]).await;
    let token = tests::truth::head_token(&endpoints).await;
    let of = (user.as_str(), other.as_str());
    for (ask, steps) in Ask::ALL {
        for store in Store::BOTH {
            if store == Store::Postgres && matches!(ask, Ask::Suggest) {
                continue;
            }
            let consistency = || store.consistency().or_else(|| fresh(&token.to_string()));
            // On a busy machine the read model may be too slow, or not have reached the token yet: then the other store
            // answers, or none.
            let told = until("an answer of the store", || async {
                let told =
                    ask.of(&queries, of, consistency(), true).await.map_err(|status| status.to_string())?;
                let is_all_of_it =
                    told.explanation.as_ref().is_some_and(|told| told.steps.len() == steps.len());
                if store.is(told.source) && is_all_of_it { Ok(told) } else { Err(format!("{told:?}")) }
            })
            .await;
            let as_of = Token::parse(&told.as_of).expect("a token");
            assert!(as_of >= token, "{ask:?}: {told:?}");
            let explanation = told.explanation.as_ref().expect("an explanation");
            let (name, replica, reason) = match store {
                Store::Neo4j => ("neo4j", "projector-0", ""),
                Store::Postgres => ("postgres", "", "asked"),
            };
            assert_eq!(explanation.fallback_reason, reason, "{ask:?}: {told:?}");
            let questions: Vec<_> = explanation.steps.iter().map(|step| step.question.as_str()).collect();
            assert_eq!(questions, steps, "{ask:?}: {told:?}");
            for step in &explanation.steps {
                assert_eq!(
                    (step.store.as_str(), step.replica.as_str()),
                    (name, replica),
                    "{ask:?}: {told:?}"
                );
                assert_eq!(step.outcome, "ok", "{ask:?}: {told:?}");
                let took = step.took.as_ref().expect("the time that it took");
                assert!(took.seconds > 0 || took.nanos > 0, "{ask:?}: {told:?}");
                assert!(Token::parse(&step.store_as_of).expect("a token") <= as_of, "{ask:?}: {told:?}");
            }
        }
    }
}

#[tokio::test]
async fn answers_are_explained_only_on_request() {
    let queries = Endpoints::shared().queries();
    let (user, other) = (new_user(), new_user());
    for (ask, _) in Ask::ALL {
        let told = until("an answer", || async {
            ask.of(&queries, (&user, &other), None, false).await.map_err(|status| status.to_string())
        });
        assert_eq!(told.await.explanation, None, "{ask:?}");
    }
}
