//! The only conversion of a pair to its message.

use proto::graph::v1::Relationship;
use proto::{UserId, timestamp};

use crate::queries::{Link, Relation};

/// A pair as the viewer sees it.
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
