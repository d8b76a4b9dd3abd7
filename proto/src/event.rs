//! Events in checked form, and their bytes.
//!
//! A reader that gets [`DecodeError`] must stop: the message is foreign, damaged, or of a newer version, and skipping
//! it would leave the reader's tables wrong.

use prost::Message as _;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::generated::event::v1 as wire;
pub use crate::generated::event::v1::{AccountOp, EdgeOp, Verb};
pub use crate::generated::graph::v1::EdgeKind;
use crate::ids::{Epoch, Position, Revision, UserId, parse_uuid};
use crate::timestamp;

/// Limit of the edges that one event changes.
pub const MAX_EDGES: usize = 1_000;

/// One revision: an atomic set of changes.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// The history that it belongs to.
    pub epoch: Epoch,
    /// Its number in the history.
    pub revision: Revision,
    /// Unique id.
    pub event_id: Uuid,
    /// Id of the previous event; `None` for the first.
    pub prev_id: Option<Uuid>,
    /// Commit time, by PostgreSQL's clock.
    pub committed_at: OffsetDateTime,
    /// The command that caused it.
    pub verb: Verb,
    /// The acting account; `None` for the system.
    pub actor: Option<UserId>,
    /// Changed edges, each at most once.
    pub edges: Vec<EdgeChange>,
    /// Accounts whose flags changed.
    pub accounts: Vec<AccountChange>,
    /// Counts after the event, of the accounts whose counts changed.
    pub counts: Vec<AccountCounts>,
}

/// Identifies an edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EdgeKey {
    /// Kind of the edge.
    pub kind: EdgeKind,
    /// Account at its start.
    pub source: UserId,
    /// Account at its end.
    pub target: UserId,
}

/// The change of one edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EdgeChange {
    /// The edge.
    pub key: EdgeKey,
    /// The change.
    pub op: EdgeOp,
    /// Position in lists.
    pub position: Position,
    /// Creation time.
    pub created_at: OffsetDateTime,
    /// Expiry time; `None` for a permanent edge.
    pub expires_at: Option<OffsetDateTime>,
}

/// The change of one account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccountChange {
    /// The account.
    pub user: UserId,
    /// The change.
    pub op: AccountOp,
}

/// The counts of one account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccountCounts {
    /// The account.
    pub user: UserId,
    /// Number of followers.
    pub followers: u64,
    /// Number of accounts that it follows.
    pub following: u64,
    /// Number of accounts that it has muted.
    pub muting: u64,
    /// Number of accounts that it has blocked.
    pub blocking: u64,
    /// Number of pending requests that it has sent.
    pub requests_sent: u64,
    /// Number of pending requests to it.
    pub requests_received: u64,
}

