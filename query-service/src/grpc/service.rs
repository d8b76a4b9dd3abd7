//! The methods of the query service, each begun and handed to the file of its question.

use proto::query::v1::query_service_server::QueryService;
use proto::query::v1::{
    BatchCheckRequest, BatchCheckResponse, CheckRequest, CheckResponse, ExportEdgesRequest, GetCountsRequest,
    GetCountsResponse, GetRelationshipsRequest, GetRelationshipsResponse, GetStatusRequest,
    GetStatusResponse, ListBlocksRequest, ListBlocksResponse, ListFollowRequestsRequest,
    ListFollowRequestsResponse, ListFollowersRequest, ListFollowersResponse, ListFollowersYouKnowRequest,
    ListFollowersYouKnowResponse, ListFollowingRequest, ListFollowingResponse, ListMutesRequest,
    ListMutesResponse, ListMutualsRequest, ListMutualsResponse, ListSetOperationRequest,
    ListSetOperationResponse, SuggestAccountsRequest, SuggestAccountsResponse, WatchEventsRequest,
};
use service_kit::auth::Caller;
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use super::call::Begun;
use super::export::ExportStream;
use super::watch::WatchStream;
use super::{Queries, validate};
use crate::queries::{ListKind, PublicList};

/// The message, who sent it, and until when it is answered.
fn begin<T>(request: Request<T>) -> (T, Begun) {
    let begun = Begun::of(&request);
    (request.into_inner(), begun)
}

#[tonic::async_trait]
impl QueryService for Queries {
    type ExportEdgesStream = ExportStream;
    type WatchEventsStream = WatchStream;

    async fn check(&self, request: Request<CheckRequest>) -> Result<Response<CheckResponse>, Status> {
        let (request, begun) = begin(request);
        self.check_one(request, begun).await.map(Response::new)
    }

    async fn batch_check(
        &self,
        request: Request<BatchCheckRequest>,
    ) -> Result<Response<BatchCheckResponse>, Status> {
        let (request, begun) = begin(request);
        self.check_many(request, begun).await.map(Response::new)
    }

    async fn get_relationships(
        &self,
        request: Request<GetRelationshipsRequest>,
    ) -> Result<Response<GetRelationshipsResponse>, Status> {
        let (request, begun) = begin(request);
        self.relationships(request, begun).await.map(Response::new)
    }

    async fn list_followers(
        &self,
        request: Request<ListFollowersRequest>,
    ) -> Result<Response<ListFollowersResponse>, Status> {
        let (request, begun) = begin(request);
        let page = self.public_list(PublicList::Followers, &request.into(), begun).await?;
        Ok(Response::new(page.into()))
    }

    async fn list_following(
        &self,
        request: Request<ListFollowingRequest>,
    ) -> Result<Response<ListFollowingResponse>, Status> {
        let (request, begun) = begin(request);
        let page = self.public_list(PublicList::Following, &request.into(), begun).await?;
        Ok(Response::new(page.into()))
    }

    async fn list_mutes(
        &self,
        request: Request<ListMutesRequest>,
    ) -> Result<Response<ListMutesResponse>, Status> {
        let (request, begun) = begin(request);
        let page = self.list(ListKind::Mutes, &request.into(), begun).await?;
        Ok(Response::new(page.into()))
    }

    async fn list_blocks(
        &self,
        request: Request<ListBlocksRequest>,
    ) -> Result<Response<ListBlocksResponse>, Status> {
        let (request, begun) = begin(request);
        let page = self.list(ListKind::Blocks, &request.into(), begun).await?;
        Ok(Response::new(page.into()))
    }

    async fn list_follow_requests(
        &self,
        request: Request<ListFollowRequestsRequest>,
    ) -> Result<Response<ListFollowRequestsResponse>, Status> {
        let (request, begun) = begin(request);
        let kind = validate::requests(request.direction)?;
        let page = self.list(kind, &request.into(), begun).await?;
        Ok(Response::new(page.into()))
    }

    async fn get_counts(
        &self,
        request: Request<GetCountsRequest>,
    ) -> Result<Response<GetCountsResponse>, Status> {
        let (request, begun) = begin(request);
        self.counts(request, begun).await.map(Response::new)
    }

    async fn list_mutuals(
        &self,
        request: Request<ListMutualsRequest>,
    ) -> Result<Response<ListMutualsResponse>, Status> {
        let (request, begun) = begin(request);
        Ok(Response::new(self.mutuals(request, begun).await?))
    }

    async fn list_followers_you_know(
        &self,
        request: Request<ListFollowersYouKnowRequest>,
    ) -> Result<Response<ListFollowersYouKnowResponse>, Status> {
        let (request, begun) = begin(request);
        Ok(Response::new(self.followers_you_know(request, begun).await?))
    }

    async fn list_set_operation(
        &self,
        request: Request<ListSetOperationRequest>,
    ) -> Result<Response<ListSetOperationResponse>, Status> {
        let (request, begun) = begin(request);
        Ok(Response::new(self.set_operation(request, begun).await?))
    }

    async fn suggest_accounts(
        &self,
        request: Request<SuggestAccountsRequest>,
    ) -> Result<Response<SuggestAccountsResponse>, Status> {
        let (request, begun) = begin(request);
        Ok(Response::new(self.suggest(request, begun).await?))
    }

    async fn export_edges(
        &self,
        request: Request<ExportEdgesRequest>,
    ) -> Result<Response<Self::ExportEdgesStream>, Status> {
        let caller = Caller::of(&request).cloned();
        Ok(Response::new(self.export(&request.into_inner(), caller).await?))
    }

    async fn watch_events(
        &self,
        request: Request<WatchEventsRequest>,
    ) -> Result<Response<Self::WatchEventsStream>, Status> {
        let caller = Caller::of(&request).cloned();
        Ok(Response::new(self.watches.begin(&request.into_inner(), caller).await?))
    }

    async fn get_status(&self, _: Request<GetStatusRequest>) -> Result<Response<GetStatusResponse>, Status> {
        Ok(Response::new(self.pipeline.get(Instant::now())))
    }
}
