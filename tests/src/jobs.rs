//! Commands on whole accounts, and waiting for the jobs that they start.

use std::sync::atomic::{AtomicU64, Ordering};

use proto::UserId;
use proto::command::v1::{
    ArchiveAccountRequest, EraseAccountRequest, GetJobRequest, GetJobResponse, JobState,
    ReplaceFollowingRequest, ReplaceFollowingResponse, RestoreAccountRequest, SetAccountPrivacyRequest,
};
use tonic::Status;
use uuid::Uuid;

use crate::clients::Commands;
use crate::importing::invites_repeat;
use crate::until;

/// A command on a whole account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnAccount {
    Erase,
    Archive,
    Restore,
    SetPrivate(bool),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Started {
    /// The command changed something.
    pub changed: bool,
    pub written_at: String,
    /// The job, or empty.
    pub job_id: String,
}

macro_rules! started {
    ($call:expr) => {{
        let answer = $call.await?.into_inner();
        Ok(Started { changed: answer.changed, written_at: answer.written_at, job_id: answer.job_id })
    }};
}

impl OnAccount {
    /// Sends it; does not wait for its job.
    ///
    /// # Errors
    /// The server's error.
    pub async fn send(
        self,
        commands: &Commands,
        user: UserId,
        request_id: Option<Uuid>,
    ) -> Result<Started, Status> {
        let mut commands = commands.clone();
        let user_id = user.to_string();
        let request_id = request_id.map(|id| id.to_string()).unwrap_or_default();
        match self {
            Self::Erase => started!(commands.erase_account(EraseAccountRequest { user_id, request_id })),
            Self::Archive => {
                started!(commands.archive_account(ArchiveAccountRequest { user_id, request_id }))
            }
            Self::Restore => {
                started!(commands.restore_account(RestoreAccountRequest { user_id, request_id }))
            }
            Self::SetPrivate(private) => {
                let request = SetAccountPrivacyRequest { user_id, private, request_id };
                started!(commands.set_account_privacy(request))
            }
        }
    }

    /// Sends it and waits for its job.
    ///
    /// # Panics
    /// If it is rejected or its job fails.
    pub async fn finish(self, commands: &Commands, user: UserId) -> Started {
        let started = self
            .send(commands, user, None)
            .await
            .unwrap_or_else(|status| panic!("{self:?} of {user}: {status:?}"));
        wait(commands, &started.job_id).await;
        started
    }
}

/// Sends ReplaceFollowing; does not wait for its job.
///
/// # Errors
/// The server's error.
pub async fn replace_following(
    commands: &Commands,
    actor: UserId,
    targets: &[UserId],
    request_id: Option<Uuid>,
    dry_run: bool,
) -> Result<ReplaceFollowingResponse, Status> {
    let request = ReplaceFollowingRequest {
        actor_id: actor.to_string(),
        target_ids: targets.iter().map(UserId::to_string).collect(),
        request_id: request_id.map(|id| id.to_string()).unwrap_or_default(),
        dry_run,
    };
    commands.clone().replace_following(request).await.map(tonic::Response::into_inner)
}

/// The state of a job.
///
/// # Errors
/// The server's error.
pub async fn get(commands: &Commands, job_id: &str) -> Result<GetJobResponse, Status> {
    let request = GetJobRequest { job_id: job_id.to_owned() };
    commands.clone().get_job(request).await.map(tonic::Response::into_inner)
}

/// Waits until a job is done; an empty id means no job. Retries while the server is down.
///
/// # Panics
/// If the job fails, its progress decreases, or it takes too long.
pub async fn wait(commands: &Commands, job_id: &str) {
    if job_id.is_empty() {
        return;
    }
    let done = AtomicU64::new(0);
    until("a job to be done", || {
        let job = get(commands, job_id);
        let done = &done;
        async move {
            let job = match job.await {
                Err(status) if invites_repeat(&status) => return Err(status.to_string()),
                other => other.expect("the job is known"),
            };
            let before = done.swap(job.done, Ordering::Relaxed);
            assert!(job.done >= before, "progress decreased: {} after {before}", job.done);
            match job.state() {
                JobState::Done => Ok(()),
                JobState::Running => Err(format!("{job:?}")),
                other => panic!("{other:?}: {job:?}"),
            }
        }
    })
    .await;
}
