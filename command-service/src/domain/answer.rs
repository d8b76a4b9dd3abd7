//! Answers to commands.

use proto::event::EdgeKind;
use proto::graph::v1::Relationship;
use proto::{Token, UserId, timestamp};
use uuid::Uuid;

use super::command::ImportReport;
use super::graph::Graph;
use super::replacement::ReplaceReport;

/// Answer to a command that succeeded, whether or not it changed anything.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// Whether the command changed an edge or an account, or started a job.
    pub changed: bool,
    /// Token of the write, or of the head if nothing changed.
    pub written_at: Token,
    /// Results that depend on the kind of the command.
    pub body: Body,
}

/// The part of an answer that depends on the kind of the command.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// State of the pair after the command.
    Pair(Box<Relationship>),
    /// For each command of a batch: whether it changed something, and the pair after the whole batch.
    Batch(Vec<(bool, Relationship)>),
    /// The job that completes the command, if there is one.
    Job(Option<Uuid>),
    /// Changes of a replaced list, and the job that makes them if one event cannot.
    Replace(ReplaceReport, Option<Uuid>),
    /// Results of a chunk of an import.
    Import(ImportReport),
}

/// State of a pair as `viewer` sees it.
pub fn relationship(graph: &Graph, viewer: UserId, other: UserId) -> Relationship {
    use EdgeKind::{Block, Follow, FollowRequest, Mute};
    let out = |kind| graph.edge(kind, viewer, other);
    let back = |kind| graph.edge(kind, other, viewer);
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
        mutual: out(Follow).is_some() && back(Follow).is_some(),
        etag: graph.pair_etag(viewer, other).to_string(),
    }
}
