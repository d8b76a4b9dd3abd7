//! What a command is answered with, and the form in which it is remembered.
//!
//! Owns: the relationship that an answer shows, and the bytes of idempotency
//! records. A record is the wire message itself, so it stays readable for as long
//! as the contract does.

use prost::Message as _;
use proto::command::v1 as wire;
use proto::event::EdgeKind;
use proto::graph::v1::Relationship;
use proto::{Token, UserId, timestamp};
use uuid::Uuid;

use crate::domain::{Command, Graph, ImportReport, Refused, ReplaceCounts, ReplaceReport};

/// The answer to a command that was carried out, or was obeyed already.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// Something changed.
    pub changed: bool,
    /// The token of the write, or of the head where nothing changed.
    pub written_at: Token,
    /// What it tells beside.
    pub body: Body,
}

/// What an answer tells, by the kind of its command.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// The pair after the command.
    Pair(Box<Relationship>),
    /// For each command of a batch: whether it changed something, and the pair after all.
    Batch(Vec<(bool, Relationship)>),
    /// The job that does the work, if there is any.
    Job(Option<Uuid>),
    /// What was added and removed, and the job that does it where one event cannot.
    Replace(ReplaceReport, Option<Uuid>),
    /// What became of the chunk.
    Import(ImportReport),
}

/// Why a command was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// A rule stands against it.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The pair is in another state than the command expects: the refusal, and the committed state.
    #[error("{0}")]
    NotAsExpected(Refused, Box<Relationship>),
    /// Its request_id belongs to another command.
    #[error("the request_id was used for another command")]
    RequestIdReused,
    /// The database could not be reached; it certainly did not happen.
    #[error("the command was not carried out: the database does not answer")]
    NotCommitted,
    /// PostgreSQL has lost commits that were published; it certainly did not happen.
    #[error("PostgreSQL has lost commits that were published: an operator must open a new epoch")]
    Forked,
    /// The database went away during the commit and did not come back in time.
    #[error("the outcome of the command is not known: the database went away during the commit")]
    OutcomeUnknown,
    /// Its transaction alone ran into a timeout of the database; it certainly did not happen.
    #[error("the command was not carried out: its transaction exceeds the database's timeout")]
    TimedOut,
    /// A fault of ours; it certainly did not happen.
    #[error("the command was not carried out because of an internal error")]
    Internal,
}

impl Answer {
    /// The bytes to remember. An import has no idempotency key.
    pub fn encode(&self) -> Vec<u8> {
        let (changed, written_at) = (self.changed, self.written_at.to_string());
        match &self.body {
            Body::Pair(relationship) => {
                let relationship = Some((**relationship).clone());
                wire::FollowResponse { changed, written_at, relationship }.encode_to_vec()
            }
            Body::Batch(results) => wire::BatchWriteResponse {
                results: results.iter().map(|(changed, r)| batch_result(*changed, &written_at, r)).collect(),
                written_at,
            }
            .encode_to_vec(),
            Body::Job(job) => {
                wire::EraseAccountResponse { changed, written_at, job_id: text(*job) }.encode_to_vec()
            }
            Body::Replace(report, job) => {
                replace_response(changed, self.written_at, report, *job).encode_to_vec()
            }
            Body::Import(_) => Vec::new(),
        }
    }

