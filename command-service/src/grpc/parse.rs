//! Checks the fields of requests and turns them into commands. Checks of one RPC alone are with it: `batch_write`,
//! `job`, and in `pairs` that a command of a batch is set.

use std::collections::BTreeSet;

use prost_types::Timestamp;
use proto::command::v1 as wire;
use proto::error::{Reason, ServiceError};
use proto::event::{EdgeKey, EdgeKind, MAX_EDGES};
use proto::ids::parse_uuid;
use proto::timestamp;
use proto::{Etag, UserId};
use ring::digest::{SHA256, digest};
use time::OffsetDateTime;

use crate::domain::{AccountAction, Action, Expects, ImportEdge, OnConflict, PairCommand, RequestKey};

/// Maximum number of blocks in one chunk.
const MAX_BLOCKS: usize = 300;
/// Maximum length of a list. Most accounts have a lower follow cap.
const MAX_TARGETS: usize = 100_000;

/// Reads two accounts; fails if they are the same.
pub fn pair(fields: [&str; 2], texts: [&str; 2]) -> Result<(UserId, UserId), ServiceError> {
    let (a, b) = (user(fields[0], texts[0])?, user(fields[1], texts[1])?);
    if a == b {
        let message = format!("must not be the same account as {}", fields[0]);
        return Err(ServiceError::field(Reason::SelfEdge, fields[1], message));
    }
    Ok((a, b))
}

/// Reads the idempotency key; `None` for an empty text. `content` identifies the command.
pub fn request_key(
    text: &str,
    actor: UserId,
    content: impl FnOnce() -> String,
) -> Result<Option<RequestKey>, ServiceError> {
    if text.is_empty() {
        return Ok(None);
    }
    let request_id = parse_uuid(text).map_err(|error| ServiceError::invalid_id("request_id", error))?;
    let fingerprint = digest(&SHA256, content().as_bytes()).as_ref().to_vec();
    Ok(Some(RequestKey { actor, request_id, fingerprint }))
}

// The digests of these texts are stored for a day, so the texts must not change between releases.

/// The text that identifies a replacement: its list, not its plan.
pub fn replacement_content(actor: UserId, targets: &[UserId]) -> String {
    let targets: Vec<_> = targets.iter().map(UserId::to_string).collect();
    format!("replace {actor} false {}", targets.join(" "))
}

/// The text that identifies an atomic batch.
pub fn batch_content(commands: &[PairCommand]) -> String {
    format!("batch {}", commands.iter().map(pair_content).collect::<Vec<_>>().join("; "))
}

/// The text that identifies a command of an account about itself.
pub fn account_content(user: UserId, action: AccountAction) -> String {
    match action {
        AccountAction::SetPrivacy { private } => format!("privacy {user} {private}"),
        AccountAction::Erase => format!("erase {user}"),
        AccountAction::Archive => format!("archive {user}"),
        AccountAction::Restore => format!("restore {user}"),
    }
}

/// The text that identifies a command about a pair.
pub fn pair_content(command: &PairCommand) -> String {
    let PairCommand { actor, other, action, expects } = command;
    let (verb, expires_at) = match action {
        Action::Follow => ("follow", None),
        Action::Unfollow => ("unfollow", None),
        Action::RemoveFollower => ("remove_follower", None),
        Action::Mute { expires_at } => ("mute", *expires_at),
        Action::Unmute => ("unmute", None),
        Action::Block { expires_at } => ("block", *expires_at),
        Action::Unblock => ("unblock", None),
        Action::AcceptRequest => ("accept", None),
        Action::RejectRequest => ("reject", None),
        Action::CancelRequest => ("cancel", None),
    };
    let mut text = format!("{verb} {actor} {other}");
    if let Some(at) = expires_at {
        text += &format!(" until {}", at.unix_timestamp_nanos());
    }
    match expects {
        Some(Expects::Etag(Some(etag))) => text += &format!(" at {etag}"),
        // Always refused, and failures are not remembered.
        Some(Expects::Etag(None)) => text += " at no etag",
        Some(Expects::Following(following)) => text += &format!(" if {following}"),
        None => {}
    }
    text
}

