//! Pages of lists.
//!
//! Owns: page tokens in and out, and that a walk never goes back in time: a page is at least as fresh as the one before.
//! It must not know how a list is read.
//! What can go wrong: a token that is not of this list.

use proto::error::{Reason, ServiceError};
use proto::query::v1::{
    Consistency, Explanation, ListFollowersRequest, ListFollowersResponse, ListFollowingRequest,
    ListFollowingResponse, ListedEdge,
};
use proto::{Token, UserId, timestamp};
use tokio::time::Instant;

use super::Queries;
use super::call::{Call, wire_source};
use super::validate;
use crate::page_token::{Codec, PageToken};
use crate::reader::{ListKind, ListRow, Page, Source};

/// The field of the page token.
const PAGE_TOKEN: &str = "page_token";

/// The request of any list.
#[derive(Debug)]
pub struct ListRequest {
    user_id: String,
    page_size: i32,
    page_token: String,
    consistency: Option<Consistency>,
    explain: bool,
}

impl From<ListFollowersRequest> for ListRequest {
    fn from(request: ListFollowersRequest) -> Self {
        let ListFollowersRequest { user_id, page_size, page_token, consistency, explain, .. } = request;
        Self { user_id, page_size, page_token, consistency, explain }
    }
}

impl From<ListFollowingRequest> for ListRequest {
    fn from(request: ListFollowingRequest) -> Self {
        let ListFollowingRequest { user_id, page_size, page_token, consistency, explain, .. } = request;
        Self { user_id, page_size, page_token, consistency, explain }
    }
}

/// The response of any list.
#[derive(Debug)]
pub struct ListPage {
    edges: Vec<ListedEdge>,
    next_page_token: String,
    as_of: Token,
    source: Source,
    explanation: Option<Explanation>,
}

impl From<ListPage> for ListFollowersResponse {
    fn from(page: ListPage) -> Self {
        Self {
            edges: page.edges,
            next_page_token: page.next_page_token,
            as_of: page.as_of.to_string(),
            source: wire_source(page.source),
            explanation: page.explanation,
        }
    }
}

impl From<ListPage> for ListFollowingResponse {
    fn from(page: ListPage) -> Self {
        Self {
            edges: page.edges,
            next_page_token: page.next_page_token,
            as_of: page.as_of.to_string(),
            source: wire_source(page.source),
            explanation: page.explanation,
        }
    }
}

impl Queries {
    /// Reads a page.
    pub(super) async fn list(
        &self,
        kind: ListKind,
        request: &ListRequest,
        deadline: Instant,
    ) -> Result<ListPage, ServiceError> {
        let user = validate::user(&request.user_id, "user_id")?;
        let size = validate::page_size(request.page_size)?;
        let mut call = Call::new(deadline, request.consistency.as_ref(), request.explain)?;
        let token = page_token(&self.codec, &request.page_token, kind, user)?;
        go_on(&mut call, token)?;
        // One row more tells whether there is a next page.
        let page = Page { kind, user, before: token.map(|token| token.before), limit: size + 1 };
        let answer = self.ask(&page, &call).await?;
        let (rows, more) = cut(answer.value, size);
        let next = rows.last().filter(|_| more).map(|last| PageToken {
            kind,
            user,
            viewer: None,
            before: last.position,
            as_of: answer.as_of,
        });
        Ok(ListPage {
            edges: rows.iter().map(edge).collect(),
            next_page_token: next.map_or_else(String::new, |token| self.codec.page(&token)),
            as_of: answer.as_of,
            source: answer.source,
            explanation: call.explanation(),
        })
    }
}

/// The token of the page before; `None` for the first page.
fn page_token(
    codec: &Codec,
    text: &str,
    kind: ListKind,
    user: UserId,
) -> Result<Option<PageToken>, ServiceError> {
    if text.is_empty() {
        return Ok(None);
    }
    let token = codec
        .read_page(text, kind, user, None)
        .map_err(|error| ServiceError::field(Reason::InvalidPageToken, PAGE_TOKEN, error))?;
    Ok(Some(token))
}

