//! SuggestAccounts. Only the read model can answer it.

use proto::UserId;
use proto::error::{Reason, ServiceError};
use proto::query::v1::{SuggestAccountsRequest, SuggestAccountsResponse, Suggestion as WireSuggestion};

use super::call::{Begun, Call, wire_source};
use super::{Queries, validate};
use crate::queries::{Suggest, Suggestion};

/// Suggestions where no number is given.
const DEFAULT_LIMIT: usize = 20;
/// Most suggestions.
const MAX_LIMIT: usize = 100;

impl Queries {
    /// Suggests accounts.
    pub(super) async fn suggest(
        &self,
        request: SuggestAccountsRequest,
        begun: Begun,
    ) -> Result<SuggestAccountsResponse, ServiceError> {
        let viewer = validate::user(&request.viewer_id, "viewer_id")?;
        let limit = limit(request.limit)?;
        let call = Call::new(begun, request.consistency.as_ref(), request.explain)?;
        if call.need.truth {
            let (field, message) = ("consistency.fully_consistent", "is not possible for suggestions");
            return Err(ServiceError::field(Reason::InvalidConsistency, field, message));
        }
        let answer = self.ask(&Suggest { viewer, limit }, &call).await?;
        Ok(SuggestAccountsResponse {
            suggestions: answer.value.suggestions.into_iter().map(wire).collect(),
            as_of: answer.as_of.to_string(),
            source: wire_source(answer.source),
            explanation: call.explanation(),
        })
    }
}

fn limit(limit: i32) -> Result<usize, ServiceError> {
    match usize::try_from(limit) {
        Err(_) => Err(ServiceError::field(Reason::NegativePageSize, "limit", "must not be negative")),
        Ok(0) => Ok(DEFAULT_LIMIT),
        Ok(limit) => Ok(limit.min(MAX_LIMIT)),
    }
}

fn wire(suggestion: Suggestion) -> WireSuggestion {
    WireSuggestion {
        user_id: suggestion.user.to_string(),
        followed_by_count: suggestion.between_count,
        followed_by: suggestion.between.iter().map(UserId::to_string).collect(),
    }
}
