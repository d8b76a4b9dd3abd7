//! Common form of the list requests and responses, which are many types with the same fields.

use proto::Token;
use proto::query::v1 as wire;
use proto::query::v1::{Consistency, ListedEdge};

use super::call::{ReadCall, wire_source};
use crate::queries::Source;

#[derive(Debug)]
pub struct ListRequest {
    pub user_id: String,
    pub page_size: i32,
    /// Token of the previous page.
    pub page_token: String,
    pub consistency: Option<Consistency>,
    pub explain: bool,
    /// Empty without a viewer.
    pub viewer_id: String,
    /// Add the viewer's relations to each row.
    pub with_relationships: bool,
}

#[derive(Debug)]
pub struct ListPage {
    pub edges: Vec<ListedEdge>,
    pub next_page_token: String,
    pub as_of: Token,
    pub source: Source,
    pub call: ReadCall,
}

/// Implements the common form. Only public lists have the fields `viewer` and `with_relationships`.
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
