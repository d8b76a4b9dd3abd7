//! Writes a Relationship as JSON, for ErrorInfo.metadata.

use proto::graph::v1::Relationship;
use serde_json::Value;

/// Writes protobuf's JSON form, which clients of any language read with their protobuf library. Fields with default
/// values are absent.
pub fn relationship_json(pair: &Relationship) -> String {
    let Relationship {
        user_id,
        following,
        followed_by,
        requested,
        request_received,
        muting,
        muting_until,
        blocking,
        blocking_until,
        blocked_by,
        following_since,
        followed_by_since,
        mutual,
        etag,
    } = pair;
    let flags = [
        ("following", following),
        ("followedBy", followed_by),
        ("requested", requested),
        ("requestReceived", request_received),
        ("muting", muting),
        ("blocking", blocking),
        ("blockedBy", blocked_by),
        ("mutual", mutual),
    ];
    let dates = [
        ("mutingUntil", muting_until),
        ("blockingUntil", blocking_until),
        ("followingSince", following_since),
        ("followedBySince", followed_by_since),
    ];
    let texts = [("userId", user_id), ("etag", etag)].map(|(name, text)| (name, Value::from(text.as_str())));
    let set = flags.into_iter().filter(|(_, set)| **set).map(|(name, _)| (name, true.into()));
    let dates = dates.into_iter().filter_map(|(name, date)| Some((name, date.as_ref()?.to_string().into())));
    texts.into_iter().chain(set).chain(dates).collect::<Value>().to_string()
}

#[cfg(test)]
mod tests {
    use prost_types::Timestamp;

    use super::*;

    #[test]
    fn a_relationship_is_written_as_protobuf_json() {
        let pair = Relationship {
            user_id: "2".to_owned(),
            followed_by: true,
            muting: true,
            muting_until: Some(Timestamp { seconds: 1_341_100_972, nanos: 5_000_000 }),
            etag: "1.a".to_owned(),
            ..Relationship::default()
        };
        let read: Value = serde_json::from_str(&relationship_json(&pair)).expect("JSON");
        assert_eq!(
            read,
            serde_json::json!({
                "userId": "2",
                "followedBy": true,
                "muting": true,
                "mutingUntil": "2012-07-01T00:02:52.005Z",
                "etag": "1.a",
            })
        );
    }
}
