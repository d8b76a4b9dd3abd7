//! Tokens of pages and exports: opaque to clients, and signed, so that only a holder of a key can make or change one.
//!
//! A token that is malformed, forged, or made for another list is [`Invalid`] in each case: a forger learns nothing
//! from the difference.
//!
//! Form: base64url of `version byte | body | HMAC-SHA256 over both`. The body is an enum, so a token of one use is
//! never taken for one of another.

mod walk;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use metrics::{Counter, counter};
use proto::{Epoch, Position, Revision, Token, UserId};
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};
use service_kit::Secret;
use uuid::Uuid;

pub use self::walk::{Asked, Operation, Stage, WalkToken};
use crate::metrics::PAGE_TOKENS;
use crate::postgres::EdgeTable;
use crate::queries::ListKind;

const VERSION: u8 = 1;
const TAG_BYTES: usize = 32;
/// Above every body: an export token is the largest, with three UUID-sized fields and two numbers.
const MAX_BODY_BYTES: usize = 128;
/// Base64 of the largest token.
const MAX_TEXT_BYTES: usize = (1 + MAX_BODY_BYTES + TAG_BYTES).div_ceil(3) * 4;
/// Shorter keys can be guessed.
pub const MIN_KEY_BYTES: usize = 16;

/// A token that this service did not make, or made for something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not a token of this list")]
pub struct Invalid;

/// The system gave no random bytes for a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the system gives no random bytes")]
pub struct NoRandomness;

/// Where the next page starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageToken {
    /// Which list.
    pub kind: ListKind,
    /// Whose list.
    pub user: UserId,
    /// Who looks at it, where that decides what is in it.
    pub viewer: Option<UserId>,
    /// The next page holds edges below this position.
    pub before: Position,
    /// The next page must be at least this fresh.
    pub as_of: Token,
}

/// Where an export goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExportToken {
    /// Which edges.
    pub table: EdgeTable,
    /// The last edge that was exported.
    pub after: (Uuid, Uuid),
    /// The head when the export began.
    pub from: Token,
}

/// The bytes of version 1. Never change the order of variants or fields: add a version.
#[derive(Serialize, Deserialize)]
enum Body {
    Page { kind: ListTag, user: [u8; 16], before: u64, epoch: u64, revision: u64 },
    Export { table: TableTag, source: [u8; 16], target: [u8; 16], epoch: u64, revision: u64 },
    SeenPage { kind: ListTag, user: [u8; 16], viewer: [u8; 16], before: u64, epoch: u64, revision: u64 },
    Walk(walk::WalkBody),
}

#[derive(Serialize, Deserialize)]
enum ListTag {
    Followers,
    Following,
    Mutes,
    Blocks,
    RequestsReceived,
    RequestsSent,
}

impl From<ListKind> for ListTag {
    fn from(kind: ListKind) -> Self {
        match kind {
            ListKind::Followers => Self::Followers,
            ListKind::Following => Self::Following,
            ListKind::Mutes => Self::Mutes,
            ListKind::Blocks => Self::Blocks,
            ListKind::RequestsReceived => Self::RequestsReceived,
            ListKind::RequestsSent => Self::RequestsSent,
        }
    }
}

impl From<ListTag> for ListKind {
    fn from(tag: ListTag) -> Self {
        match tag {
            ListTag::Followers => Self::Followers,
            ListTag::Following => Self::Following,
            ListTag::Mutes => Self::Mutes,
            ListTag::Blocks => Self::Blocks,
            ListTag::RequestsReceived => Self::RequestsReceived,
            ListTag::RequestsSent => Self::RequestsSent,
        }
    }
}

#[derive(Serialize, Deserialize)]
enum TableTag {
    Follows,
    Mutes,
    Blocks,
    FollowRequests,
}

/// Signs and checks tokens.
pub struct Codec {
    /// The first signs, all verify. Never empty.
    keys: Vec<Key>,
}

struct Key {
    secret: hmac::Key,
    /// Counts the tokens that it verified.
    read: Counter,
}

impl Key {
    fn new(position: usize, secret: &[u8]) -> Self {
        let secret = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let read = counter!(PAGE_TOKENS, "position" => position.to_string());
        // An absent counter would look like a key that is not used.
        read.increment(0);
        Self { secret, read }
    }
}

impl std::fmt::Debug for Codec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Codec({} keys)", self.keys.len())
    }
}

impl Codec {
    /// A codec with shared keys; `None` without any.
    pub fn new(keys: &[Secret]) -> Option<Self> {
        let keys: Vec<_> = keys
            .iter()
            .enumerate()
            .map(|(position, key)| Key::new(position, key.expose().as_bytes()))
            .collect();
        (!keys.is_empty()).then_some(Self { keys })
    }