/// Reads an account id.
pub fn user(field: &str, text: &str) -> Result<UserId, ServiceError> {
    UserId::parse(text).map_err(|error| ServiceError::invalid_id(field, error))
}

/// Reads an expected etag. Etags are opaque: a text that is not an etag of this release is no error; it matches no
/// state.
pub fn etag(field: &str, text: &str) -> Result<Expects, ServiceError> {
    if text.is_empty() {
        let message = "must not be empty: take Relationship.etag, or leave the precondition out";
        return Err(ServiceError::field(Reason::FieldRequired, field, message));
    }
    Ok(Expects::Etag(Etag::parse(text)))
}

/// Reads an optional time; the rules check the range of an expiry.
pub fn time(field: &str, t: Option<&Timestamp>) -> Result<Option<OffsetDateTime>, ServiceError> {
    t.map(timestamp::from_proto)
        .transpose()
        .map_err(|error| ServiceError::field(Reason::InvalidTimestamp, field, error))
}

/// Refuses a list of more than `limit` items.
pub fn check_length(field: &str, items: usize, limit: usize) -> Result<(), ServiceError> {
    if items <= limit {
        return Ok(());
    }
    let message = format!("has {items} items; the limit is {limit}");
    Err(ServiceError::field(Reason::TooManyItems, field, message).with("limit", limit))
}

/// Reads the list of a replacement, in its order; repeated accounts are dropped.
pub fn targets(actor: UserId, texts: &[String]) -> Result<Vec<UserId>, ServiceError> {
    check_length("target_ids", texts.len(), MAX_TARGETS)?;
    let mut seen = BTreeSet::new();
    let mut targets = Vec::with_capacity(texts.len());
    for (index, text) in texts.iter().enumerate() {
        let field = format!("target_ids[{index}]");
        let target = user(&field, text)?;
        if target == actor {
            let message = "must not be the same account as actor_id";
            return Err(ServiceError::field(Reason::SelfEdge, field, message));
        }
        if seen.insert(target) {
            targets.push(target);
        }
    }
    Ok(targets)
}

/// Reads a chunk of an import: valid edges, how to treat existing ones, and invalid edges with their errors.
pub fn chunk(
    request: &wire::ImportEdgesRequest,
    now: OffsetDateTime,
) -> Result<(Vec<ImportEdge>, OnConflict, Vec<wire::RefusedEdge>), ServiceError> {
    let unknown = |field: &str, value: i32| {
        ServiceError::field(Reason::UnknownEnumValue, field, format!("has the unknown value {value}"))
    };
    let kind = match EdgeKind::try_from(request.kind) {
        Ok(EdgeKind::Unspecified | EdgeKind::Follow) => EdgeKind::Follow,
        Ok(kind @ (EdgeKind::Mute | EdgeKind::Block)) => kind,
        Ok(EdgeKind::FollowRequest) => {
            let message = "must be a follow, a mute or a block: requests cannot be imported";
            return Err(ServiceError::field(Reason::UnknownEnumValue, "kind", message));
        }
        Err(_) => return Err(unknown("kind", request.kind)),
    };
    // A block may remove two more edges.
    let limit = if kind == EdgeKind::Block { MAX_BLOCKS } else { MAX_EDGES };
    check_length("edges", request.edges.len(), limit)?;
    let on_conflict = match wire::OnConflict::try_from(request.on_conflict) {
        Ok(wire::OnConflict::Unspecified | wire::OnConflict::Skip) => OnConflict::Skip,
        Ok(wire::OnConflict::Fail) => OnConflict::Fail,
        Err(_) => return Err(unknown("on_conflict", request.on_conflict)),
    };
    let mut edges = Vec::with_capacity(request.edges.len());
    let mut refused = Vec::new();
    for (edge, index) in request.edges.iter().zip(0..) {
        match import_edge(edge, index, kind, now) {
            Ok(edge) => edges.push(edge),
            Err(ServiceError { reason, message, .. }) => {
                refused.push(wire::RefusedEdge { index, reason: reason.into(), message });
            }
        }
    }
    Ok((edges, on_conflict, refused))
}

