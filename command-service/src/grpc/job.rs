//! GetJob: the state of a job.

use proto::command::v1::{GetJobResponse, JobState};
use proto::error::{Reason, ServiceError};
use proto::ids::parse_uuid;
use proto::timestamp;
use sqlx::PgPool;

use crate::domain::JobKind;
use crate::store::{is_transient, jobs};

/// Returns a job by its id.
pub async fn get(pool: &PgPool, text: &str) -> Result<GetJobResponse, ServiceError> {
    let id = parse_uuid(text).map_err(|error| ServiceError::invalid_id("job_id", error))?;
    let job = async {
        let mut connection = service_kit::postgres::acquire(pool).await?;
        jobs::get(&mut connection, id).await
    };
    let job = job.await.map_err(|error| {
        let reason = if is_transient(&error) { Reason::StoreUnavailable } else { Reason::Internal };
        tracing::warn!(%error, "cannot read a job");
        unreadable(reason)
    })?;
    let job = job.ok_or_else(|| ServiceError::field(Reason::JobNotFound, "job_id", "names no job"))?;
    Ok(GetJobResponse {
        job_id: job.job_id.to_string(),
        user_id: job.user_id.to_string(),
        kind: JobKind::named(&job.kind).map_or(job.kind, |kind| kind.name().to_owned()),
        state: match job.state {
            jobs::State::Running => JobState::Running,
            jobs::State::Done => JobState::Done,
            jobs::State::Failed => JobState::Failed,
        }
        .into(),
        done: job.done.unsigned_abs(),
        total: job.total.unsigned_abs(),
        error: job.error.unwrap_or_default(),
        created_at: Some(timestamp::to_proto(job.created_at)),
        updated_at: Some(timestamp::to_proto(job.updated_at)),
    })
}

/// Error if PostgreSQL cannot be read.
pub fn unreadable(reason: Reason) -> ServiceError {
    ServiceError::new(reason, "the job cannot be read now")
}
