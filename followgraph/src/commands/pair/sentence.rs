//! The state of a pair as a sentence, for people.

use super::command::PairCommand;
use crate::commands::pair_state::PairState;

/// State of a pair as a sentence. Its subject is the actor, or the follower that was accepted, rejected or removed.
pub fn sentence(command: &PairCommand, pair: &PairState, actor: &str, other: &str) -> String {
    let (muted_until, blocked_until) = (pair.muting_until.as_deref(), pair.blocking_until.as_deref());
    if let PairCommand::RemoveFollower(_) | PairCommand::AcceptRequest(_) | PairCommand::RejectRequest(_) =
        command
    {
        let since = pair.followed_by_since.as_deref();
        let mut words = follow_words(actor, pair.followed_by, since, pair.request_received);
        words.extend(back_words(pair.followed_by, pair.following, pair.requested));
        words.extend(lasting("is muted by it", pair.muting, muted_until));
        words.extend(lasting("is blocked by it", pair.blocking, blocked_until));
        words.extend(lasting("has blocked it", pair.blocked_by, None));
        return join(other, words);
    }
    // What the command ended comes first: nothing else in the sentence would show it.
    let ended = match command {
        PairCommand::Unmute(_) if !pair.muting => Some("does not mute"),
        PairCommand::Unblock(_) if !pair.blocking => Some("does not block"),
        _ => None,
    };
    let mut words: Vec<_> = ended.iter().map(|ended| format!("{ended} {other}")).collect();
    let object = if ended.is_some() { "it" } else { other };
    words.extend(follow_words(object, pair.following, pair.following_since.as_deref(), pair.requested));
    words.extend(back_words(pair.following, pair.followed_by, pair.request_received));
    words.extend(lasting("has muted it", pair.muting, muted_until));
    words.extend(lasting("has blocked it", pair.blocking, blocked_until));
    words.extend(lasting("is blocked by it", pair.blocked_by, None));
    join(actor, words)
}

fn follow_words(object: &str, follows: bool, since: Option<&str>, asked: bool) -> Vec<String> {
    vec![match (follows, since, asked) {
        (true, Some(since), _) => format!("follows {object} since {since}"),
        (true, None, _) => format!("follows {object}"),
        (false, _, true) => format!("has asked to follow {object}"),
        (false, _, false) => format!("does not follow {object}"),
    }]
}

fn back_words(follows: bool, followed: bool, asked: bool) -> Option<String> {
    let words = match (follows, followed, asked) {
        (true, true, _) => "is followed back",
        (false, true, _) => "is followed by it",
        (_, false, true) => "is asked by it",
        (_, false, false) => return None,
    };
    Some(words.to_owned())
}

fn lasting(what: &str, is: bool, until: Option<&str>) -> Option<String> {
    match (is, until) {
        (true, Some(until)) => Some(format!("{what} until {until}")),
        (true, None) => Some(what.to_owned()),
        (false, _) => None,
    }
}

fn join(subject: &str, mut words: Vec<String>) -> String {
    match words.pop() {
        Some(last) if words.is_empty() => format!("{subject} {last}"),
        Some(last) => format!("{subject} {}, and {last}", words.join(", ")),
        None => subject.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::commands::pair::command::BatchLine;

    #[test]
    fn every_state_has_a_sentence() {
        let words = |name: &str, pair: &PairState| {
            let line = BatchLine::try_parse_from([name, "1", "2"]).unwrap();
            sentence(&line.command, pair, "1", "2")
        };
        let mut pair = PairState::default();
        assert_eq!(words("follow", &pair), "1 does not follow 2");
        assert_eq!(words("reject-request", &pair), "2 does not follow 1");
        assert_eq!(words("unblock", &pair), "1 does not block 2, and does not follow it");
        assert_eq!(words("unmute", &pair), "1 does not mute 2, and does not follow it");
        pair.requested = true;
        pair.followed_by = true;
        pair.muting = true;
        pair.muting_until = Some("2027-01-01T00:00:00Z".to_owned());
        assert_eq!(
            words("mute", &pair),
            "1 has asked to follow 2, is followed by it, and has muted it until 2027-01-01T00:00:00Z"
        );
        assert_eq!(
            words("accept-request", &pair),
            "2 follows 1, is asked by it, and is muted by it until 2027-01-01T00:00:00Z"
        );
        let pair = PairState { blocking: true, blocked_by: true, ..PairState::default() };
        assert_eq!(words("block", &pair), "1 does not follow 2, has blocked it, and is blocked by it");
    }
}
