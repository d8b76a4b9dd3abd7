//! Pages of mutual followers, known followers, and set operations. The number of edges that a page reads is bounded.
//!
//! A union walks the first set and then those accounts of the second that were not in the first. An account that
//! entered the first set after the walk began was not listed from there, so it counts as not in it; the position of its
//! edge shows that.

use proto::Position;
use proto::error::{Reason, ServiceError};
use proto::query::v1::{
    AccountSet, ListFollowersYouKnowRequest, ListFollowersYouKnowResponse, ListMutualsRequest,
    ListMutualsResponse, ListSetOperationRequest, ListSetOperationResponse, ListedEdge, SetKind,
    SetOperation as WireOperation,
};
use tonic::{Request, Response};

use super::call::{PAGE_TOKEN, ReadCall, Reply, begin, wire_source};
use super::lists::listed_edge;
use super::{Queries, validate};
use crate::page_token::{Asked, Operation, Stage, WalkToken};
use crate::queries::{
    Answer, CountsOf, Known, ListRow, MetRow, PublicList, Set, Sift, Sifted, Union, United,
};

/// Maximum number of edges that a page reads, as a multiple of the page size.
const LOOK_THROUGH: usize = 10;
/// Lower bound of that number, for small pages.
const LOOK_THROUGH_AT_LEAST: usize = 500;
/// Upper bound of that number, for large pages.
const LOOK_THROUGH_AT_MOST: usize = 5_000;

/// Start of a page.
struct Start {
    asked: Asked,
    token: Option<WalkToken>,
    size: usize,
    call: ReadCall,
}

impl Start {
    /// Resume position in the first set; the token of a walk through the second set contains its own.
    fn before(&self) -> Option<Position> {
        self.token.and_then(|token| token.before)
    }

    fn look(&self) -> usize {
        (LOOK_THROUGH * self.size).clamp(LOOK_THROUGH_AT_LEAST, LOOK_THROUGH_AT_MOST)
    }
}

/// The rows of a page, and the start of the next one if there may be one.
struct SetPage {
    answer: Answer<Vec<MetRow>>,
    next: Option<WalkToken>,
}

/// Rows of one set, kept if they are in another set, or if they are not.
struct Walk {
    stage: Stage,
    walked: Set,
    other: Set,
    members: bool,
    begun: Option<Position>,
}

impl Queries {
    pub(super) async fn mutuals(&self, request: Request<ListMutualsRequest>) -> Reply<ListMutualsResponse> {
        let (request, begun) = begin(request);
        let user = validate::user(&request.user_id, "user_id")?;
        let size = validate::page_size(request.page_size)?;
        let call = ReadCall::new(begun, request.consistency.as_ref(), request.explain)?;
        let start = self.start_walk(Asked::Mutuals(user), &request.page_token, size, call)?;
        let set = |list| Set { list, user };
        let (walked, other) = (set(PublicList::Following), set(PublicList::Followers));
        let walk = Walk { stage: Stage::First, walked, other, members: true, begun: None };
        let SetPage { answer, next } = self.sift_page(&start, walk).await?;
        Ok(Response::new(ListMutualsResponse {
            edges: answer.value.iter().map(|met| listed_edge(&met.row, None)).collect(),
            next_page_token: self.next(&start, next),
            as_of: answer.as_of.to_string(),
            source: wire_source(answer.source),
            explanation: start.call.explanation(),
        }))
    }

