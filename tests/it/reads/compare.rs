//! Compares all single-hop reads of some accounts with the model.

use std::collections::BTreeSet;

use proto::event::{EdgeKey, EdgeKind};
use proto::graph::v1::Relationship;
use proto::query::v1::{Consistency, Counts, ListedEdge, RequestDirection, Source};
use proto::{Etag, UserId};
use tests::asks;
use tests::clients::{consistent, fresh};
use tests::model::Model;
use tests::truth::counts_of;
use tests::{Endpoints, Queries, until};

/// A list, read by its own method.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    Followers,
    Following,
    Mutes,
    Blocks,
    Requests(RequestDirection),
}

const KINDS: [Kind; 6] = [
    Kind::Followers,
    Kind::Following,
    Kind::Mutes,
    Kind::Blocks,
    Kind::Requests(RequestDirection::Incoming),
    Kind::Requests(RequestDirection::Outgoing),
];

/// A page of any list.
#[derive(Debug)]
pub struct Page {
    pub edges: Vec<ListedEdge>,
    pub next: String,
    pub source: Source,
}

/// The parameters of a page.
#[derive(Clone, Debug, Default)]
pub struct PageAsk {
    pub size: i32,
    pub token: String,
    pub consistency: Option<Consistency>,
    pub viewer: Option<UserId>,
    pub relationships: bool,
}

/// One page.
pub async fn page(queries: &Queries, kind: Kind, user: UserId, ask: PageAsk) -> Result<Page, tonic::Status> {
    use proto::query::v1 as wire;
    let PageAsk { size, token, consistency, viewer, relationships } = ask;
    let mut queries = queries.clone();
    macro_rules! page {
        ($method:ident, $request:ident { $($field:ident: $value:expr),* }) => {{
            let answer = queries
                .$method(wire::$request {
                    user_id: user.to_string(),
                    page_size: size,
                    page_token: token,
                    consistency,
                    explain: false,
                    $($field: $value),*
                })
                .await?
                .into_inner();
            Page { source: answer.source(), edges: answer.edges, next: answer.next_page_token }
        }};
    }
    let viewer_id = viewer.map(|viewer| viewer.to_string()).unwrap_or_default();
    Ok(match kind {
        Kind::Followers => page!(
            list_followers,
            ListFollowersRequest { viewer_id: viewer_id, with_relationships: relationships }
        ),
        Kind::Following => page!(
            list_following,
            ListFollowingRequest { viewer_id: viewer_id, with_relationships: relationships }
        ),
        Kind::Mutes => page!(list_mutes, ListMutesRequest {}),
        Kind::Blocks => page!(list_blocks, ListBlocksRequest {}),
        Kind::Requests(direction) => {
            page!(list_follow_requests, ListFollowRequestsRequest { direction: direction.into() })
        }
    })
}

/// All rows of a list, in pages of one size.
///
/// # Panics
/// If a page is rejected, or is short though there are more.
pub async fn walk(queries: &Queries, kind: Kind, user: UserId, ask: PageAsk) -> (Vec<ListedEdge>, Source) {
    let (mut edges, mut token) = (Vec::new(), String::new());
    loop {
        let ask = PageAsk { token, ..ask.clone() };
        let size = ask.size as usize;
        let page = page(queries, kind, user, ask).await.expect("a page");
        assert!(page.next.is_empty() || page.edges.len() == size, "a short page that has a next one");
        edges.extend(page.edges);
        token = page.next;
        if token.is_empty() {
            return (edges, page.source);
        }
    }
}

/// Reads everything about some accounts.
pub struct Compare<'a> {
    queries: Queries,
    users: &'a [UserId],
}

impl<'a> Compare<'a> {
    pub fn new(endpoints: &Endpoints, users: &'a [UserId]) -> Self {
        Self { queries: endpoints.queries(), users }
    }

    /// Reads everything from both stores; repeats the reads that the read model was too busy to answer.
    ///
    /// # Panics
    /// If a store differs from the model or from the other store.
    pub async fn all(&self, model: &Model, token: &str) {
        until("the read model to answer", || async {
            let sources = self.once(model, token).await;
            if sources.contains(&(Source::Neo4j as i32)) { Ok(()) } else { Err(format!("{sources:?}")) }
        })
        .await;
    }

    /// Returns the stores that answered in the second half, in which the read model is tried first.
    async fn once(&self, model: &Model, token: &str) -> BTreeSet<i32> {
        let mut sources = BTreeSet::new();
        let truth = self.pairs(model, consistent(), &mut sources).await;
        assert_eq!(sources, BTreeSet::from([Source::Postgres as i32]));
        sources.clear();
        let read_model = self.pairs(model, fresh(token), &mut sources).await;
        assert_eq!(read_model, truth, "the pairs of both stores, with dates and etags");

        let truth = self.lists(model, consistent(), &mut BTreeSet::new()).await;
        let read_model = self.lists(model, fresh(token), &mut sources).await;
        assert_eq!(read_model, truth, "the lists of both stores, with dates");
        self.seen(model, consistent(), &mut BTreeSet::new()).await;
        self.seen(model, fresh(token), &mut sources).await;
        self.counts(model, consistent(), &mut BTreeSet::new()).await;
        self.counts(model, fresh(token), &mut sources).await;
        sources
    }