    /// A codec with a random key: its tokens are good in this process only.
    pub fn random() -> Result<Self, NoRandomness> {
        let mut key = [0; 32];
        SystemRandom::new().fill(&mut key).map_err(|_| NoRandomness)?;
        Ok(Self { keys: vec![Key::new(0, &key)] })
    }

    /// Writes the token of a next page.
    pub fn page(&self, token: &PageToken) -> String {
        let kind = token.kind.into();
        let user = token.user.uuid().into_bytes();
        let (before, epoch, revision) = (token.before.0, token.as_of.epoch.0, token.as_of.revision.0);
        self.sign(&match token.viewer {
            None => Body::Page { kind, user, before, epoch, revision },
            Some(viewer) => {
                Body::SeenPage { kind, user, viewer: viewer.uuid().into_bytes(), before, epoch, revision }
            }
        })
    }

    /// Reads the token of a page of this list, seen by this viewer.
    pub fn read_page(
        &self,
        text: &str,
        kind: ListKind,
        user: UserId,
        viewer: Option<UserId>,
    ) -> Result<PageToken, Invalid> {
        let (tag, owner, seen_by, before, epoch, revision) = match self.verify(text)? {
            Body::Page { kind, user, before, epoch, revision } => (kind, user, None, before, epoch, revision),
            Body::SeenPage { kind, user, viewer, before, epoch, revision } => {
                (kind, user, Some(viewer), before, epoch, revision)
            }
            Body::Export { .. } | Body::Walk(_) => return Err(Invalid),
        };
        let bytes = |user: UserId| user.uuid().into_bytes();
        if ListKind::from(tag) != kind || owner != bytes(user) || seen_by != viewer.map(bytes) {
            return Err(Invalid);
        }
        let as_of = Token::new(Epoch(epoch), Revision(revision));
        Ok(PageToken { kind, user, viewer, before: Position(before), as_of })
    }

    /// Writes the token of the rest of an export.
    pub fn export(&self, token: &ExportToken) -> String {
        self.sign(&Body::Export {
            table: match token.table {
                EdgeTable::Follows => TableTag::Follows,
                EdgeTable::Mutes => TableTag::Mutes,
                EdgeTable::Blocks => TableTag::Blocks,
                EdgeTable::FollowRequests => TableTag::FollowRequests,
            },
            source: token.after.0.into_bytes(),
            target: token.after.1.into_bytes(),
            epoch: token.from.epoch.0,
            revision: token.from.revision.0,
        })
    }

    /// Reads the token of an export of these edges.
    pub fn read_export(&self, text: &str, table: EdgeTable) -> Result<ExportToken, Invalid> {
        let Body::Export { table: tag, source, target, epoch, revision } = self.verify(text)? else {
            return Err(Invalid);
        };
        let made_for = match tag {
            TableTag::Follows => EdgeTable::Follows,
            TableTag::Mutes => EdgeTable::Mutes,
            TableTag::Blocks => EdgeTable::Blocks,
            TableTag::FollowRequests => EdgeTable::FollowRequests,
        };
        if made_for != table {
            return Err(Invalid);
        }
        Ok(ExportToken {
            table,
            after: (Uuid::from_bytes(source), Uuid::from_bytes(target)),
            from: Token::new(Epoch(epoch), Revision(revision)),
        })
    }

    fn sign(&self, body: &Body) -> String {
        let mut bytes = vec![VERSION];
        // Cannot fail: the body is far below the limit and has no type that the format refuses. An empty body would be
        // refused when it comes back, never misread.
        bytes.extend(bincode::serde::encode_to_vec(body, format()).unwrap_or_default());
        let tag = hmac::sign(&self.keys[0].secret, &bytes); // `keys` is never empty.
        bytes.extend_from_slice(tag.as_ref());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    fn verify(&self, text: &str) -> Result<Body, Invalid> {
        if text.len() > MAX_TEXT_BYTES {
            return Err(Invalid);
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| Invalid)?;
        let signed = bytes.len().checked_sub(TAG_BYTES).ok_or(Invalid)?;
        let (signed, tag) = bytes.split_at(signed);
        let key = self.keys.iter().find(|key| hmac::verify(&key.secret, signed, tag).is_ok());
        let (&VERSION, body) = signed.split_first().ok_or(Invalid)? else {
            return Err(Invalid);
        };
        let Some(key) = key else { return Err(Invalid) };
        let (decoded, read) = bincode::serde::decode_from_slice(body, format()).map_err(|_| Invalid)?;
        // Bytes after the body would be a second text of one token.
        if read != body.len() {
            return Err(Invalid);
        }
        key.read.increment(1);
        Ok(decoded)
    }
}

fn format() -> impl bincode::config::Config {
    bincode::config::standard().with_limit::<MAX_BODY_BYTES>()
}

#[cfg(test)]
mod tests;
