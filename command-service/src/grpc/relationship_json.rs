//! Writes a Relationship as JSON, for ErrorInfo.metadata.

use proto::graph::v1::Relationship;
use serde_json::{Map, Value};

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
    let mut fields = Map::new();
    for (name, text) in [("userId", user_id), ("etag", etag)] {
        fields.insert(name.to_owned(), text.as_str().into());
    }
    for (name, _) in flags.into_iter().filter(|(_, set)| **set) {
        fields.insert(name.to_owned(), true.into());
    }
    for (name, date) in dates {
        if let Some(date) = date {
            fields.insert(name.to_owned(), date.to_string().into());
        }
    }
    Value::Object(fields).to_string()
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