    /// An answer that was remembered for this command.
    pub fn decode(command: &Command, bytes: &[u8]) -> Option<Self> {
        let (changed, written_at, body) = match command {
            Command::Pair(_) => {
                let r = wire::FollowResponse::decode(bytes).ok()?;
                (r.changed, r.written_at, Body::Pair(Box::new(r.relationship?)))
            }
            Command::Batch(_) => {
                let r = wire::BatchWriteResponse::decode(bytes).ok()?;
                let results = r.results.into_iter().map(|r| Some((r.changed, r.relationship?)));
                let results: Vec<_> = results.collect::<Option<_>>()?;
                (results.iter().any(|(changed, _)| *changed), r.written_at, Body::Batch(results))
            }
            Command::Account { .. } => {
                let r = wire::EraseAccountResponse::decode(bytes).ok()?;
                (r.changed, r.written_at, Body::Job(r.job_id.parse().ok()))
            }
            Command::ReplaceFollowing { .. } => {
                let r = wire::ReplaceFollowingResponse::decode(bytes).ok()?;
                // 0.1.0 wrote no counts.
                let count = |list: &[String], count: u32| list.len().max(count as usize);
                let counts = ReplaceCounts {
                    added: count(&r.added, r.added_count),
                    removed: count(&r.removed, r.removed_count),
                    requested: count(&r.requested, r.requested_count),
                };
                let (added, removed, requested) = (ids(&r.added)?, ids(&r.removed)?, ids(&r.requested)?);
                let report = ReplaceReport { added, removed, requested, counts };
                (r.changed, r.written_at, Body::Replace(report, r.job_id.parse().ok()))
            }
            Command::Import { .. } => return None,
        };
        Some(Self { changed, written_at: Token::parse(&written_at).ok()?, body })
    }
}

/// A replacement, on the wire.
pub fn replace_response(
    changed: bool,
    written_at: Token,
    report: &ReplaceReport,
    job: Option<Uuid>,
) -> wire::ReplaceFollowingResponse {
    let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    wire::ReplaceFollowingResponse {
        changed,
        written_at: written_at.to_string(),
        added: texts(&report.added),
        removed: texts(&report.removed),
        requested: texts(&report.requested),
        job_id: text(job),
        added_count: count(report.counts.added),
        removed_count: count(report.counts.removed),
        requested_count: count(report.counts.requested),
    }
}

/// One command of a batch, on the wire.
pub fn batch_result(changed: bool, written_at: &str, relationship: &Relationship) -> wire::WriteResult {
    wire::WriteResult {
        changed,
        written_at: written_at.to_owned(),
        relationship: Some(relationship.clone()),
        error: None,
    }
}

/// An optional id as text, empty where there is none.
pub fn text(id: Option<Uuid>) -> String {
    id.map(|id| id.to_string()).unwrap_or_default()
}

/// Ids as texts.
pub fn texts(users: &[UserId]) -> Vec<String> {
    users.iter().map(UserId::to_string).collect()
}

fn ids(texts: &[String]) -> Option<Vec<UserId>> {
    texts.iter().map(|text| UserId::parse(text).ok()).collect()
}

/// The state of a pair, seen from `viewer`.
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

#[cfg(test)]
mod tests {
    use proto::{Epoch, Revision};

    use super::*;
    use crate::domain::{AccountAction, Action, PairCommand, Replacement, Work};

    fn user(n: u128) -> UserId {
        UserId::new(Uuid::from_u128(n)).expect("not nil")
    }

    #[test]
    fn a_remembered_answer_reads_as_the_first() {
        let pair = PairCommand { actor: user(1), other: user(2), action: Action::Follow, expects: None };
        let relationship =
            Relationship { following: true, etag: "1.9".to_owned(), ..Relationship::default() };
        let counts = ReplaceCounts { added: 1, removed: 1, requested: 0 };
        let report =
            ReplaceReport { added: vec![user(3)], removed: vec![user(4)], counts, ..Default::default() };
        let written_at = Token::new(Epoch(1), Revision(9));
        let replacement = Replacement {
            actor: user(1),
            seen: written_at,
            listed: 1,
            size: 1,
            report: report.clone(),
            work: Work::Now(Vec::new()),
        };
        for (command, body) in [
            (Command::Pair(pair), Body::Pair(Box::new(relationship.clone()))),
            (Command::Batch(vec![pair]), Body::Batch(vec![(true, relationship)])),
            (
                Command::Account { user: user(1), action: AccountAction::Erase },
                Body::Job(Some(Uuid::from_u128(7))),
            ),
            (Command::ReplaceFollowing(replacement), Body::Replace(report, None)),
        ] {
            let answer = Answer { changed: true, written_at, body };
            assert_eq!(Answer::decode(&command, &answer.encode()), Some(answer));
        }
    }
}
