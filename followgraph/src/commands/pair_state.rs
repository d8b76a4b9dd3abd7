//! The relations of a pair of accounts, for programs and in a few words.

use proto::graph::v1::Relationship;
use serde::Serialize;

use crate::dates::format_proto;

/// A pair of accounts as the first one sees it, for programs.
#[derive(Debug, Default, Serialize)]
pub struct PairState {
    pub following: bool,
    pub requested: bool,
    pub followed_by: bool,
    pub request_received: bool,
    pub muting: bool,
    pub muting_until: Option<String>,
    pub blocking: bool,
    pub blocking_until: Option<String>,
    pub blocked_by: bool,
    pub following_since: Option<String>,
    pub followed_by_since: Option<String>,
    /// For `--expected-etag`.
    pub etag: String,
}

impl From<&Relationship> for PairState {
    fn from(pair: &Relationship) -> Self {
        Self {
            following: pair.following,
            requested: pair.requested,
            followed_by: pair.followed_by,
            request_received: pair.request_received,
            muting: pair.muting,
            muting_until: format_proto(pair.muting_until),
            blocking: pair.blocking,
            blocking_until: format_proto(pair.blocking_until),
            blocked_by: pair.blocked_by,
            following_since: format_proto(pair.following_since),
            followed_by_since: format_proto(pair.followed_by_since),
            etag: pair.etag.clone(),
        }
    }
}

/// A pair with its other account, for programs.
#[derive(Debug, Serialize)]
pub struct Pair<'a> {
    user_id: &'a str,
    mutual: bool,
    #[serde(flatten)]
    state: PairState,
}

impl<'a> From<&'a Relationship> for Pair<'a> {
    fn from(pair: &'a Relationship) -> Self {
        let mutual = pair.following && pair.followed_by;
        Self { user_id: &pair.user_id, mutual, state: PairState::from(pair) }
    }
}

/// A pair in a few words: `mutual, muting until ...`, or `-`.
pub fn words(pair: &Relationship) -> String {
    let until = |at| format_proto(at).map(|at| format!(" until {at}")).unwrap_or_default();
    let mut words = Vec::new();
    match (pair.following, pair.followed_by) {
        (true, true) => words.push("mutual".to_owned()),
        (true, false) => words.push("following".to_owned()),
        (false, true) => words.push("followed by".to_owned()),
        (false, false) => {}
    }
    for (set, word) in [(pair.requested, "requested"), (pair.request_received, "request received")] {
        words.extend(set.then(|| word.to_owned()));
    }
    words.extend(pair.muting.then(|| format!("muting{}", until(pair.muting_until))));
    words.extend(pair.blocking.then(|| format!("blocking{}", until(pair.blocking_until))));
    words.extend(pair.blocked_by.then(|| "blocked by".to_owned()));
    if words.is_empty() { "-".to_owned() } else { words.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_reads_as_words() {
        assert_eq!(words(&Relationship::default()), "-");
        let pair = Relationship {
            following: true,
            followed_by: true,
            muting: true,
            muting_until: Some(prost_types::Timestamp { seconds: 1_341_100_972, nanos: 0 }),
            ..Relationship::default()
        };
        assert_eq!(words(&pair), "mutual, muting until 2012-07-01T00:02:52Z");
        let pair = Relationship { request_received: true, blocked_by: true, ..Relationship::default() };
        assert_eq!(words(&pair), "request received, blocked by");
    }
}
