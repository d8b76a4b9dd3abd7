//! Pages of lists: page tokens, and filtering of accounts that the viewer must not see.
//!
//! A walk never goes back in time: each page is at least as fresh as the one before.
//!
//! A page that is filtered for a viewer is one answer of one store: if too few rows are left, the same page is read
//! again with more rows instead of reading the rest separately. So it is of one revision if the store's answer is.

use proto::error::{Reason, ServiceError};
use proto::graph::v1::Relationship;
use proto::query::v1::ListedEdge;
use proto::{Position, Token, UserId, timestamp};

use super::call::{Begun, PAGE_TOKEN, ReadCall};
use super::list_messages::{ListPage, ListRequest};
use super::relationships::relationship;
use super::{Queries, validate};
use crate::page_token::PageToken;
use crate::queries::{Answer, ListKind, ListRow, Page, PublicList, SeenPage, SeenRow, Source};

/// Rows that are read beyond the page if there is a viewer. Few accounts are blocked, so this usually avoids a second
/// read.
const SPARE: usize = 8;
/// Maximum number of rows that a filtered page reads, as a multiple of the page size.
const LOOK_THROUGH: usize = 5;
/// Lower bound of that number, for small pages.
const LOOK_THROUGH_AT_LEAST: usize = 250;

/// Start of a page.
struct Start {
    kind: ListKind,
    user: UserId,
    viewer: Option<UserId>,
    before: Option<Position>,
    size: usize,
    call: ReadCall,
}

impl Queries {
    /// Reads a page of a list that only its own account may read.
    pub(super) async fn list(
        &self,
        kind: ListKind,
        request: &ListRequest,
        begun: Begun,
    ) -> Result<ListPage, ServiceError> {
        let start = self.start(kind, None, request, begun)?;
        self.plain_page(start).await
    }

    /// Reads a page of a list that others may read.
    pub(super) async fn public_list(
        &self,
        list: PublicList,
        request: &ListRequest,
        begun: Begun,
    ) -> Result<ListPage, ServiceError> {
        let viewer = validate::optional_user(&request.viewer_id, "viewer_id")?;
        if viewer.is_none() && request.with_relationships {
            let message = "is required with with_relationships";
            return Err(ServiceError::field(Reason::FieldRequired, "viewer_id", message));
        }
        let start = self.start(list.kind(), viewer, request, begun)?;
        match viewer {
            None => self.plain_page(start).await,
            Some(viewer) => self.seen_page(list, viewer, request.with_relationships, start).await,
        }
    }

    fn start(
        &self,
        kind: ListKind,
        viewer: Option<UserId>,
        request: &ListRequest,
        begun: Begun,
    ) -> Result<Start, ServiceError> {
        let user = validate::user(&request.user_id, "user_id")?;
        let size = validate::page_size(request.page_size)?;
        let mut call = ReadCall::new(begun, request.consistency.as_ref(), request.explain)?;
        let token =
            validate::optional_token(&request.page_token, (Reason::InvalidPageToken, PAGE_TOKEN), |text| {
                self.codec.read_page(text, kind, user, viewer)
            })?;
        go_on(&mut call, token)?;
        Ok(Start { kind, user, viewer, before: token.map(|token| token.before), size, call })
    }

    async fn plain_page(&self, start: Start) -> Result<ListPage, ServiceError> {
        let Start { kind, user, before, size, .. } = start;
        // One more row shows whether there is a next page.
        let page = Page { kind, user, before, limit: size + 1 };
        let answer = self.ask(&page, &start.call).await?;
        let rows = answer.value;
        let more = rows.len() > size;
        let shown = &rows[..size.min(rows.len())];
        let next = shown.last().filter(|_| more).map(|last| last.position);
        let edges = shown.iter().map(|row| listed_edge(row, None)).collect();
        Ok(self.finish(start, edges, next, answer.as_of, answer.source))
    }

    async fn seen_page(
        &self,
        list: PublicList,
        viewer: UserId,
        with_relationships: bool,
        start: Start,
    ) -> Result<ListPage, ServiceError> {
        let Start { user, before, size, .. } = start;
        let ask = async |limit| self.ask(&SeenPage { list, user, before, limit, viewer }, &start.call).await;
        let mut limit = size + 1 + SPARE;
        let mut answer = ask(limit).await?;
        if too_few(&answer.value, size, limit) {
            limit = (LOOK_THROUGH * size).max(LOOK_THROUGH_AT_LEAST);
            answer = ask(limit).await?;
        }
        let Answer { value: rows, as_of, source } = answer;
        let (shown, next) = cut(&rows, size, limit);
        let edges = shown
            .iter()
            .map(|seen| {
                let relation = with_relationships.then_some(&seen.relation);
                let pair = relation.map(|relation| relationship(viewer, seen.row.user, relation));
                listed_edge(&seen.row, pair)
            })
            .collect();
        Ok(self.finish(start, edges, next, as_of, source))
    }

    fn finish(
        &self,
        start: Start,
        edges: Vec<ListedEdge>,
        next: Option<Position>,
        as_of: Token,
        source: Source,
    ) -> ListPage {
        let Start { kind, user, viewer, call, .. } = start;
        let token = next.map(|before| PageToken { kind, user, viewer, before, as_of });
        let next_page_token = token.map_or_else(String::new, |token| self.codec.page(&token));
        ListPage { edges, next_page_token, as_of, source, call }
    }
}

