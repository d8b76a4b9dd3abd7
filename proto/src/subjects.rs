//! Names on NATS: the stream, its subjects, its headers, and the signals on core NATS.

use crate::generated::event::v1::Verb;
use crate::ids::Epoch;

/// The stream of the first epoch.
pub const STREAM: &str = "FOLLOWGRAPH";
/// What the stream takes in.
pub const EVENTS_WILDCARD: &str = "followgraph.events.>";
/// Core NATS: [`crate::events::v1::Beacon`].
pub const HEARTBEAT: &str = "followgraph.beacon";
/// Core NATS: [`crate::events::v1::Committed`].
pub const COMMITTED: &str = "followgraph.committed";
/// Core NATS: [`crate::events::v1::ProjectorAnnouncement`] of every projector.
pub const PROJECTORS_WILDCARD: &str = "followgraph.projector.*";

const PROJECTOR_PREFIX: &str = "followgraph.projector.";

/// CloudEvents: the event's id.
pub const HEADER_ID: &str = "ce-id";
/// CloudEvents: where it came from.
pub const HEADER_SOURCE: &str = "ce-source";
/// CloudEvents: its type.
pub const HEADER_TYPE: &str = "ce-type";
/// CloudEvents: the version of that specification.
pub const HEADER_SPECVERSION: &str = "ce-specversion";
/// CloudEvents: when it was committed.
pub const HEADER_TIME: &str = "ce-time";
/// CloudEvents: the media type of the payload.
pub const HEADER_DATACONTENTTYPE: &str = "content-type";
/// CloudEvents extension: the revision.
pub const HEADER_SEQUENCE: &str = "ce-sequence";
/// CloudEvents extension: the epoch.
pub const HEADER_EPOCH: &str = "ce-epoch";
/// W3C trace context of the command.
pub const HEADER_TRACEPARENT: &str = "traceparent";

/// Limit of a projector's name, in bytes.
pub const MAX_PROJECTOR_NAME: usize = 128;
/// What [`is_projector_name`] asks for, in words.
pub const PROJECTOR_NAME_RULE: &str = "must be made of 1 to 128 letters, digits, - and _";

/// The stream of an epoch: a new history gets a new stream, so that no consumer
/// takes its sequence numbers for those of the old one.
pub fn stream_name(epoch: Epoch) -> String {
    if epoch.0 == 1 { STREAM.to_owned() } else { format!("{STREAM}_{epoch}") }
}

/// The epoch of a stream of ours, by its name.
pub fn stream_epoch(name: &str) -> Option<Epoch> {
    match name.strip_prefix(STREAM)? {
        "" => Some(Epoch(1)),
        rest => rest.strip_prefix('_')?.parse().ok().map(Epoch),
    }
}

/// The last part of an event's subject, for example `follow`.
pub fn verb_name(verb: Verb) -> String {
    verb.as_str_name().trim_start_matches("VERB_").to_ascii_lowercase()
}

/// The subject of an event, by its [`verb_name`].
pub fn event_subject(verb: &str) -> String {
    format!("followgraph.events.{verb}")
}

/// CloudEvents: the type of an event, by its [`verb_name`].
pub fn event_type(verb: &str) -> String {
    format!("followgraph.event.v1.{verb}")
}

/// Whether a projector may have this name: it is one token of a subject. Those who name a projector in their settings
/// check it, since nothing is ever heard of one with another name.
pub fn is_projector_name(name: &str) -> bool {
    (1..=MAX_PROJECTOR_NAME).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// Core NATS: the announcements of one projector; its name is one by [`is_projector_name`].
pub fn projector(name: &str) -> String {
    format!("{PROJECTOR_PREFIX}{name}")
}

/// The projector whose announcements have this subject.
pub fn projector_name(subject: &str) -> Option<&str> {
    subject.strip_prefix(PROJECTOR_PREFIX).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_carry_the_verb_and_no_ids() {
        assert_eq!(event_subject(&verb_name(Verb::Follow)), "followgraph.events.follow");
        assert_eq!(event_subject(&verb_name(Verb::RemoveFollower)), "followgraph.events.remove_follower");
    }

    #[test]
    fn a_projector_is_named_by_one_token() {
        for name in ["projector-0", "North_2", "x", &"x".repeat(MAX_PROJECTOR_NAME)] {
            assert!(is_projector_name(name), "{name}");
        }
        for name in ["", "a.b", "a*", "a b", "a>", "ä", &"x".repeat(MAX_PROJECTOR_NAME + 1)] {
            assert!(!is_projector_name(name), "{name}");
        }
        assert!(PROJECTOR_NAME_RULE.contains(&format!("1 to {MAX_PROJECTOR_NAME} ")));
    }

    #[test]
    fn each_epoch_has_its_own_stream() {
        assert_eq!(stream_name(Epoch(1)), "FOLLOWGRAPH");
        assert_eq!(stream_name(Epoch(1_800_000_000)), "FOLLOWGRAPH_1800000000");
        for epoch in [Epoch(1), Epoch(1_800_000_000)] {
            assert_eq!(stream_epoch(&stream_name(epoch)), Some(epoch));
        }
        assert_eq!(stream_epoch("FOLLOWGRAPHS"), None);
    }
}