    /// Every pair, some twice, and the viewer itself.
    async fn pairs(
        &self,
        model: &Model,
        consistency: Option<Consistency>,
        sources: &mut BTreeSet<i32>,
    ) -> Vec<Relationship> {
        let mut all = Vec::new();
        for viewer in self.users {
            let targets: Vec<UserId> = self.users.iter().chain(&self.users[..2]).copied().collect();
            let request = proto::query::v1::GetRelationshipsRequest {
                viewer_id: viewer.to_string(),
                target_ids: targets.iter().map(UserId::to_string).collect(),
                consistency: consistency.clone(),
                explain: false,
            };
            let answer = self.queries.clone().get_relationships(request).await.expect("pairs").into_inner();
            sources.insert(answer.source);
            assert_eq!(answer.relationships.len(), targets.len());
            for (target, found) in targets.iter().zip(&answer.relationships) {
                let mut wanted = model.relationship(*viewer, *target);
                assert_eq!(found.following_since.is_some(), wanted.following, "{viewer} to {target}");
                assert_eq!(found.followed_by_since.is_some(), wanted.followed_by, "{viewer} to {target}");
                let linked =
                    wanted != Relationship { user_id: target.to_string(), ..Relationship::default() };
                let unlinked = Etag::of(*viewer, *target, []);
                assert_eq!(asks::etag(found) != unlinked, linked, "{viewer} to {target}");
                wanted.following_since = found.following_since;
                wanted.followed_by_since = found.followed_by_since;
                wanted.etag.clone_from(&found.etag);
                assert_eq!(*found, wanted);
            }
            all.extend(answer.relationships);
        }
        all
    }

    /// The accounts in a list of the model, newest first.
    fn listed(model: &Model, kind: Kind, user: UserId) -> Vec<(UserId, Option<prost_types::Timestamp>)> {
        let (edges, starts_here) = match kind {
            Kind::Followers => (EdgeKind::Follow, false),
            Kind::Following => (EdgeKind::Follow, true),
            Kind::Mutes => (EdgeKind::Mute, true),
            Kind::Blocks => (EdgeKind::Block, true),
            Kind::Requests(RequestDirection::Outgoing) => (EdgeKind::FollowRequest, true),
            Kind::Requests(_) => (EdgeKind::FollowRequest, false),
        };
        let own = |key: &EdgeKey| if starts_here { key.source } else { key.target };
        let other = |key: &EdgeKey| if starts_here { key.target } else { key.source };
        let mut rows: Vec<_> =
            model.visible().filter(|(key, _)| key.kind == edges && own(key) == user).collect();
        rows.sort_by_key(|(_, edge)| std::cmp::Reverse(edge.place));
        rows.iter().map(|(key, edge)| (other(key), edge.expires_at.map(proto::timestamp::to_proto))).collect()
    }

    async fn lists(
        &self,
        model: &Model,
        consistency: Option<Consistency>,
        sources: &mut BTreeSet<i32>,
    ) -> Vec<ListedEdge> {
        let mut all = Vec::new();
        for user in self.users {
            for kind in KINDS {
                let ask = PageAsk { size: 2, consistency: consistency.clone(), ..PageAsk::default() };
                let (edges, source) = walk(&self.queries, kind, *user, ask).await;
                sources.insert(source as i32);
                let found: Vec<_> = edges
                    .iter()
                    .map(|edge| (UserId::parse(&edge.user_id).expect("an id"), edge.expires_at))
                    .collect();
                assert_eq!(found, Self::listed(model, kind, *user), "{kind:?} of {user}");
                assert!(edges.iter().all(|edge| edge.created_at.is_some() && edge.relationship.is_none()));
                all.extend(edges);
            }
        }
        all
    }

    /// Lists as each account sees them.
    async fn seen(&self, model: &Model, consistency: Option<Consistency>, sources: &mut BTreeSet<i32>) {
        for viewer in self.users {
            for (user, kind) in
                self.users.iter().flat_map(|user| [(user, Kind::Followers), (user, Kind::Following)])
            {
                let ask = PageAsk {
                    size: 3,
                    consistency: consistency.clone(),
                    viewer: Some(*viewer),
                    relationships: true,
                    ..PageAsk::default()
                };
                let (edges, source) = walk(&self.queries, kind, *user, ask).await;
                sources.insert(source as i32);
                let wanted: Vec<_> = Self::listed(model, kind, *user)
                    .into_iter()
                    .map(|(other, _)| model.relationship(*viewer, other))
                    .filter(|pair| !pair.blocking && !pair.blocked_by)
                    .collect();
                let found: Vec<_> = edges
                    .into_iter()
                    .map(|edge| {
                        let pair = edge.relationship.expect("a relationship");
                        assert_eq!(pair.user_id, edge.user_id);
                        let etag = String::new();
                        Relationship { following_since: None, followed_by_since: None, etag, ..pair }
                    })
                    .collect();
                assert_eq!(found, wanted, "{kind:?} of {user} as {viewer} sees it");
            }
        }
    }

    async fn counts(&self, model: &Model, consistency: Option<Consistency>, sources: &mut BTreeSet<i32>) {
        let counted = counts_of(model.visible().map(|(key, _)| key));
        for viewer in self.users {
            let request = proto::query::v1::GetCountsRequest {
                user_ids: self.users.iter().map(UserId::to_string).collect(),
                consistency: consistency.clone(),
                viewer_id: viewer.to_string(),
                explain: false,
            };
            let answer = self.queries.clone().get_counts(request).await.expect("counts").into_inner();
            sources.insert(answer.source);
            for (user, found) in self.users.iter().zip(answer.counts) {
                let counts = counted.get(user).copied().unwrap_or_default();
                let own = |count: i64| (user == viewer).then_some(count.unsigned_abs());
                let wanted = Counts {
                    user_id: user.to_string(),
                    followers: counts.followers.unsigned_abs(),
                    following: counts.following.unsigned_abs(),
                    muting: own(counts.muting),
                    blocking: own(counts.blocking),
                    requests_sent: own(counts.requests_sent),
                    requests_received: own(counts.requests_received),
                };
                assert_eq!(found, wanted, "counts of {user} as {viewer} asks");
            }
        }
    }
}
