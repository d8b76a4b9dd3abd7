//! gRPC clients with the token in their metadata.

use std::error::Error as _;

use proto::command::v1::command_service_client::CommandServiceClient;
use proto::command::v1::{FollowRequest, FollowResponse, UnfollowRequest, UnfollowResponse};
use proto::query::v1::consistency::Requirement;
use proto::query::v1::query_service_client::QueryServiceClient;
use proto::query::v1::{
    CheckRequest, CheckResponse, Consistency, Counts, GetCountsRequest, ListFollowersRequest,
    ListFollowingRequest, ListedEdge, Source,
};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

use crate::endpoints::Endpoints;

/// Adds the token.
#[derive(Clone)]
pub struct Bearer(MetadataValue<Ascii>);

impl Bearer {
    /// This token, or none for an empty text.
    pub fn new(token: &str) -> Self {
        Self(format!("Bearer {token}").parse().expect("a token is ASCII"))
    }
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}

/// A channel that connects at its first use and reconnects after an interruption.
pub fn channel(address: &str) -> Channel {
    Endpoint::from_shared(format!("http://{address}"))
        .expect("host:port")
        .tcp_nodelay(true)
        .connect_timeout(std::time::Duration::from_secs(5))
        .connect_lazy()
}

/// A client of the write side.
pub type Commands = CommandServiceClient<InterceptedService<Channel, Bearer>>;
/// A client of the read side.
pub type Queries = QueryServiceClient<InterceptedService<Channel, Bearer>>;

impl Endpoints {
    pub fn commands(&self) -> Commands {
        CommandServiceClient::with_interceptor(channel(&self.command), Bearer::new(&self.token))
    }

    pub fn queries(&self) -> Queries {
        QueryServiceClient::with_interceptor(channel(&self.query), Bearer::new(&self.token))
    }
}

/// True if a call never reached the server because its connection received GOAWAY first. Many clients retry such a
/// call; this one leaves that to the test.
pub fn was_never_sent(status: &Status) -> bool {
    let never_left = status.code() == Code::Cancelled && status.message() == "operation was canceled";
    never_left || is_beyond_goaway(status)
}

/// A stream beyond the last one that an orderly GOAWAY names was not processed, and may be retried (RFC 9113, 6.8).
fn is_beyond_goaway(status: &Status) -> bool {
    let mut cause = status.source();
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<h2::Error>() {
            return error.is_go_away() && error.is_remote() && error.reason() == Some(h2::Reason::NO_ERROR);
        }
        cause = error.source();
    }
    false
}

/// Sends Follow.
pub async fn follow(commands: &mut Commands, actor: &str, target: &str) -> Result<FollowResponse, Status> {
    let request =
        FollowRequest { actor_id: actor.into(), target_id: target.into(), ..FollowRequest::default() };
    commands.follow(request).await.map(tonic::Response::into_inner)
}

/// Sends Unfollow.
pub async fn unfollow(
    commands: &mut Commands,
    actor: &str,
    target: &str,
) -> Result<UnfollowResponse, Status> {
    let request =
        UnfollowRequest { actor_id: actor.into(), target_id: target.into(), ..UnfollowRequest::default() };
    commands.unfollow(request).await.map(tonic::Response::into_inner)
}

/// At least as fresh as a token.
pub fn fresh(token: &str) -> Option<Consistency> {
    Some(Consistency { requirement: Some(Requirement::AtLeastAsFresh(token.to_owned())) })
}

/// From PostgreSQL.
pub fn consistent() -> Option<Consistency> {
    Some(Consistency { requirement: Some(Requirement::FullyConsistent(true)) })
}

/// Sends Check.
pub async fn check(
    queries: &mut Queries,
    viewer: &str,
    target: &str,
    consistency: Option<Consistency>,
) -> Result<CheckResponse, Status> {
    let request =
        CheckRequest { viewer_id: viewer.into(), target_id: target.into(), consistency, explain: false };
    queries.check(request).await.map(tonic::Response::into_inner)
}

/// Sends GetCounts.
pub async fn counts(
    queries: &mut Queries,
    users: &[String],
    consistency: Option<Consistency>,
) -> Result<Vec<Counts>, Status> {
    let request = GetCountsRequest { user_ids: users.to_vec(), consistency, ..Default::default() };
    queries.get_counts(request).await.map(|response| response.into_inner().counts)
}

/// The direction of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum List {
    /// Accounts that follow the account.
    Followers,
    /// Accounts that the account follows.
    Following,
}

/// One page of a list in either direction.
#[derive(Clone, Debug)]
pub struct Page {
    pub edges: Vec<ListedEdge>,
    pub next: String,
    pub as_of: String,
    pub source: Source,
}

pub async fn page(
    queries: &mut Queries,
    list: List,
    user: &str,
    page_size: i32,
    page_token: &str,
    consistency: Option<Consistency>,
) -> Result<Page, Status> {
    let (user_id, page_token) = (user.to_owned(), page_token.to_owned());
    match list {
        List::Followers => {
            let request =
                ListFollowersRequest { user_id, page_size, page_token, consistency, ..Default::default() };
            let r = queries.list_followers(request).await?.into_inner();
            Ok(Page { source: r.source(), edges: r.edges, next: r.next_page_token, as_of: r.as_of })
        }
        List::Following => {
            let request =
                ListFollowingRequest { user_id, page_size, page_token, consistency, ..Default::default() };
            let r = queries.list_following(request).await?.into_inner();
            Ok(Page { source: r.source(), edges: r.edges, next: r.next_page_token, as_of: r.as_of })
        }
    }
}

/// All pages of a list.
pub async fn walk(
    queries: &mut Queries,
    list: List,
    user: &str,
    page_size: i32,
    consistency: Option<Consistency>,
) -> Result<Vec<String>, Status> {
    let (mut users, mut token) = (Vec::new(), String::new());
    loop {
        let page = page(queries, list, user, page_size, &token, consistency.clone()).await?;
        users.extend(page.edges.into_iter().map(|edge| edge.user_id));
        token = page.next;
        if token.is_empty() {
            return Ok(users);
        }
    }
}