    pub(super) async fn followers_you_know(
        &self,
        request: Request<ListFollowersYouKnowRequest>,
    ) -> Reply<ListFollowersYouKnowResponse> {
        let (request, begun) = begin(request);
        let viewer = validate::user(&request.viewer_id, "viewer_id")?;
        let target = validate::user(&request.target_id, "target_id")?;
        let size = validate::page_size(request.page_size)?;
        let call = ReadCall::new(begun, request.consistency.as_ref(), request.explain)?;
        let start = self.start_walk(Asked::Known(viewer, target), &request.page_token, size, call)?;
        let known = Known { viewer, target, before: start.before(), skip: 0, limit: size + 1 };
        let Answer { value: known, as_of, source } = self.ask(&known, &start.call).await?;
        let (rows, next) = cut(&known.rows, size, None);
        let next =
            next.map(|before| WalkToken { stage: Stage::First, before: Some(before), begun: None, as_of });
        Ok(Response::new(ListFollowersYouKnowResponse {
            edges: rows.iter().map(met_edge).collect(),
            next_page_token: self.next(&start, next),
            total: known.total,
            as_of: as_of.to_string(),
            source: wire_source(source),
            explanation: start.call.explanation(),
        }))
    }

    /// Lists the union, intersection or difference of two sets.
    pub(super) async fn set_operation(
        &self,
        request: Request<ListSetOperationRequest>,
    ) -> Reply<ListSetOperationResponse> {
        let (request, begun) = begin(request);
        let operation = operation(request.operation)?;
        let first = set(request.first.as_ref(), ["first", "first.user_id", "first.kind"])?;
        let second = set(request.second.as_ref(), ["second", "second.user_id", "second.kind"])?;
        let size = validate::page_size(request.page_size)?;
        let call = ReadCall::new(begun, request.consistency.as_ref(), request.explain)?;
        let start =
            self.start_walk(Asked::Sets(operation, first, second), &request.page_token, size, call)?;
        let SetPage { answer, next } = match operation {
            Operation::Union => self.union_page(&start, first, second).await?,
            Operation::Difference => {
                let (stage, walked, other) = (Stage::First, first, second);
                let walk = Walk { stage, walked, other, members: false, begun: None };
                self.sift_page(&start, walk).await?
            }
            Operation::Intersection => {
                let stage = match start.token {
                    Some(token) => token.stage,
                    None => self.smaller(&start, first, second).await?,
                };
                let (walked, other) = match stage {
                    Stage::First => (first, second),
                    Stage::Second => (second, first),
                };
                let walk = Walk { stage, walked, other, members: true, begun: None };
                self.sift_page(&start, walk).await?
            }
        };
        Ok(Response::new(ListSetOperationResponse {
            user_ids: answer.value.iter().map(|met| met.row.user.to_string()).collect(),
            next_page_token: self.next(&start, next),
            as_of: answer.as_of.to_string(),
            source: wire_source(answer.source),
            explanation: start.call.explanation(),
        }))
    }

    /// All of the first set, then those of the second that were not in it.
    async fn union_page(&self, start: &Start, first: Set, second: Set) -> Result<SetPage, ServiceError> {
        let token = start.token;
        let begun = token.and_then(|token| token.begun);
        if token.is_some_and(|token| token.stage == Stage::Second) {
            let (stage, walked, other) = (Stage::Second, second, first);
            return self.sift_page(start, Walk { stage, walked, other, members: false, begun }).await;
        }
        let (look, size) = (start.look(), start.size);
        let union = Union { first, before: start.before(), second, begun, look, size };
        let Answer { value, as_of, source } = self.ask(&union, &start.call).await?;
        // The first page is of exactly one revision: later edges have higher positions.
        let begun = begun.or(Some(Position::new(as_of.revision.next(), 0)));
        let (rows, next) = united(&value, size);
        let next = next.map(|(stage, before)| WalkToken { stage, before, begun, as_of });
        Ok(SetPage { answer: Answer { value: rows, as_of, source }, next })
    }

    async fn sift_page(&self, start: &Start, walk: Walk) -> Result<SetPage, ServiceError> {
        let Walk { stage, walked, other, members, begun } = walk;
        let before = start.token.filter(|token| token.stage == stage).and_then(|token| token.before);
        let (look, limit) = (start.look(), start.size + 1);
        let sift = Sift { walked, before, other, other_before: begun, members, look, limit };
        let Answer { value: Sifted { rows: mut value, looked_to }, as_of, source } =
            self.ask(&sift, &start.call).await?;
        let (_, next) = cut(&value, start.size, looked_to);
        value.truncate(start.size);
        let next = next.map(|before| WalkToken { stage, before: Some(before), begun, as_of });
        Ok(SetPage { answer: Answer { value, as_of, source }, next })
    }

