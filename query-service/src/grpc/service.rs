//! The methods of the query service.

use proto::UserId;
use proto::error::{Reason, ServiceError};
use proto::query::v1::query_service_server::QueryService;
use proto::query::v1::{
    BatchCheckRequest, BatchCheckResponse, CheckRequest, CheckResponse, CheckResult, ExportEdgesRequest,
    GetCountsRequest, GetCountsResponse, GetRelationshipsRequest, GetRelationshipsResponse, GetStatusRequest,
    GetStatusResponse, ListBlocksRequest, ListBlocksResponse, ListFollowRequestsRequest,
    ListFollowRequestsResponse, ListFollowersRequest, ListFollowersResponse, ListFollowersYouKnowRequest,
    ListFollowersYouKnowResponse, ListFollowingRequest, ListFollowingResponse, ListMutesRequest,
    ListMutesResponse, ListMutualsRequest, ListMutualsResponse, ListSetOperationRequest,
    ListSetOperationResponse, SuggestAccountsRequest, SuggestAccountsResponse, Suggestion as WireSuggestion,
    WatchEventsRequest,
};
use service_kit::auth::Caller;
use tokio::time::Instant;
use tonic::{Request, Response};

use super::call::{ReadCall, Reply, begin, wire_source};
use super::export::ExportStream;
use super::relationships::relationship;
use super::watch::WatchStream;
use super::{Queries, counts, validate};
use crate::queries::{Check, CountsOf, ListKind, PublicList, Relations, Suggest};

/// Default number of suggestions.
const DEFAULT_SUGGESTIONS: usize = 20;
/// Maximum number of suggestions.
const MAX_SUGGESTIONS: usize = 100;

#[tonic::async_trait]
impl QueryService for Queries {
    type ExportEdgesStream = ExportStream;
    type WatchEventsStream = WatchStream;

    async fn check(&self, request: Request<CheckRequest>) -> Reply<CheckResponse> {
        let (request, begun) = begin(request);
        let viewer = validate::user(&request.viewer_id, "viewer_id")?;
        let target = validate::user(&request.target_id, "target_id")?;
        let call = ReadCall::new(begun, request.consistency.as_ref(), request.explain)?;
        let answer = self.ask(&Check { viewer, targets: vec![target] }, &call).await?;
        Ok(Response::new(CheckResponse {
            following: answer.value.first().copied().unwrap_or(false),
            as_of: answer.as_of.to_string(),
            source: wire_source(answer.source),
            explanation: call.explanation(),
        }))
    }

    async fn batch_check(&self, request: Request<BatchCheckRequest>) -> Reply<BatchCheckResponse> {
        let (request, begun) = begin(request);
        let viewer = validate::user(&request.viewer_id, "viewer_id")?;
        let targets = validate::users(&request.target_ids, "target_ids")?;
        let call = ReadCall::new(begun, request.consistency.as_ref(), request.explain)?;
        let question = Check { viewer, targets };
        let answer = self.ask(&question, &call).await?;
        let results = question.targets.iter().zip(answer.value);
        Ok(Response::new(BatchCheckResponse {
            results: results
                .map(|(target, following)| CheckResult { target_id: target.to_string(), following })
                .collect(),
            as_of: answer.as_of.to_string(),
            source: wire_source(answer.source),
            explanation: call.explanation(),
        }))
    }

    async fn get_relationships(
        &self,
        request: Request<GetRelationshipsRequest>,
    ) -> Reply<GetRelationshipsResponse> {
        let (request, begun) = begin(request);
        let viewer = validate::user(&request.viewer_id, "viewer_id")?;
        let targets = validate::users(&request.target_ids, "target_ids")?;
        let call = ReadCall::new(begun, request.consistency.as_ref(), request.explain)?;
        let question = Relations { viewer, targets };
        let answer = self.ask(&question, &call).await?;
        let pairs = question.targets.iter().zip(&answer.value);
        Ok(Response::new(GetRelationshipsResponse {
            relationships: pairs.map(|(target, relation)| relationship(viewer, *target, relation)).collect(),
            as_of: answer.as_of.to_string(),
            source: wire_source(answer.source),
            explanation: call.explanation(),
        }))
    }

    async fn list_followers(&self, request: Request<ListFollowersRequest>) -> Reply<ListFollowersResponse> {
        let (request, begun) = begin(request);
        let page = self.public_list(PublicList::Followers, &request.into(), begun).await?;
        Ok(Response::new(page.into()))
    }

