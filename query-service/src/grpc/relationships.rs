//! GetRelationships, and the one form in which every read shows a pair.

use proto::graph::v1::Relationship;
use proto::query::v1::{GetRelationshipsRequest, GetRelationshipsResponse};
use proto::{UserId, timestamp};
use tonic::Status;

use super::call::{Begun, Call, wire_source};
use super::{Queries, validate};
use crate::queries::{Link, Relation, Relations};

impl Queries {
    /// Returns all that links the viewer with each target.
    pub(super) async fn relationships(
        &self,
        request: GetRelationshipsRequest,
        begun: Begun,
    ) -> Result<GetRelationshipsResponse, Status> {
        let viewer = validate::user(&request.viewer_id, "viewer_id")?;
        let targets = validate::users(&request.target_ids, "target_ids")?;
        let call = Call::new(begun, request.consistency.as_ref(), request.explain)?;
        let question = Relations { viewer, targets };
        let answer = self.ask(&question, &call).await?;
        let pairs = question.targets.iter().zip(&answer.value);
        Ok(GetRelationshipsResponse {
            relationships: pairs
                .map(|(target, relation)| relationship(question.viewer, *target, relation))
                .collect(),
            as_of: answer.as_of.to_string(),
            source: wire_source(answer.source),
            explanation: call.explanation(),
        })
    }
}

/// A pair, seen from the viewer.
pub fn relationship(viewer: UserId, other: UserId, relation: &Relation) -> Relationship {
    let since = |link: Option<Link>| link.map(|link| timestamp::millis_to_proto(link.created_at_millis));
    let until =
        |link: Option<Link>| link.and_then(|link| link.expires_at_millis).map(timestamp::millis_to_proto);
    Relationship {
        user_id: other.to_string(),
        following: relation.following.is_some(),
        followed_by: relation.followed_by.is_some(),
        requested: relation.requested.is_some(),
        request_received: relation.request_received.is_some(),
        muting: relation.muting.is_some(),
        muting_until: until(relation.muting),
        blocking: relation.blocking.is_some(),
        blocking_until: until(relation.blocking),
        blocked_by: relation.blocked_by.is_some(),
        following_since: since(relation.following),
        followed_by_since: since(relation.followed_by),
        mutual: relation.following.is_some() && relation.followed_by.is_some(),
        etag: relation.etag(viewer, other).to_string(),
    }
}
