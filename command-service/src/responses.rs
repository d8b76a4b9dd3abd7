//! Answers as messages of the contract: gRPC responses, and the idempotency records that repeat them.

use proto::command::v1 as wire;
use proto::graph::v1::Relationship;
use proto::{Token, UserId};
use uuid::Uuid;

use crate::domain::ReplaceReport;

/// The response to a replaced following list.
pub fn replace_following(
    changed: bool,
    written_at: Token,
    report: &ReplaceReport,
    job: Option<Uuid>,
) -> wire::ReplaceFollowingResponse {
    let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let texts = |users: &[UserId]| users.iter().map(UserId::to_string).collect();
    wire::ReplaceFollowingResponse {
        changed,
        written_at: written_at.to_string(),
        added: texts(&report.added),
        removed: texts(&report.removed),
        requested: texts(&report.requested),
        job_id: optional_id(job),
        added_count: count(report.counts.added),
        removed_count: count(report.counts.removed),
        requested_count: count(report.counts.requested),
    }
}

/// The result of one command of a batch.
pub fn batch_result(changed: bool, written_at: &str, relationship: &Relationship) -> wire::WriteResult {
    wire::WriteResult {
        changed,
        written_at: written_at.to_owned(),
        relationship: Some(relationship.clone()),
        error: None,
    }
}

/// An optional id as text; empty for `None`.
pub fn optional_id(id: Option<Uuid>) -> String {
    id.map(|id| id.to_string()).unwrap_or_default()
}