    async fn list_following(&self, request: Request<ListFollowingRequest>) -> Reply<ListFollowingResponse> {
        let (request, begun) = begin(request);
        let page = self.public_list(PublicList::Following, &request.into(), begun).await?;
        Ok(Response::new(page.into()))
    }

    async fn list_mutes(&self, request: Request<ListMutesRequest>) -> Reply<ListMutesResponse> {
        let (request, begun) = begin(request);
        let page = self.list(ListKind::Mutes, &request.into(), begun).await?;
        Ok(Response::new(page.into()))
    }

    async fn list_blocks(&self, request: Request<ListBlocksRequest>) -> Reply<ListBlocksResponse> {
        let (request, begun) = begin(request);
        let page = self.list(ListKind::Blocks, &request.into(), begun).await?;
        Ok(Response::new(page.into()))
    }

    async fn list_follow_requests(
        &self,
        request: Request<ListFollowRequestsRequest>,
    ) -> Reply<ListFollowRequestsResponse> {
        let (request, begun) = begin(request);
        let kind = validate::requests(request.direction)?;
        let page = self.list(kind, &request.into(), begun).await?;
        Ok(Response::new(page.into()))
    }

    async fn get_counts(&self, request: Request<GetCountsRequest>) -> Reply<GetCountsResponse> {
        let (request, begun) = begin(request);
        let users = validate::users(&request.user_ids, "user_ids")?;
        let viewer = validate::optional_user(&request.viewer_id, "viewer_id")?;
        let call = ReadCall::new(begun, request.consistency.as_ref(), request.explain)?;
        let question = CountsOf { users };
        let answer = self.ask(&question, &call).await?;
        let counts = question.users.iter().zip(answer.value);
        Ok(Response::new(GetCountsResponse {
            counts: counts.map(|(user, counts)| counts::shown(*user, counts, viewer)).collect(),
            as_of: answer.as_of.to_string(),
            source: wire_source(answer.source),
            explanation: call.explanation(),
        }))
    }

    async fn list_mutuals(&self, request: Request<ListMutualsRequest>) -> Reply<ListMutualsResponse> {
        self.mutuals(request).await
    }

    async fn list_followers_you_know(
        &self,
        request: Request<ListFollowersYouKnowRequest>,
    ) -> Reply<ListFollowersYouKnowResponse> {
        self.followers_you_know(request).await
    }

    async fn list_set_operation(
        &self,
        request: Request<ListSetOperationRequest>,
    ) -> Reply<ListSetOperationResponse> {
        self.set_operation(request).await
    }

    async fn suggest_accounts(
        &self,
        request: Request<SuggestAccountsRequest>,
    ) -> Reply<SuggestAccountsResponse> {
        let (request, begun) = begin(request);
        let viewer = validate::user(&request.viewer_id, "viewer_id")?;
        let limit = validate::limit(request.limit, "limit", DEFAULT_SUGGESTIONS, MAX_SUGGESTIONS)?;
        let call = ReadCall::new(begun, request.consistency.as_ref(), request.explain)?;
        if call.read.need.truth {
            let (field, message) = ("consistency.fully_consistent", "is not possible for suggestions");
            return Err(ServiceError::field(Reason::InvalidConsistency, field, message).into());
        }
        let answer = self.ask(&Suggest { viewer, limit }, &call).await?;
        let suggestions = answer.value.suggestions.into_iter().map(|suggestion| WireSuggestion {
            user_id: suggestion.user.to_string(),
            followed_by_count: suggestion.between_count,
            followed_by: suggestion.between.iter().map(UserId::to_string).collect(),
        });
        Ok(Response::new(SuggestAccountsResponse {
            suggestions: suggestions.collect(),
            as_of: answer.as_of.to_string(),
            source: wire_source(answer.source),
            explanation: call.explanation(),
        }))
    }

    async fn export_edges(&self, request: Request<ExportEdgesRequest>) -> Reply<Self::ExportEdgesStream> {
        let caller = Caller::of(&request).cloned();
        Ok(Response::new(self.export(&request.into_inner(), caller).await?))
    }

    async fn watch_events(&self, request: Request<WatchEventsRequest>) -> Reply<Self::WatchEventsStream> {
        let caller = Caller::of(&request).cloned();
        Ok(Response::new(self.watches.begin(&request.into_inner(), caller).await?))
    }

    async fn get_status(&self, _: Request<GetStatusRequest>) -> Reply<GetStatusResponse> {
        Ok(Response::new(self.pipeline.get(Instant::now())))
    }
}
