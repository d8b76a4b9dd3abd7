//! What a command is answered with, and the form in which it is remembered.
//!
//! Owns: the relationship that an answer shows, and the bytes of idempotency
//! records. A record is the wire message itself, so it stays readable for as long
//! as the contract does.

use prost::Message as _;
use proto::command::v1::FollowResponse;
use proto::event::EdgeKind;
use proto::graph::v1::Relationship;
use proto::{Token, UserId, timestamp};

use crate::domain::{Graph, ImportReport, Refusal};

/// The answer to a command that was carried out, or was obeyed already.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// Something changed.
    pub changed: bool,
    /// The token of the write, or of the head where nothing changed.
    pub written_at: Token,
    /// The pair after the command; none for an import.
    pub relationship: Option<Relationship>,
    /// For an import: what became of the chunk.
    pub import: ImportReport,
}

/// Why a command was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// A rule stands against it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Its request_id belongs to another command.
    #[error("the request_id was used for another command")]
    RequestIdReused,
    /// The database could not be reached; it certainly did not happen.
    #[error("the command was not carried out: the database does not answer")]
    NotCommitted,
    /// The database went away during the commit and did not come back in time.
    #[error("the outcome of the command is not known: the database went away during the commit")]
    OutcomeUnknown,
    /// A fault of ours; it certainly did not happen.
    #[error("the command was not carried out because of an internal error")]
    Internal,
}

impl Answer {
    /// The bytes to remember.
    pub fn encode(&self) -> Vec<u8> {
        FollowResponse {
            changed: self.changed,
            written_at: self.written_at.to_string(),
            relationship: self.relationship.clone(),
        }
        .encode_to_vec()
    }

    /// An answer that was remembered.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let response = FollowResponse::decode(bytes).ok()?;
        Some(Self {
            changed: response.changed,
            written_at: Token::parse(&response.written_at).ok()?,
            relationship: response.relationship,
            import: ImportReport::default(),
        })
    }
}

/// The state of a pair, seen from `viewer`.
pub fn relationship(graph: &Graph, viewer: UserId, other: UserId) -> Relationship {
    use EdgeKind::{Block, Follow, FollowRequest, Mute};
    let out = |kind| graph.edge(kind, viewer, other);
    let back = |kind| graph.edge(kind, other, viewer);
    let newest = [
        out(Follow),
        back(Follow),
        out(FollowRequest),
        back(FollowRequest),
        out(Mute),
        out(Block),
        back(Block),
    ]
    .into_iter()
    .flatten()
    .map(|edge| edge.revision.0)
    .max();
    Relationship {
        user_id: other.to_string(),
        following: out(Follow).is_some(),
        followed_by: back(Follow).is_some(),
        requested: out(FollowRequest).is_some(),
        request_received: back(FollowRequest).is_some(),
        muting: out(Mute).is_some(),
        muting_until: out(Mute).and_then(|edge| edge.expires_at).map(timestamp::to_proto),
        blocking: out(Block).is_some(),
        blocking_until: out(Block).and_then(|edge| edge.expires_at).map(timestamp::to_proto),
        blocked_by: back(Block).is_some(),
        following_since: out(Follow).map(|edge| timestamp::to_proto(edge.created_at)),
        followed_by_since: back(Follow).map(|edge| timestamp::to_proto(edge.created_at)),
        revision: newest.unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use proto::{Epoch, Revision};

    use super::*;

    #[test]
    fn a_remembered_answer_reads_as_the_first() {
        let answer = Answer {
            changed: true,
            written_at: Token::new(Epoch(1), Revision(9)),
            relationship: Some(Relationship { following: true, revision: 9, ..Relationship::default() }),
            import: ImportReport::default(),
        };
        assert_eq!(Answer::decode(&answer.encode()), Some(answer));
    }
}
