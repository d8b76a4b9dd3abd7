//! What is told of a pair after a command: fields for programs, a sentence for people.
//!
//! Owns the names of the fields, which are stable, and the words. It must not know
//! how the answer was had.

use std::time::Duration;

use proto::graph::v1::Relationship;
use serde::Serialize;

use super::message::Written;
use crate::args::PairCommand;
use crate::dates;
use crate::output;

/// A pair of accounts, seen from the actor, for programs.
#[derive(Debug, Default, Serialize)]
pub struct PairState {
    following: bool,
    requested: bool,
    followed_by: bool,
    request_received: bool,
    muting: bool,
    muting_until: Option<String>,
    blocking: bool,
    blocking_until: Option<String>,
    blocked_by: bool,
    following_since: Option<String>,
    followed_by_since: Option<String>,
    /// For `--expected-etag`.
    etag: String,
}

impl From<&Relationship> for PairState {
    fn from(pair: &Relationship) -> Self {
        let date = |date: &Option<prost_types::Timestamp>| date.as_ref().and_then(dates::format_proto);
        Self {
            following: pair.following,
            requested: pair.requested,
            followed_by: pair.followed_by,
            request_received: pair.request_received,
            muting: pair.muting,
            muting_until: date(&pair.muting_until),
            blocking: pair.blocking,
            blocking_until: date(&pair.blocking_until),
            blocked_by: pair.blocked_by,
            following_since: date(&pair.following_since),
            followed_by_since: date(&pair.followed_by_since),
            etag: pair.etag.clone(),
        }
    }
}

/// The answer for programs. `target_id` is the other account, whatever the command.
#[derive(Debug, Serialize)]
pub struct Answer {
    command: &'static str,
    actor_id: String,
    target_id: String,
    changed: bool,
    #[serde(flatten)]
    pair: PairState,
    written_at: String,
    revision: Option<u64>,
    elapsed_ms: f64,
}

impl Answer {
    /// What a command has answered.
    pub fn new(command: &PairCommand, written: Written, elapsed: Duration) -> Self {
        Self {
            command: command.name(),
            actor_id: command.pair().actor.user().to_string(),
            target_id: command.pair().other.user().to_string(),
            changed: written.changed,
            pair: PairState::from(&written.relationship),
            revision: output::revision(&written.written_at),
            written_at: written.written_at,
            elapsed_ms: output::elapsed_ms(elapsed),
        }
    }

    /// The same for people.
    pub fn text(&self, command: &PairCommand) -> String {
        format!(
            "{}: {}\n{}   etag {}",
            output::changed(self.changed),
            sentence(command, &self.pair, &self.actor_id, &self.target_id),
            output::written(self.revision, self.elapsed_ms, &self.written_at),
            self.pair.etag,
        )
    }
}

/// Whose doing towards the other one a command is about.
enum Side {
    /// The actor follows, mutes, blocks.
    Actor,
    /// The other account follows the actor, or asks to.
    Other,
}

fn side(command: &PairCommand) -> Side {
    match command {
        PairCommand::RemoveFollower(_) | PairCommand::AcceptRequest(_) | PairCommand::RejectRequest(_) => {
            Side::Other
        }
        PairCommand::Follow(_)
        | PairCommand::Unfollow(_)
        | PairCommand::Mute(_)
        | PairCommand::Unmute(_)
        | PairCommand::Block(_)
        | PairCommand::Unblock(_)
        | PairCommand::CancelRequest(_) => Side::Actor,
    }
}

