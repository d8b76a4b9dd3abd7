//! The relations of a pair of accounts, for programs and in a few words.

use proto::graph::v1::Relationship;

use crate::dates::format_proto;
use crate::output::json_row;

json_row! {
    /// A pair of accounts as the first one sees it.
    #[derive(Default)]
    pub struct PairState from pair: &Relationship {
        following: bool = pair.following,
        requested: bool = pair.requested,
        followed_by: bool = pair.followed_by,
        request_received: bool = pair.request_received,
        muting: bool = pair.muting,
        muting_until: Option<String> = format_proto(pair.muting_until),
        blocking: bool = pair.blocking,
        blocking_until: Option<String> = format_proto(pair.blocking_until),
        blocked_by: bool = pair.blocked_by,
        following_since: Option<String> = format_proto(pair.following_since),
        followed_by_since: Option<String> = format_proto(pair.followed_by_since),
        /// For `--expected-etag`.
        etag: String = pair.etag.clone(),
    }
}

json_row! {
    /// A pair with its other account.
    pub struct Pair from pair: &Relationship {
        user_id: String = pair.user_id.clone(),
        mutual: bool = pair.following && pair.followed_by,
        #[serde(flatten)]
        state: PairState = PairState::new(pair),
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