fn import_edge(
    edge: &wire::ImportEdge,
    index: u32,
    kind: EdgeKind,
    now: OffsetDateTime,
) -> Result<ImportEdge, ServiceError> {
    let (source, target) = pair(["source_id", "target_id"], [&edge.source_id, &edge.target_id])?;
    let invalid = |field, message| Err(ServiceError::field(Reason::InvalidTimestamp, field, message));
    let created_at = time("created_at", edge.created_at.as_ref())?;
    if created_at.is_some_and(|at| at > now + timestamp::CLOCK_TOLERANCE) {
        return invalid("created_at", "must not be in the future");
    }
    let expires_at = time("expires_at", edge.expires_at.as_ref())?;
    if expires_at.is_some() && kind == EdgeKind::Follow {
        return invalid("expires_at", "must not be set for follows, which do not expire");
    }
    Ok(ImportEdge { index, key: EdgeKey { kind, source, target }, created_at, expires_at })
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "f47ac10b-58cc-4372-a567-0e02b2c3d479";
    const B: &str = "f47ac10b-58cc-4372-a567-0e02b2c3d480";

    fn edge(source: &str, target: &str) -> wire::ImportEdge {
        wire::ImportEdge {
            source_id: source.to_owned(),
            target_id: target.to_owned(),
            ..wire::ImportEdge::default()
        }
    }

    #[test]
    fn an_invalid_pair_names_its_field_and_reason() {
        for (a, b, reason, field) in [
            ("", B, Reason::FieldRequired, "actor_id"),
            (A, "7", Reason::InvalidUuid, "target_id"),
            (A, "00000000-0000-0000-0000-000000000000", Reason::NilUuid, "target_id"),
            (A, "F47AC10B-58CC-4372-A567-0E02B2C3D479", Reason::SelfEdge, "target_id"),
        ] {
            let error = pair(["actor_id", "target_id"], [a, b]).expect_err("refused");
            assert_eq!((error.reason, error.field.as_deref()), (reason, Some(field)));
        }
    }

    #[test]
    fn an_empty_etag_is_refused_and_an_unknown_one_matches_no_state() {
        let error = etag("expected_etag", "").expect_err("refused");
        assert_eq!((error.reason, error.field.as_deref()), (Reason::FieldRequired, Some("expected_etag")));
        assert_eq!(etag("expected_etag", "901"), Ok(Expects::Etag(None)));
    }

    #[test]
    fn invalid_edges_of_a_chunk_are_reported_by_index() {
        let mut late = edge(A, B);
        late.created_at = Some(prost_types::Timestamp { seconds: 10_000, nanos: 0 });
        let mut broken = edge(A, B);
        broken.created_at = Some(prost_types::Timestamp { seconds: i64::MAX, nanos: 0 });
        let request = wire::ImportEdgesRequest {
            edges: vec![edge(A, B), edge(A, A), late, broken, edge("x", B)],
            ..Default::default()
        };
        let (edges, _, refused) = chunk(&request, OffsetDateTime::UNIX_EPOCH).expect("a good chunk");
        assert_eq!(edges.len(), 1);
        let reported: Vec<_> = refused.iter().map(|r| (r.index, r.reason())).collect();
        assert_eq!(
            reported,
            [
                (1, Reason::SelfEdge),
                (2, Reason::InvalidTimestamp),
                (3, Reason::InvalidTimestamp),
                (4, Reason::InvalidUuid)
            ]
        );
    }

    #[test]
    fn an_invalid_chunk_is_refused_as_a_whole() {
        let many = wire::ImportEdgesRequest { edges: vec![edge(A, B); MAX_EDGES + 1], ..Default::default() };
        let unknown = wire::ImportEdgesRequest { kind: 99, ..Default::default() };
        let policy = wire::ImportEdgesRequest { on_conflict: 9, ..Default::default() };
        for (request, reason, field) in [
            (many, Reason::TooManyItems, "edges"),
            (unknown, Reason::UnknownEnumValue, "kind"),
            (policy, Reason::UnknownEnumValue, "on_conflict"),
        ] {
            let error = chunk(&request, OffsetDateTime::UNIX_EPOCH).expect_err("refused");
            assert_eq!((error.reason, error.field.as_deref()), (reason, Some(field)));
        }
    }
}