    /// Finds the smaller of two sets.
    async fn smaller(&self, start: &Start, first: Set, second: Set) -> Result<Stage, ServiceError> {
        let counts = self.ask(&CountsOf { users: vec![first.user, second.user] }, &start.call).await?.value;
        let size = |place: usize, set: Set| {
            let counts = counts.get(place).copied().unwrap_or_default();
            match set.list {
                PublicList::Followers => counts.followers,
                PublicList::Following => counts.following,
            }
        };
        Ok(if size(1, second) < size(0, first) { Stage::Second } else { Stage::First })
    }

    fn start_walk(
        &self,
        asked: Asked,
        text: &str,
        size: usize,
        mut call: ReadCall,
    ) -> Result<Start, ServiceError> {
        let field = (Reason::InvalidPageToken, PAGE_TOKEN);
        let token = validate::optional_token(text, field, |text| self.codec.read_walk(text, asked))?;
        if let Some(token) = token {
            call.not_before(token.as_of)?;
        }
        Ok(Start { asked, token, size, call })
    }

    /// The token of the next page; empty on the last page.
    fn next(&self, start: &Start, next: Option<WalkToken>) -> String {
        next.map_or_else(String::new, |next| self.codec.walk(start.asked, &next))
    }
}

/// The rows of the page, and the start of the next one if there may be one.
fn cut(rows: &[MetRow], size: usize, looked_to: Option<Position>) -> (&[MetRow], Option<Position>) {
    let shown = &rows[..size.min(rows.len())];
    let next = if rows.len() > size { shown.last().map(|met| met.row.position) } else { looked_to };
    (shown, next)
}

/// The rows of a page of a union, and the start of the next one if there may be one.
fn united(answer: &United, size: usize) -> (Vec<MetRow>, Option<(Stage, Option<Position>)>) {
    let first = answer.first.iter().take(size).map(|row| MetRow { row: *row, met_at_millis: None });
    let mut rows: Vec<MetRow> = first.collect();
    let Some(second) = &answer.second else {
        let next = rows.last().filter(|_| answer.first.len() > size).map(|last| last.row.position);
        return (rows, next.map(|before| (Stage::First, Some(before))));
    };
    let room = size - rows.len();
    let (shown, next) = cut(&second.rows, room, second.looked_to);
    rows.extend(shown);
    // A page that the first set fills leaves the second set to the next page.
    let next = next.map(Some).or_else(|| (second.rows.len() > room).then_some(None));
    (rows, next.map(|before| (Stage::Second, before)))
}

/// A row with the date of its edge in the other set.
fn met_edge(met: &MetRow) -> ListedEdge {
    let created_at_millis = met.met_at_millis.unwrap_or(met.row.created_at_millis);
    listed_edge(&ListRow { created_at_millis, ..met.row }, None)
}

fn operation(number: i32) -> Result<Operation, ServiceError> {
    match WireOperation::try_from(number) {
        Ok(WireOperation::Union) => Ok(Operation::Union),
        Ok(WireOperation::Intersection) => Ok(Operation::Intersection),
        Ok(WireOperation::Difference) => Ok(Operation::Difference),
        Ok(WireOperation::Unspecified) => {
            Err(ServiceError::field(Reason::FieldRequired, "operation", "is required"))
        }
        Err(_) => Err(ServiceError::field(Reason::UnknownEnumValue, "operation", "is not an operation")),
    }
}

fn set(set: Option<&AccountSet>, [field, user, kind]: [&str; 3]) -> Result<Set, ServiceError> {
    let set = set.ok_or_else(|| ServiceError::field(Reason::FieldRequired, field, "is required"))?;
    let list = match SetKind::try_from(set.kind) {
        Ok(SetKind::Followers) => PublicList::Followers,
        Ok(SetKind::Following) => PublicList::Following,
        Ok(SetKind::Unspecified) => {
            return Err(ServiceError::field(Reason::FieldRequired, kind, "is required"));
        }
        Err(_) => return Err(ServiceError::field(Reason::UnknownEnumValue, kind, "is not a kind of set")),
    };
    Ok(Set { list, user: validate::user(&set.user_id, user)? })
}