/// The page must be at least as fresh as the one before, and as the caller asks.
fn go_on(call: &mut Call, token: Option<PageToken>) -> Result<(), ServiceError> {
    let Some(PageToken { as_of: before, .. }) = token else {
        return Ok(());
    };
    match call.need.at_least {
        // One of them is of the past, whichever it is.
        Some(asked) if asked.epoch != before.epoch => {
            let message = format!("is of another epoch than {}", call.token_field);
            return Err(ServiceError::field(Reason::EpochChanged, PAGE_TOKEN, message));
        }
        Some(asked) if asked > before => {}
        _ => {
            call.need.at_least = Some(before);
            call.token_field = PAGE_TOKEN;
        }
    }
    Ok(())
}

fn cut(mut rows: Vec<ListRow>, size: usize) -> (Vec<ListRow>, bool) {
    let more = rows.len() > size;
    rows.truncate(size);
    (rows, more)
}

fn edge(row: &ListRow) -> ListedEdge {
    ListedEdge {
        user_id: row.user.to_string(),
        created_at: Some(timestamp::millis_to_proto(row.created_at_millis)),
        expires_at: row.expires_at_millis.map(timestamp::millis_to_proto),
        relationship: None,
    }
}

#[cfg(test)]
mod tests {
    use proto::{Epoch, Position, Revision};

    use super::super::validate::AT_LEAST_AS_FRESH;
    use super::*;
    use crate::reader::Need;

    fn token(epoch: u64, revision: u64) -> Token {
        Token::new(Epoch(epoch), Revision(revision))
    }

    fn page(as_of: Token) -> Option<PageToken> {
        let user = UserId::parse("f47ac10b-58cc-4372-a567-0e02b2c3d479").expect("an id");
        Some(PageToken { kind: ListKind::Followers, user, viewer: None, before: Position(7), as_of })
    }

    fn call(need: Need) -> Call {
        Call { need, ..Call::new(Instant::now(), None, false).expect("no requirement") }
    }

    #[tokio::test]
    async fn a_walk_never_goes_back_in_time() {
        let asks = |at_least, truth| Need { at_least, truth };
        for (asked, page_before, wanted, field) in [
            (None, None, None, AT_LEAST_AS_FRESH),
            (None, page(token(1, 9)), Some(token(1, 9)), PAGE_TOKEN),
            (Some(token(1, 8)), page(token(1, 9)), Some(token(1, 9)), PAGE_TOKEN),
            (Some(token(1, 10)), page(token(1, 9)), Some(token(1, 10)), AT_LEAST_AS_FRESH),
        ] {
            for truth in [false, true] {
                let mut call = call(asks(asked, truth));
                assert_eq!(go_on(&mut call, page_before), Ok(()));
                assert_eq!((call.need, call.token_field), (asks(wanted, truth), field));
            }
        }
    }

    #[tokio::test]
    async fn tokens_of_two_epochs_do_not_go_together() {
        let mut call = call(Need { at_least: Some(token(2, 1)), truth: false });
        let refused = go_on(&mut call, page(token(1, 9))).expect_err("two epochs");
        assert_eq!(refused.reason, Reason::EpochChanged);
    }

    #[test]
    fn the_row_beyond_the_page_only_tells_that_there_is_more() {
        let user = UserId::parse("f47ac10b-58cc-4372-a567-0e02b2c3d479").expect("an id");
        let row = |position| ListRow {
            user,
            position: Position(position),
            created_at_millis: 0,
            expires_at_millis: None,
        };
        assert_eq!(cut(vec![row(3), row(2), row(1)], 2), (vec![row(3), row(2)], true));
        assert_eq!(cut(vec![row(3), row(2)], 2), (vec![row(3), row(2)], false));
        assert_eq!(cut(vec![], 2), (vec![], false));
    }
}
