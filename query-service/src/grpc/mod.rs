//! The service as clients see it: request to question, answer to response.
//!
//! Owns: authorization, validation, page sizes, tokens, and the wording of errors. It must not know any SQL or Cypher,
//! nor which store answers.
//! What can go wrong: what a client sends. Every refusal names its reason and the field at fault.

mod call;
mod errors;
mod export;
mod lists;
mod status;
mod validate;

use std::sync::Arc;
use std::time::Duration;

use proto::query::v1::query_service_server::{QueryService, QueryServiceServer};
use proto::query::v1::{
    BatchCheckRequest, BatchCheckResponse, CheckRequest, CheckResponse, CheckResult, Counts,
    ExportEdgesRequest, GetCountsRequest, GetCountsResponse, GetStatusRequest, GetStatusResponse,
    ListFollowersRequest, ListFollowersResponse, ListFollowingRequest, ListFollowingResponse,
};
use service_kit::auth::{Scope, Tokens};
use service_kit::grpc::Deadline;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};

use self::call::{Call, wire_source};
use self::export::ExportStream;
use self::lists::ListRequest;
use crate::page_token::Codec;
use crate::pipeline::Roster;
use crate::reader::{Check, CountsOf, Exporter, ListKind, Policy};

/// Used where a request came without a deadline, which the server's defaults rule out.
const LONGEST: Duration = Duration::from_secs(30);

/// Who may call.
#[derive(Clone, Debug)]
pub struct Access(Tokens);

impl Access {
    /// With these tokens; without any, everybody may read.
    pub fn new(tokens: Tokens) -> Self {
        Self(tokens)
    }

    fn check(&self, metadata: &MetadataMap, scope: Scope) -> Result<(), Status> {
        if !self.0.is_empty() {
            self.0.authorize(metadata, scope)?;
        }
        Ok(())
    }
}

/// The query service.
#[derive(Debug)]
pub struct Queries {
    policy: Arc<Policy>,
    exporter: Exporter,
    exports: Arc<Semaphore>,
    codec: Arc<Codec>,
    access: Access,
    roster: Arc<Roster>,
}

impl Queries {
    /// Answers with these; at most `exports` exports at a time.
    pub fn new(
        policy: Arc<Policy>,
        exporter: Exporter,
        exports: usize,
        codec: Codec,
        access: Access,
        roster: Arc<Roster>,
    ) -> Self {
        let exports = Arc::new(Semaphore::new(exports));
        Self { policy, exporter, exports, codec: Arc::new(codec), access, roster }
    }

    /// The same as a service of a server.
    pub fn service(self, max_request_bytes: usize) -> QueryServiceServer<Self> {
        QueryServiceServer::new(self).max_decoding_message_size(max_request_bytes)
    }
}

fn deadline<T>(request: &Request<T>) -> Instant {
    Deadline::of(request).map_or_else(|| Instant::now() + LONGEST, |deadline| deadline.0)
}

#[tonic::async_trait]
impl QueryService for Queries {
    type ExportEdgesStream = ExportStream;

    async fn check(&self, request: Request<CheckRequest>) -> Result<Response<CheckResponse>, Status> {
        self.access.check(request.metadata(), Scope::Read)?;
        let deadline = deadline(&request);
        let request = request.into_inner();
        let viewer = validate::user(&request.viewer_id, "viewer_id")?;
        let target = validate::user(&request.target_id, "target_id")?;
        let call = Call::new(deadline, request.consistency.as_ref(), request.explain)?;
        let answer = self.ask(&Check { viewer, targets: vec![target] }, &call).await?;
        Ok(Response::new(CheckResponse {
            following: answer.value.first().copied().unwrap_or(false),
            as_of: answer.as_of.to_string(),
            source: wire_source(answer.source),
            explanation: call.explanation(),
        }))
    }

    async fn batch_check(
        &self,
        request: Request<BatchCheckRequest>,
    ) -> Result<Response<BatchCheckResponse>, Status> {
        self.access.check(request.metadata(), Scope::Read)?;
        let deadline = deadline(&request);
        let request = request.into_inner();
        let viewer = validate::user(&request.viewer_id, "viewer_id")?;
        let targets = validate::users(&request.target_ids, "target_ids")?;
        let call = Call::new(deadline, request.consistency.as_ref(), request.explain)?;
        let answer = self.ask(&Check { viewer, targets: targets.clone() }, &call).await?;
        let results = targets.iter().zip(answer.value);
        Ok(Response::new(BatchCheckResponse {
            results: results
                .map(|(target, following)| CheckResult { target_id: target.to_string(), following })
                .collect(),
            as_of: answer.as_of.to_string(),
            source: wire_source(answer.source),
            explanation: call.explanation(),
        }))
    }

    async fn list_followers(
        &self,
        request: Request<ListFollowersRequest>,
    ) -> Result<Response<ListFollowersResponse>, Status> {
        self.access.check(request.metadata(), Scope::Read)?;
        let deadline = deadline(&request);
        let request = ListRequest::from(request.into_inner());
        let page = self.list(ListKind::Followers, &request, deadline).await?;
        Ok(Response::new(page.into()))
    }

    async fn list_following(
        &self,
        request: Request<ListFollowingRequest>,
    ) -> Result<Response<ListFollowingResponse>, Status> {
        self.access.check(request.metadata(), Scope::Read)?;
        let deadline = deadline(&request);
        let request = ListRequest::from(request.into_inner());
        let page = self.list(ListKind::Following, &request, deadline).await?;
        Ok(Response::new(page.into()))
    }

    async fn get_counts(
        &self,
        request: Request<GetCountsRequest>,
    ) -> Result<Response<GetCountsResponse>, Status> {
        self.access.check(request.metadata(), Scope::Read)?;
        let deadline = deadline(&request);
        let request = request.into_inner();
        let users = validate::users(&request.user_ids, "user_ids")?;
        let call = Call::new(deadline, request.consistency.as_ref(), request.explain)?;
        let answer = self.ask(&CountsOf { users: users.clone() }, &call).await?;
        let counts = users.iter().zip(answer.value);
        Ok(Response::new(GetCountsResponse {
            counts: counts
                .map(|(user, counts)| Counts {
                    user_id: user.to_string(),
                    followers: counts.followers,
                    following: counts.following,
                    ..Counts::default()
                })
                .collect(),
            as_of: answer.as_of.to_string(),
            source: wire_source(answer.source),
            explanation: call.explanation(),
        }))
    }

    async fn export_edges(
        &self,
        request: Request<ExportEdgesRequest>,
    ) -> Result<Response<Self::ExportEdgesStream>, Status> {
        self.access.check(request.metadata(), Scope::Admin)?;
        Ok(Response::new(self.export(&request.into_inner()).await?))
    }

    async fn get_status(
        &self,
        request: Request<GetStatusRequest>,
    ) -> Result<Response<GetStatusResponse>, Status> {
        self.access.check(request.metadata(), Scope::Read)?;
        Ok(Response::new(self.status(Instant::now())))
    }
}
