//! `followgraph.command.v1.CommandService`.

use std::pin::Pin;

use futures::Stream;
use proto::command::v1 as wire;
use proto::command::v1::command_service_server::CommandService;
use proto::error::Reason;
use sqlx::PgPool;
use tonic::{Request, Response, Status, Streaming};

use super::gateway::{CommandGateway, Origin};
use super::import::Importer;
use super::replace::Replacer;
use super::status::StatusReader;
use super::{accounts, batch_write, job, pairs};

/// The service. Clones share everything.
#[derive(Clone, Debug)]
pub struct Service {
    /// Executes commands.
    pub gateway: CommandGateway,
    /// Plans replacements of following lists.
    pub replacer: Replacer,
    /// Imports edges.
    pub importer: Importer,
    /// Reads the status.
    pub status: StatusReader,
    /// Source of jobs.
    pub pool: PgPool,
}

#[tonic::async_trait]
impl CommandService for Service {
    proto::methods! { |self, request| pairs::execute(&self.gateway, request);
        follow(wire::FollowRequest) -> wire::FollowResponse;
        unfollow(wire::UnfollowRequest) -> wire::UnfollowResponse;
        remove_follower(wire::RemoveFollowerRequest) -> wire::RemoveFollowerResponse;
        mute(wire::MuteRequest) -> wire::MuteResponse;
        unmute(wire::UnmuteRequest) -> wire::UnmuteResponse;
        block(wire::BlockRequest) -> wire::BlockResponse;
        unblock(wire::UnblockRequest) -> wire::UnblockResponse;
        accept_follow_request(wire::AcceptFollowRequestRequest) -> wire::AcceptFollowRequestResponse;
        reject_follow_request(wire::RejectFollowRequestRequest) -> wire::RejectFollowRequestResponse;
        cancel_follow_request(wire::CancelFollowRequestRequest) -> wire::CancelFollowRequestResponse;
    }

    proto::methods! { |self, request| accounts::execute(&self.gateway, request);
        set_account_privacy(wire::SetAccountPrivacyRequest) -> wire::SetAccountPrivacyResponse;
        erase_account(wire::EraseAccountRequest) -> wire::EraseAccountResponse;
        archive_account(wire::ArchiveAccountRequest) -> wire::ArchiveAccountResponse;
        restore_account(wire::RestoreAccountRequest) -> wire::RestoreAccountResponse;
    }

    async fn batch_write(
        &self,
        request: Request<wire::BatchWriteRequest>,
    ) -> Result<Response<wire::BatchWriteResponse>, Status> {
        let origin = Origin::of(&request);
        let request = request.into_inner();
        let response = if request.atomic {
            batch_write::atomic(&self.gateway, &request, origin).await?
        } else {
            batch_write::independent(&self.gateway, &request, origin).await?
        };
        Ok(Response::new(response))
    }

    async fn replace_following(
        &self,
        request: Request<wire::ReplaceFollowingRequest>,
    ) -> Result<Response<wire::ReplaceFollowingResponse>, Status> {
        let origin = Origin::of(&request);
        Ok(Response::new(self.replacer.replace(&self.gateway, &request.into_inner(), origin).await?))
    }

    async fn get_job(
        &self,
        request: Request<wire::GetJobRequest>,
    ) -> Result<Response<wire::GetJobResponse>, Status> {
        if !self.gateway.is_checked() {
            return Err(job::unreadable(Reason::StoreUnavailable).into());
        }
        Ok(Response::new(job::get(&self.pool, &request.get_ref().job_id).await?))
    }

    type ImportEdgesStream = Pin<Box<dyn Stream<Item = Result<wire::ImportEdgesResponse, Status>> + Send>>;

    async fn import_edges(
        &self,
        request: Request<Streaming<wire::ImportEdgesRequest>>,
    ) -> Result<Response<Self::ImportEdgesStream>, Status> {
        let origin = Origin::of(&request);
        let responses = self.importer.clone().responses(request.into_inner(), origin);
        Ok(Response::new(Box::pin(responses)))
    }

    async fn get_status(
        &self,
        _: Request<wire::GetStatusRequest>,
    ) -> Result<Response<wire::GetStatusResponse>, Status> {
        Ok(Response::new(self.status.read().await))
    }
}