/// The accounts that the viewer may see.
fn visible(rows: &[SeenRow]) -> impl Iterator<Item = &SeenRow> {
    rows.iter().filter(|seen| !seen.relation.blocked())
}

/// The rows do not fill the page, and the list may have more.
fn too_few(rows: &[SeenRow], size: usize, limit: usize) -> bool {
    rows.len() >= limit && visible(rows).count() <= size
}

/// The rows of the page, and the start of the next one if there may be one.
fn cut(rows: &[SeenRow], size: usize, limit: usize) -> (Vec<&SeenRow>, Option<Position>) {
    let mut seen = visible(rows);
    let shown: Vec<_> = seen.by_ref().take(size).collect();
    let last = match seen.next() {
        Some(_) => shown.last().copied(),
        None => rows.last().filter(|_| rows.len() >= limit),
    };
    (shown, last.map(|last| last.row.position))
}

/// Requires the page to be at least as fresh as the previous page and as the caller's token.
fn go_on(call: &mut ReadCall, token: Option<PageToken>) -> Result<(), ServiceError> {
    token.map_or(Ok(()), |token| call.not_before(token.as_of))
}

pub(super) fn listed_edge(row: &ListRow, relationship: Option<Relationship>) -> ListedEdge {
    ListedEdge {
        user_id: row.user.to_string(),
        created_at: Some(timestamp::millis_to_proto(row.created_at_millis)),
        expires_at: row.expires_at_millis.map(timestamp::millis_to_proto),
        relationship,
    }
}

#[cfg(test)]
mod tests {
    use proto::{Epoch, Position, Revision};
    use tokio::time::Instant;

    use super::super::validate::AT_LEAST_AS_FRESH;
    use super::*;
    use crate::queries::{Link, Relation};
    use crate::router::Need;

    fn token(epoch: u64, revision: u64) -> Token {
        Token::new(Epoch(epoch), Revision(revision))
    }

    fn page(as_of: Token) -> Option<PageToken> {
        let user = UserId::parse("f47ac10b-58cc-4372-a567-0e02b2c3d479").expect("an id");
        Some(PageToken { kind: ListKind::Followers, user, viewer: None, before: Position(7), as_of })
    }

    fn call(need: Need) -> ReadCall {
        let mut call = ReadCall::new(Begun::at(Instant::now()), None, false).expect("no requirement");
        call.read.need = need;
        call
    }

    #[tokio::test]
    async fn a_walk_never_goes_back_in_time() {
        let asks = |at_least, truth| Need { at_least, truth, ..Need::default() };
        for (asked, page_before, wanted, field) in [
            (None, None, None, AT_LEAST_AS_FRESH),
            (None, page(token(1, 9)), Some(token(1, 9)), PAGE_TOKEN),
            (Some(token(1, 8)), page(token(1, 9)), Some(token(1, 9)), PAGE_TOKEN),
            (Some(token(1, 10)), page(token(1, 9)), Some(token(1, 10)), AT_LEAST_AS_FRESH),
        ] {
            for truth in [false, true] {
                let mut call = call(asks(asked, truth));
                assert_eq!(go_on(&mut call, page_before), Ok(()));
                assert_eq!((call.read.need, call.token_field), (asks(wanted, truth), field));
            }
        }
    }

    #[tokio::test]
    async fn tokens_of_two_epochs_do_not_go_together() {
        let mut call = call(Need { at_least: Some(token(2, 1)), ..Need::default() });
        let refused = go_on(&mut call, page(token(1, 9))).expect_err("two epochs");
        assert_eq!(refused.reason, Reason::EpochChanged);
    }

    fn seen(position: u64, blocked: bool) -> SeenRow {
        let user = UserId::parse("f47ac10b-58cc-4372-a567-0e02b2c3d479").expect("an id");
        let position = Position(position);
        let link =
            Link { position, created_at_millis: 0, expires_at_millis: None, revision: position.revision() };
        SeenRow {
            row: ListRow { user, position, created_at_millis: 0, expires_at_millis: None },
            relation: Relation { blocked_by: blocked.then_some(link), ..Relation::default() },
        }
    }

    #[test]
    fn a_page_is_full_as_long_as_there_is_more_and_tells_where_the_next_one_starts() {
        // Descending positions; `x` is blocked. A page of two, from an answer of at most four.
        for (rows, shown, next, again) in [
            ("", vec![], None, false),
            ("oo", vec![2, 1], None, false),
            ("ooo", vec![3, 2], Some(2), false),
            ("oooo", vec![4, 3], Some(3), false),
            ("xoo", vec![2, 1], None, false),
            ("xoxo", vec![3, 1], Some(1), true),
            ("xxxo", vec![1], Some(1), true),
            ("xxxx", vec![], Some(1), true),
            ("xxx", vec![], None, false),
        ] {
            let positions = (1..=rows.len() as u64).rev();
            let rows: Vec<_> =
                rows.chars().zip(positions).map(|(c, position)| seen(position, c == 'x')).collect();
            let (found, start) = cut(&rows, 2, 4);
            let found: Vec<_> = found.into_iter().map(|seen| seen.row.position.0).collect();
            assert_eq!((found, start.map(|p| p.0)), (shown, next), "{rows:?}");
            assert_eq!(too_few(&rows, 2, 4), again, "{rows:?}");
        }
    }
}