/// How a pair stands. The subject is the account that the command is about: the
/// actor, or the follower that it has accepted, rejected or removed.
pub fn sentence(command: &PairCommand, pair: &PairState, actor: &str, other: &str) -> String {
    match side(command) {
        Side::Actor => {
            // What a command has ended comes first: nothing else in the sentence would tell of it.
            let ended = match command {
                PairCommand::Unmute(_) if !pair.muting => Some("does not mute"),
                PairCommand::Unblock(_) if !pair.blocking => Some("does not block"),
                _ => None,
            };
            let mut words: Vec<_> = ended.iter().map(|ended| format!("{ended} {other}")).collect();
            let object = if ended.is_some() { "it" } else { other };
            let since = pair.following_since.as_deref();
            words.extend(follow_words(object, pair.following, since, pair.requested));
            words.extend(back_words(pair.following, pair.followed_by, pair.request_received));
            words.extend(lasting("has muted it", pair.muting, pair.muting_until.as_deref()));
            words.extend(lasting("has blocked it", pair.blocking, pair.blocking_until.as_deref()));
            words.extend(lasting("is blocked by it", pair.blocked_by, None));
            join(actor, words)
        }
        Side::Other => {
            let since = pair.followed_by_since.as_deref();
            let mut words = follow_words(actor, pair.followed_by, since, pair.request_received);
            words.extend(back_words(pair.followed_by, pair.following, pair.requested));
            words.extend(lasting("is muted by it", pair.muting, pair.muting_until.as_deref()));
            words.extend(lasting("is blocked by it", pair.blocking, pair.blocking_until.as_deref()));
            words.extend(lasting("has blocked it", pair.blocked_by, None));
            join(other, words)
        }
    }
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
    use crate::args::BatchLine;

    const ACTOR: &str = "f47ac10b-58cc-4372-a567-0e02b2c3d479";
    const OTHER: &str = "0b0f8f0e-4f4b-4b7e-8d0e-0e02b2c3d479";
    const ETAG: &str = "1.aa8fdbcd3df76691ea5ff2a07af3e88c";

    fn command(name: &str) -> PairCommand {
        BatchLine::try_parse_from([name, ACTOR, OTHER]).unwrap().command
    }

    fn answer(command: &PairCommand) -> Answer {
        let relationship = Relationship {
            following: true,
            followed_by: true,
            etag: ETAG.to_owned(),
            ..Relationship::default()
        };
        let written_at = "1.0000000000000001.0000000000000385".to_owned();
        let written = Written { changed: true, written_at, relationship };
        Answer::new(command, written, Duration::from_micros(3_100))
    }

    #[test]
    fn a_write_is_told_in_two_lines() {
        let follow = command("follow");
        assert_eq!(
            answer(&follow).text(&follow),
            "changed: f47ac10b-58cc-4372-a567-0e02b2c3d479 follows \
             0b0f8f0e-4f4b-4b7e-8d0e-0e02b2c3d479, and is followed back\n\
             source postgres   revision 901   time 3.10 ms   \
             token 1.0000000000000001.0000000000000385   etag 1.aa8fdbcd3df76691ea5ff2a07af3e88c"
        );
        let remove = command("remove-follower");
        let text = answer(&remove).text(&remove);
        assert!(
            text.starts_with(&format!("changed: {OTHER} follows {ACTOR}, and is followed back")),
            "{text}"
        );
    }

    #[test]
    fn every_state_has_its_words() {
        let words = |name: &str, pair: &PairState| sentence(&command(name), pair, "1", "2");
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

    #[test]
    fn the_names_of_the_json_fields_are_stable() {
        assert_eq!(
            serde_json::to_value(answer(&command("follow"))).unwrap(),
            serde_json::json!({
                "command": "follow",
                "actor_id": ACTOR,
                "target_id": OTHER,
                "changed": true,
                "following": true,
                "requested": false,
                "followed_by": true,
                "request_received": false,
                "muting": false,
                "muting_until": null,
                "blocking": false,
                "blocking_until": null,
                "blocked_by": false,
                "following_since": null,
                "followed_by_since": null,
                "etag": ETAG,
                "written_at": "1.0000000000000001.0000000000000385",
                "revision": 901,
                "elapsed_ms": 3.1,
            })
        );
    }
}
