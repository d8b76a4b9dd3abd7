//! Check and BatchCheck.

use proto::query::v1::{BatchCheckRequest, BatchCheckResponse, CheckRequest, CheckResponse, CheckResult};
use tonic::Status;

use super::call::{Begun, Call, wire_source};
use super::{Queries, validate};
use crate::queries::Check;

impl Queries {
    /// Returns whether one account follows another.
    pub(super) async fn check_one(
        &self,
        request: CheckRequest,
        begun: Begun,
    ) -> Result<CheckResponse, Status> {
        let viewer = validate::user(&request.viewer_id, "viewer_id")?;
        let target = validate::user(&request.target_id, "target_id")?;
        let call = Call::new(begun, request.consistency.as_ref(), request.explain)?;
        let answer = self.ask(&Check { viewer, targets: vec![target] }, &call).await?;
        Ok(CheckResponse {
            following: answer.value.first().copied().unwrap_or(false),
            as_of: answer.as_of.to_string(),
            source: wire_source(answer.source),
            explanation: call.explanation(),
        })
    }

    /// Returns which of many accounts one account follows.
    pub(super) async fn check_many(
        &self,
        request: BatchCheckRequest,
        begun: Begun,
    ) -> Result<BatchCheckResponse, Status> {
        let viewer = validate::user(&request.viewer_id, "viewer_id")?;
        let targets = validate::users(&request.target_ids, "target_ids")?;
        let call = Call::new(begun, request.consistency.as_ref(), request.explain)?;
        let question = Check { viewer, targets };
        let answer = self.ask(&question, &call).await?;
        let results = question.targets.iter().zip(answer.value);
        Ok(BatchCheckResponse {
            results: results
                .map(|(target, following)| CheckResult { target_id: target.to_string(), following })
                .collect(),
            as_of: answer.as_of.to_string(),
            source: wire_source(answer.source),
            explanation: call.explanation(),
        })
    }
}
