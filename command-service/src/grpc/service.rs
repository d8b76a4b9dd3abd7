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
use super::{batch_write, job, pairs, parse};
use crate::committer::Lane;
use crate::domain::{AccountAction, Body, Command};
use crate::responses::optional_id;

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

/// The fields that all responses about an account have.
struct AccountAnswer {
    changed: bool,
    written_at: String,
    job_id: String,
}

impl Service {
    /// Executes a command of an account about itself.
    async fn account<T>(
        &self,
        request: &Request<T>,
        (user, request_id): (&str, &str),
        action: AccountAction,
    ) -> Result<AccountAnswer, Status> {
        let origin = Origin::of(request);
        let user = parse::user("user_id", user)?;
        let command = Command::Account { user, action };
        let key = parse::request_key(request_id, user, &command)?;
        self.gateway.limit.check(user)?;
        let answer = self.gateway.execute(command, key, origin, Lane::Command).await?;
        let job = match answer.body {
            Body::Job(job) => job,
            _ => None,
        };
        let written_at = answer.written_at.to_string();
        Ok(AccountAnswer { changed: answer.changed, written_at, job_id: optional_id(job) })
    }
}

#[tonic::async_trait]
impl CommandService for Service {
    async fn follow(
        &self,
        request: Request<wire::FollowRequest>,
    ) -> Result<Response<wire::FollowResponse>, Status> {
        pairs::execute(&self.gateway, request).await
    }

    async fn unfollow(
        &self,
        request: Request<wire::UnfollowRequest>,
    ) -> Result<Response<wire::UnfollowResponse>, Status> {
        pairs::execute(&self.gateway, request).await
    }

    async fn remove_follower(
        &self,
        request: Request<wire::RemoveFollowerRequest>,
    ) -> Result<Response<wire::RemoveFollowerResponse>, Status> {
        pairs::execute(&self.gateway, request).await
    }

    async fn mute(
        &self,
        request: Request<wire::MuteRequest>,
    ) -> Result<Response<wire::MuteResponse>, Status> {
        pairs::execute(&self.gateway, request).await
    }

    async fn unmute(
        &self,
        request: Request<wire::UnmuteRequest>,
    ) -> Result<Response<wire::UnmuteResponse>, Status> {
        pairs::execute(&self.gateway, request).await
    }

    async fn block(
        &self,
        request: Request<wire::BlockRequest>,
    ) -> Result<Response<wire::BlockResponse>, Status> {
        pairs::execute(&self.gateway, request).await
    }

    async fn unblock(
        &self,
        request: Request<wire::UnblockRequest>,
    ) -> Result<Response<wire::UnblockResponse>, Status> {
        pairs::execute(&self.gateway, request).await
    }

    async fn accept_follow_request(
        &self,
        request: Request<wire::AcceptFollowRequestRequest>,
    ) -> Result<Response<wire::AcceptFollowRequestResponse>, Status> {
        pairs::execute(&self.gateway, request).await
    }

    async fn reject_follow_request(
        &self,
        request: Request<wire::RejectFollowRequestRequest>,
    ) -> Result<Response<wire::RejectFollowRequestResponse>, Status> {
        pairs::execute(&self.gateway, request).await
    }

    async fn cancel_follow_request(
        &self,
        request: Request<wire::CancelFollowRequestRequest>,
    ) -> Result<Response<wire::CancelFollowRequestResponse>, Status> {
        pairs::execute(&self.gateway, request).await
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

    async fn set_account_privacy(
        &self,
        request: Request<wire::SetAccountPrivacyRequest>,
    ) -> Result<Response<wire::SetAccountPrivacyResponse>, Status> {
        let r = request.get_ref();
        let action = AccountAction::SetPrivacy { private: r.private };
        let AccountAnswer { changed, written_at, job_id } =
            self.account(&request, (&r.user_id, &r.request_id), action).await?;
        Ok(Response::new(wire::SetAccountPrivacyResponse { changed, written_at, job_id }))
    }

    async fn erase_account(
        &self,
        request: Request<wire::EraseAccountRequest>,
    ) -> Result<Response<wire::EraseAccountResponse>, Status> {
        let r = request.get_ref();
        let action = AccountAction::Erase;
        let AccountAnswer { changed, written_at, job_id } =
            self.account(&request, (&r.user_id, &r.request_id), action).await?;
        Ok(Response::new(wire::EraseAccountResponse { changed, written_at, job_id }))
    }

    async fn archive_account(
        &self,
        request: Request<wire::ArchiveAccountRequest>,
    ) -> Result<Response<wire::ArchiveAccountResponse>, Status> {
        let r = request.get_ref();
        let action = AccountAction::Archive;
        let AccountAnswer { changed, written_at, job_id } =
            self.account(&request, (&r.user_id, &r.request_id), action).await?;
        Ok(Response::new(wire::ArchiveAccountResponse { changed, written_at, job_id }))
    }

    async fn restore_account(
        &self,
        request: Request<wire::RestoreAccountRequest>,
    ) -> Result<Response<wire::RestoreAccountResponse>, Status> {
        let r = request.get_ref();
        let action = AccountAction::Restore;
        let AccountAnswer { changed, written_at, job_id } =
            self.account(&request, (&r.user_id, &r.request_id), action).await?;
        Ok(Response::new(wire::RestoreAccountResponse { changed, written_at, job_id }))
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