#[cfg(test)]
mod tests {
    use proto::UserId;

    use super::*;

    fn rows(positions: &[u64]) -> Vec<MetRow> {
        let user = UserId::parse("f47ac10b-58cc-4372-a567-0e02b2c3d479").expect("an id");
        let row = |position| ListRow {
            user,
            position: Position(position),
            created_at_millis: 0,
            expires_at_millis: None,
        };
        positions.iter().map(|position| MetRow { row: row(*position), met_at_millis: None }).collect()
    }

    #[test]
    fn a_page_goes_on_below_its_last_row_or_below_what_was_looked_at() {
        for (found, looked_to, shown, next) in [
            (vec![9, 7, 5], Some(1), 2, Some(7)),
            (vec![9, 7], Some(3), 2, Some(3)),
            (vec![9], Some(3), 1, Some(3)),
            (vec![], Some(3), 0, Some(3)),
            (vec![9, 7], None, 2, None),
            (vec![], None, 0, None),
        ] {
            let rows = rows(&found);
            let (page, start) = cut(&rows, 2, looked_to.map(Position));
            assert_eq!((page.len(), start.map(|position| position.0)), (shown, next), "{found:?}");
        }
    }

    #[test]
    fn a_page_of_a_union_is_filled_from_the_second_set() {
        let answer = |first: &[u64], second: Option<(&[u64], Option<u64>)>| United {
            first: rows(first).iter().map(|met| met.row).collect(),
            second: second
                .map(|(found, looked_to)| Sifted { rows: rows(found), looked_to: looked_to.map(Position) }),
        };
        for (given, shown, next) in [
            (answer(&[9, 8, 7], None), 2, Some((Stage::First, Some(8)))),
            (answer(&[9, 8], None), 2, None),
            (answer(&[9, 8], Some((&[5], None))), 2, Some((Stage::Second, None))),
            (answer(&[9, 8], Some((&[], None))), 2, None),
            (answer(&[9, 8], Some((&[], Some(3)))), 2, Some((Stage::Second, Some(3)))),
            (answer(&[9], Some((&[5], None))), 2, None),
            (answer(&[9], Some((&[5, 4], None))), 2, Some((Stage::Second, Some(5)))),
            (answer(&[], Some((&[5, 4, 3], None))), 2, Some((Stage::Second, Some(4)))),
        ] {
            let (rows, start) = united(&given, 2);
            let start = start.map(|(stage, before)| (stage, before.map(|position| position.0)));
            assert_eq!((rows.len(), start), (shown, next), "{given:?}");
        }
    }

    #[test]
    fn sets_name_the_field_at_fault() {
        let fields = ["first", "first.user_id", "first.kind"];
        let id = "f47ac10b-58cc-4372-a567-0e02b2c3d479";
        let of = |user_id: &str, kind| Some(AccountSet { user_id: user_id.to_owned(), kind });
        assert!(set(of(id, 1).as_ref(), fields).is_ok());
        for (given, reason, field) in [
            (None, Reason::FieldRequired, "first"),
            (of(id, 0), Reason::FieldRequired, "first.kind"),
            (of(id, 3), Reason::UnknownEnumValue, "first.kind"),
            (of("x", 1), Reason::InvalidUuid, "first.user_id"),
        ] {
            let refused = set(given.as_ref(), fields).expect_err("a mistake");
            assert_eq!((refused.reason, refused.field.as_deref()), (reason, Some(field)));
        }
        assert_eq!(operation(0).expect_err("none").reason, Reason::FieldRequired);
        assert_eq!(operation(4).expect_err("unknown").reason, Reason::UnknownEnumValue);
    }
}
