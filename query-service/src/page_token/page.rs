//! Tokens of pages of one list, and of the rest of an export.

use proto::{Position, Token, UserId};
use uuid::Uuid;

use super::body::{Body, id};
use super::{Codec, Invalid};
use crate::postgres::EdgeTable;
use crate::queries::ListKind;

/// Start of the next page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageToken {
    pub kind: ListKind,
    pub user: UserId,
    /// The viewer, if the page is filtered for one.
    pub viewer: Option<UserId>,
    /// The next page holds edges below this position.
    pub before: Position,
    /// The next page must be at least this fresh.
    pub as_of: Token,
}

/// Resume position of an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExportToken {
    pub table: EdgeTable,
    /// The last edge that was exported.
    pub after: (Uuid, Uuid),
    /// The head when the export began.
    pub from: Token,
}

impl Codec {
    /// Encodes the token of a next page.
    pub fn page(&self, token: &PageToken) -> String {
        let PageToken { kind, user, viewer, before, as_of } = *token;
        let (user, before, as_of) = (id(user), before.0, as_of.into());
        self.sign(&match viewer {
            None => Body::Page { kind, user, before, as_of },
            Some(viewer) => Body::SeenPage { kind, user, viewer: id(viewer), before, as_of },
        })
    }

    /// Decodes the token of a page of this list and this viewer.
    pub fn read_page(
        &self,
        text: &str,
        kind: ListKind,
        user: UserId,
        viewer: Option<UserId>,
    ) -> Result<PageToken, Invalid> {
        let (made_for, before, as_of) = match self.verify(text)? {
            Body::Page { kind, user, before, as_of } => ((kind, user, None), before, as_of),
            Body::SeenPage { kind, user, viewer, before, as_of } => {
                ((kind, user, Some(viewer)), before, as_of)
            }
            Body::Export { .. } | Body::Walk(_) => return Err(Invalid),
        };
        if made_for != (kind, id(user), viewer.map(id)) {
            return Err(Invalid);
        }
        Ok(PageToken { kind, user, viewer, before: Position(before), as_of: as_of.into() })
    }

    /// Encodes the token of the rest of an export.
    pub fn export(&self, token: &ExportToken) -> String {
        let (source, target) = token.after;
        let after = (source.into_bytes(), target.into_bytes());
        self.sign(&Body::Export { table: token.table, after, from: token.from.into() })
    }

    /// Decodes the token of an export of these edges.
    pub fn read_export(&self, text: &str, table: EdgeTable) -> Result<ExportToken, Invalid> {
        match self.verify(text)? {
            Body::Export { table: made_for, after: (source, target), from } if made_for == table => {
                let after = (Uuid::from_bytes(source), Uuid::from_bytes(target));
                Ok(ExportToken { table, after, from: from.into() })
            }
            _ => Err(Invalid),
        }
    }
}
