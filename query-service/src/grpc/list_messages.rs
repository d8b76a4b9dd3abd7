//! Requests and responses of lists: many types with the same fields, and the one form that pages are made from.

use proto::Token;
use proto::query::v1 as wire;
use proto::query::v1::{Consistency, ListedEdge};

use super::call::{ReadCall, wire_source};
use crate::queries::Source;

/// The request of any list.
#[derive(Debug)]
pub struct ListRequest {
    /// Whose list.
    pub user_id: String,
    /// Rows of the page.
    pub page_size: i32,
    /// The token of the page before.
    pub page_token: String,
    /// How fresh.
    pub consistency: Option<Consistency>,
    /// The answer is explained.
    pub explain: bool,
    /// The viewer; empty without one.
    pub viewer_id: String,
    /// Each row contains what links it with the viewer.
    pub with_relationships: bool,
}

/// The response of any list.
#[derive(Debug)]
pub struct ListPage {
    /// The rows.
    pub edges: Vec<ListedEdge>,
    /// The token of the next page.
    pub next_page_token: String,
    /// The revision of the page.
    pub as_of: Token,
    /// Where it came from.
    pub source: Source,
    /// What was asked for it.
    pub call: ReadCall,
}

/// Requests, each with its viewer and whether relationships are wanted: only public lists have these fields.
macro_rules! requests {
    (|$request:ident| $($name:ident($viewer_id:expr, $with_relationships:expr);)+) => {
        $(impl From<wire::$name> for ListRequest {
            fn from($request: wire::$name) -> Self {
                Self {
                    user_id: $request.user_id,
                    page_size: $request.page_size,
                    page_token: $request.page_token,
                    consistency: $request.consistency,
                    explain: $request.explain,
                    viewer_id: $viewer_id,
                    with_relationships: $with_relationships,
                }
            }
        })+
    };
}

macro_rules! responses {
    ($($response:ident),+) => {
        $(impl From<ListPage> for wire::$response {
            fn from(page: ListPage) -> Self {
                Self {
                    edges: page.edges,
                    next_page_token: page.next_page_token,
                    as_of: page.as_of.to_string(),
                    source: wire_source(page.source),
                    explanation: page.call.explanation(),
                }
            }
        })+
    };
}

requests! { |request|
    ListMutesRequest(String::new(), false);
    ListBlocksRequest(String::new(), false);
    ListFollowRequestsRequest(String::new(), false);
    ListFollowersRequest(request.viewer_id, request.with_relationships);
    ListFollowingRequest(request.viewer_id, request.with_relationships);
}
responses!(
    ListFollowersResponse,
    ListFollowingResponse,
    ListMutesResponse,
    ListBlocksResponse,
    ListFollowRequestsResponse
);