/// Why bytes are not an event that this version understands.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The bytes are no protobuf message of this type.
    #[error("not an event message")]
    Protobuf(#[from] prost::DecodeError),
    /// A field is missing or out of its range.
    #[error("event field {0} is missing or invalid")]
    Field(&'static str),
    /// A kind of change that this version does not know.
    #[error("unknown {0} {1}: this reader is older than the writer")]
    Unknown(&'static str, i32),
}

impl Event {
    /// Reads and checks an event.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        Self::try_from(wire::Event::decode(bytes)?)
    }

    /// The revision of an event's bytes, even if a newer version wrote an event that this version cannot decode.
    pub fn revision_of(bytes: &[u8]) -> Option<Revision> {
        let event = wire::Event::decode(bytes).ok()?;
        (1..=Revision::MAX.0).contains(&event.revision).then_some(Revision(event.revision))
    }

    /// Writes an event.
    pub fn encode(&self) -> Vec<u8> {
        wire::Event::from(self).encode_to_vec()
    }
}

fn user(text: &str, field: &'static str) -> Result<UserId, DecodeError> {
    UserId::parse(text).map_err(|_| DecodeError::Field(field))
}

fn id(text: &str, field: &'static str) -> Result<Uuid, DecodeError> {
    parse_uuid(text).map_err(|_| DecodeError::Field(field))
}

/// Reads a value of an enum; `what` names the enum.
fn known<E: TryFrom<i32> + Default + PartialEq>(what: &'static str, value: i32) -> Result<E, DecodeError> {
    let known = E::try_from(value).ok().filter(|known| *known != E::default());
    known.ok_or(DecodeError::Unknown(what, value))
}

fn time(t: Option<&prost_types::Timestamp>, field: &'static str) -> Result<OffsetDateTime, DecodeError> {
    let t = t.ok_or(DecodeError::Field(field))?;
    timestamp::from_proto(t).map_err(|_| DecodeError::Field(field))
}

impl TryFrom<wire::Event> for Event {
    type Error = DecodeError;

    fn try_from(e: wire::Event) -> Result<Self, DecodeError> {
        if e.revision == 0 || e.revision > Revision::MAX.0 {
            return Err(DecodeError::Field("revision"));
        }
        if e.edges.len() > MAX_EDGES {
            return Err(DecodeError::Field("edges"));
        }
        let verb = known("verb", e.verb)?;
        let prev_id = (!e.prev_id.is_empty()).then(|| id(&e.prev_id, "prev_id")).transpose()?;
        let actor = (!e.actor_id.is_empty()).then(|| user(&e.actor_id, "actor_id")).transpose()?;
        Ok(Self {
            epoch: Epoch(e.epoch),
            revision: Revision(e.revision),
            event_id: id(&e.event_id, "event_id")?,
            prev_id,
            committed_at: time(e.committed_at.as_ref(), "committed_at")?,
            verb,
            actor,
            edges: e.edges.into_iter().map(TryFrom::try_from).collect::<Result<_, _>>()?,
            accounts: e.accounts.into_iter().map(TryFrom::try_from).collect::<Result<_, _>>()?,
            counts: e.counts.into_iter().map(TryFrom::try_from).collect::<Result<_, _>>()?,
        })
    }
}

impl TryFrom<wire::EdgeChange> for EdgeChange {
    type Error = DecodeError;

    fn try_from(c: wire::EdgeChange) -> Result<Self, DecodeError> {
        let kind = known("edge kind", c.kind)?;
        let op = known("edge op", c.op)?;
        let position =
            i64::try_from(c.position).map(Position::from_i64).map_err(|_| DecodeError::Field("position"))?;
        Ok(Self {
            key: EdgeKey {
                kind,
                source: user(&c.source_id, "source_id")?,
                target: user(&c.target_id, "target_id")?,
            },
            op,
            position,
            created_at: time(c.created_at.as_ref(), "created_at")?,
            expires_at: c.expires_at.as_ref().map(|t| time(Some(t), "expires_at")).transpose()?,
        })
    }
}

impl TryFrom<wire::AccountChange> for AccountChange {
    type Error = DecodeError;

    fn try_from(c: wire::AccountChange) -> Result<Self, DecodeError> {
        let op = known("account op", c.op)?;
        Ok(Self { user: user(&c.user_id, "user_id")?, op })
    }
}

impl TryFrom<wire::AccountCounts> for AccountCounts {
    type Error = DecodeError;

    fn try_from(c: wire::AccountCounts) -> Result<Self, DecodeError> {
        Ok(Self {
            user: user(&c.user_id, "user_id")?,
            followers: c.followers,
            following: c.following,
            muting: c.muting,
            blocking: c.blocking,
            requests_sent: c.requests_sent,
            requests_received: c.requests_received,
        })
    }
}

impl From<&Event> for wire::Event {
    fn from(e: &Event) -> Self {
        Self {
            epoch: e.epoch.0,
            revision: e.revision.0,
            event_id: e.event_id.to_string(),
            prev_id: e.prev_id.map(|id| id.to_string()).unwrap_or_default(),
            committed_at: Some(timestamp::to_proto(e.committed_at)),
            verb: e.verb.into(),
            actor_id: e.actor.map(|id| id.to_string()).unwrap_or_default(),
            edges: e.edges.iter().map(Into::into).collect(),
            accounts: e.accounts.iter().map(Into::into).collect(),
            counts: e.counts.iter().map(Into::into).collect(),
            #[cfg(feature = "next-version")]
            written_by: "the next version".to_owned(),
        }
    }
}

impl From<&EdgeChange> for wire::EdgeChange {
    fn from(c: &EdgeChange) -> Self {
        Self {
            kind: c.key.kind.into(),
            op: c.op.into(),
            source_id: c.key.source.to_string(),
            target_id: c.key.target.to_string(),
            position: c.position.0,
            created_at: Some(timestamp::to_proto(c.created_at)),
            expires_at: c.expires_at.map(timestamp::to_proto),
        }
    }
}

impl From<&AccountChange> for wire::AccountChange {
    fn from(c: &AccountChange) -> Self {
        Self { user_id: c.user.to_string(), op: c.op.into() }
    }
}

impl From<&AccountCounts> for wire::AccountCounts {
    fn from(c: &AccountCounts) -> Self {
        Self {
            user_id: c.user.to_string(),
            followers: c.followers,
            following: c.following,
            muting: c.muting,
            blocking: c.blocking,
            requests_sent: c.requests_sent,
            requests_received: c.requests_received,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample(edges: usize) -> Event {
        let user = |n: u128| UserId::new(Uuid::from_u128(n + 1)).unwrap();
        Event {
            epoch: Epoch(1),
            revision: Revision(901),
            event_id: Uuid::from_u128(1),
            prev_id: Some(Uuid::from_u128(2)),
            committed_at: OffsetDateTime::UNIX_EPOCH,
            verb: Verb::Import,
            actor: None,
            edges: (0..edges)
                .map(|i| EdgeChange {
                    key: EdgeKey {
                        kind: EdgeKind::Follow,
                        source: user(i as u128),
                        target: user(i as u128 + 1),
                    },
                    op: EdgeOp::Added,
                    position: Position::new(Revision(901), i),
                    created_at: OffsetDateTime::UNIX_EPOCH,
                    expires_at: None,
                })
                .collect(),
            accounts: vec![AccountChange { user: user(1), op: AccountOp::MadePrivate }],
            counts: vec![AccountCounts {
                user: user(1),
                followers: 1,
                following: 2,
                muting: 3,
                blocking: 4,
                requests_sent: 5,
                requests_received: 6,
            }],
        }
    }

    #[test]
    fn round_trips() {
        let event = sample(3);
        assert_eq!(Event::decode(&event.encode()).unwrap(), event);
    }

    #[test]
    fn too_many_edges_are_refused() {
        assert!(Event::decode(&sample(MAX_EDGES).encode()).is_ok());
        assert!(matches!(Event::decode(&sample(MAX_EDGES + 1).encode()), Err(DecodeError::Field("edges"))));
    }

    #[test]
    fn a_newer_kind_of_change_stops_the_reader() {
        let mut e = wire::Event::from(&sample(1));
        e.edges[0].op = 77;
        assert!(matches!(Event::decode(&e.encode_to_vec()), Err(DecodeError::Unknown("edge op", 77))));
        assert_eq!(
            Event::revision_of(&e.encode_to_vec()),
            Some(Revision(901)),
            "and is an event all the same"
        );
        assert_eq!(Event::revision_of(b"stray"), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Event::decode(&bytes);
        }

        #[test]
        fn damaged_events_are_read_or_refused(at in 0usize..200, byte: u8) {
            let mut bytes = sample(2).encode();
            let at = at % bytes.len();
            bytes[at] = byte;
            let _ = Event::decode(&bytes);
        }
    }
}
