//! The bytes of tokens, version 1. Never change the order of variants or fields: add a version.
//!
//! The body is an enum, so a token of one kind never decodes as another kind.

use proto::{Epoch, Revision, Token, UserId};
use serde::{Deserialize, Serialize};

use crate::postgres::EdgeTable;
use crate::queries::ListKind;

pub type Id = [u8; 16];

#[derive(Serialize, Deserialize)]
pub enum Body {
    Page {
        #[serde(with = "ListTag")]
        kind: ListKind,
        user: Id,
        before: u64,
        as_of: TokenBytes,
    },
    Export {
        #[serde(with = "TableTag")]
        table: EdgeTable,
        after: (Id, Id),
        from: TokenBytes,
    },
    SeenPage {
        #[serde(with = "ListTag")]
        kind: ListKind,
        user: Id,
        viewer: Id,
        before: u64,
        as_of: TokenBytes,
    },
    Walk(WalkBody),
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "ListKind")]
enum ListTag {
    Followers,
    Following,
    Mutes,
    Blocks,
    RequestsReceived,
    RequestsSent,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "EdgeTable")]
enum TableTag {
    Follows,
    Mutes,
    Blocks,
    FollowRequests,
}

/// A position in a walk through more than one set.
#[derive(Serialize, Deserialize)]
pub struct WalkBody {
    pub asked: AskedBytes,
    pub second: bool,
    pub before: Option<u64>,
    pub begun: Option<u64>,
    pub as_of: TokenBytes,
}

#[derive(PartialEq, Serialize, Deserialize)]
pub enum AskedBytes {
    Mutuals(Id),
    Known(Id, Id),
    Union(SetBytes, SetBytes),
    Intersection(SetBytes, SetBytes),
    Difference(SetBytes, SetBytes),
}

#[derive(PartialEq, Serialize, Deserialize)]
pub enum SetBytes {
    Followers(Id),
    Following(Id),
}

#[derive(Serialize, Deserialize)]
pub struct TokenBytes(u64, u64);

impl From<Token> for TokenBytes {
    fn from(token: Token) -> Self {
        Self(token.epoch.0, token.revision.0)
    }
}

impl From<TokenBytes> for Token {
    fn from(TokenBytes(epoch, revision): TokenBytes) -> Self {
        Self::new(Epoch(epoch), Revision(revision))
    }
}

pub fn id(user: UserId) -> Id {
    user.uuid().into_bytes()
}
