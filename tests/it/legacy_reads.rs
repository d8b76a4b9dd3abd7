//! The reads of the older system's API; its clients read their own writes.

mod access;

use std::collections::{BTreeMap, BTreeSet};

use proto::error::{Reason, reason_of};
use proto::legacy::v2 as wire;
use proto::legacy::v2::graph_service_client::GraphServiceClient;
use tests::clients::{List, channel, consistent, walk};
use tests::importing;
use tests::refusal::assert_refused;
use tests::truth::wait_caught_up;
use tests::{Endpoints, new_user};
use tonic::transport::Channel;
use tonic::{Code, Request};

type Graph = GraphServiceClient<Channel>;

/// A client of the reads. It has no token: by default they are open.
fn reads(endpoints: &Endpoints) -> Graph {
    GraphServiceClient::new(channel(&endpoints.query))
}

/// A client of the writes.
struct Writes {
    graph: Graph,
    token: String,
}

impl Writes {
    fn of(endpoints: &Endpoints) -> Self {
        Self { graph: GraphServiceClient::new(channel(&endpoints.command)), token: endpoints.token.clone() }
    }

    fn with_token<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert("x-internal-token", self.token.parse().expect("ASCII"));
        request
    }

    async fn follow(&mut self, follower: &str, followee: &str) {
        let request =
            wire::CreateFollowRequest { follower_id: follower.into(), followee_id: followee.into() };
        let request = self.with_token(request);
        self.graph.create_follow(request).await.expect("a follow");
    }

    async fn unfollow(&mut self, follower: &str, followee: &str) {
        let request =
            wire::DeleteFollowRequest { follower_id: follower.into(), followee_id: followee.into() };
        let request = self.with_token(request);
        self.graph.delete_follow(request).await.expect("an unfollow");
    }

    async fn mute(&mut self, muter: &str, mutee: &str) {
        let request = wire::CreateMuteRequest { muter_id: muter.into(), mutee_id: mutee.into() };
        let request = self.with_token(request);
        self.graph.create_mute(request).await.expect("a mute");
    }

    async fn block(&mut self, blocker: &str, blocked: &str) {
        let request = wire::CreateBlockRequest { blocker_id: blocker.into(), blocked_id: blocked.into() };
        let request = self.with_token(request);
        self.graph.create_block(request).await.expect("a block");
    }

    async fn unblock(&mut self, blocker: &str, blocked: &str) {
        let request = wire::DeleteBlockRequest { blocker_id: blocker.into(), blocked_id: blocked.into() };
        let request = self.with_token(request);
        self.graph.delete_block(request).await.expect("an unblock");
    }
}

fn ids(number: usize) -> Vec<String> {
    (0..number).map(|_| new_user()).collect()
}

async fn is_following(graph: &mut Graph, follower: &str, followee: &str) -> bool {
    let request = wire::IsFollowingRequest { follower_id: follower.into(), followee_id: followee.into() };
    graph.is_following(request).await.expect("an answer").into_inner().is_following
}

async fn followers(graph: &mut Graph, user: &str, limit: i32, offset: i32) -> wire::GetFollowersResponse {
    let request = wire::GetFollowersRequest { user_id: user.into(), limit, offset, viewer_id: String::new() };
    graph.get_followers(request).await.expect("a list").into_inner()
}

async fn following(graph: &mut Graph, user: &str, limit: i32, offset: i32) -> wire::GetFollowingResponse {
    let request = wire::GetFollowingRequest { user_id: user.into(), limit, offset, viewer_id: String::new() };
    graph.get_following(request).await.expect("a list").into_inner()
}

async fn blocked(graph: &mut Graph, user: &str, limit: i32, offset: i32) -> wire::GetBlockedUsersResponse {
    let request = wire::GetBlockedUsersRequest { user_id: user.into(), limit, offset };
    graph.get_blocked_users(request).await.expect("a list").into_inner()
}

async fn friends(graph: &mut Graph, user: &str, limit: i32, offset: i32) -> wire::GetMutualFollowersResponse {
    let request = wire::GetMutualFollowersRequest { user_id: user.into(), limit, offset };
    graph.get_mutual_followers(request).await.expect("a list").into_inner()
}

#[tokio::test]
async fn clients_read_their_own_writes() {
    let endpoints = Endpoints::shared();
    let (mut writes, mut graph) = (Writes::of(&endpoints), reads(&endpoints));
    for _ in 0..10 {
        let (a, b) = (new_user(), new_user());
        let relations = async |graph: &mut Graph| {
            let muted = wire::IsMutedRequest { muter_id: a.clone(), mutee_id: b.clone() };
            let blocked = wire::IsBlockedRequest { blocker_id: a.clone(), blocked_id: b.clone() };
            let muted = graph.is_muted(muted).await.expect("an answer").into_inner().is_muted;
            let blocked = graph.is_blocked(blocked).await.expect("an answer").into_inner().is_blocked;
            (muted, blocked)
        };
        writes.follow(&a, &b).await;
        assert!(is_following(&mut graph, &a, &b).await);
        assert!(!is_following(&mut graph, &b, &a).await);
        writes.follow(&b, &a).await;
        let request = wire::AreMutualFollowersRequest { user_a: a.clone(), user_b: b.clone() };
        let mutual = graph.are_mutual_followers(request.clone()).await.expect("an answer").into_inner();
        assert_eq!((mutual.are_mutuals, mutual.a_follows_b, mutual.b_follows_a), (true, true, true));
        assert_eq!(friends(&mut graph, &a, 0, 0).await.user_ids, *std::slice::from_ref(&b));
        writes.unfollow(&b, &a).await;
        let mutual = graph.are_mutual_followers(request).await.expect("an answer").into_inner();
        assert_eq!((mutual.are_mutuals, mutual.a_follows_b, mutual.b_follows_a), (false, true, false));
        assert_eq!(followers(&mut graph, &b, 0, 0).await.user_ids, *std::slice::from_ref(&a));
        assert_eq!(friends(&mut graph, &a, 0, 0).await.total_count, 0);
        writes.mute(&a, &b).await;
        assert_eq!(relations(&mut graph).await, (true, false));
        writes.block(&a, &b).await;
        assert_eq!(relations(&mut graph).await, (true, true));
        assert!(!is_following(&mut graph, &a, &b).await, "the block ended it");
        assert_eq!(blocked(&mut graph, &a, 0, 0).await.blocked_user_ids, *std::slice::from_ref(&b));
        let between = |user_a: &str, user_b: &str| wire::HasBlockBetweenRequest {
            user_a: user_a.to_owned(),
            user_b: user_b.to_owned(),
        };
        let answer = graph.has_block_between(between(&a, &b)).await.expect("an answer").into_inner();
        assert_eq!((answer.has_block, answer.a_blocked_b, answer.b_blocked_a), (true, true, false));
        let answer = graph.has_block_between(between(&b, &a)).await.expect("an answer").into_inner();
        assert_eq!((answer.has_block, answer.a_blocked_b, answer.b_blocked_a), (true, false, true));
        writes.unblock(&a, &b).await;
        let answer = graph.has_block_between(between(&a, &b)).await.expect("an answer").into_inner();
        assert!(!answer.has_block);
    }
}

#[tokio::test]
async fn follows_are_cut_at_any_offset() {
    let endpoints = Endpoints::shared();
    let mut graph = reads(&endpoints);
    let user = new_user();
    let others = ids(2_600);
    let incoming: Vec<_> = others.iter().map(|other| (other.clone(), user.clone())).collect();
    let outgoing: Vec<_> = others.iter().take(700).map(|other| (user.clone(), other.clone())).collect();
    importing::all(&mut endpoints.commands(), &[incoming, outgoing].concat(), 1_000).await;
    // A read without a fresh answer in time returns an older one; here that must include the import too.
    wait_caught_up(&endpoints).await;
    let mut queries = endpoints.queries();
    let of = async |queries: &mut tests::Queries, list| {
        walk(queries, list, &user, 1_000, consistent()).await.expect("a walk")
    };
    let (fans, followed) = (of(&mut queries, List::Followers).await, of(&mut queries, List::Following).await);
    assert_eq!((fans.len(), followed.len()), (2_600, 700));
    // The default, near the beginning, across the limit of a single page, far, at and beyond the end.
    for (limit, offset) in [
        (0, 0),
        (1, 0),
        (37, 13),
        (1_000, 999),
        (1_000, 1_000),
        (10, 1_995),
        (100, 2_550),
        (5, 2_595),
        (50, 2_600),
        (50, 9_999),
        (10_001, 0),
        (i32::MAX, 1),
        (50, i32::MAX),
    ] {
        let size = if limit == 0 { 50 } else { usize::try_from(limit).expect("a limit").min(10_000) };
        let skip = usize::try_from(offset).expect("an offset");
        for (list, whole) in [(List::Followers, &fans), (List::Following, &followed)] {
            let wanted: Vec<_> = whole.iter().skip(skip).take(size).cloned().collect();
            let more = skip + size < whole.len();
            let (found, total, has_more, seen) = match list {
                List::Followers => {
                    let answer = followers(&mut graph, &user, limit, offset).await;
                    (answer.user_ids, answer.total_count, answer.has_more, answer.users)
                }
                List::Following => {
                    let answer = following(&mut graph, &user, limit, offset).await;
                    (answer.user_ids, answer.total_count, answer.has_more, answer.users)
                }
            };
            assert_eq!(found, wanted, "{list:?}, limit {limit}, offset {offset}");
            assert_eq!(usize::try_from(total), Ok(whole.len()), "{list:?}, limit {limit}, offset {offset}");
            assert_eq!(has_more, more, "{list:?}, limit {limit}, offset {offset}");
            assert_eq!(seen, [], "no viewer");
        }
    }
}

#[tokio::test]
async fn friends_and_blocks_are_cut_too() {
    let endpoints = Endpoints::shared();
    let (mut writes, mut graph) = (Writes::of(&endpoints), reads(&endpoints));
    let user = new_user();
    let others = ids(60);
    let edges: Vec<_> = others
        .iter()
        .map(|other| (user.clone(), other.clone()))
        .chain(others.iter().skip(10).rev().map(|other| (other.clone(), user.clone())))
        .collect();
    importing::all(&mut endpoints.commands(), &edges, 1_000).await;
    wait_caught_up(&endpoints).await;
    let followed = walk(&mut endpoints.queries(), List::Following, &user, 1_000, consistent()).await;
    let back: BTreeSet<_> = others.iter().skip(10).collect();
    let wanted: Vec<_> = followed.expect("a walk").into_iter().filter(|other| back.contains(other)).collect();
    let foes = ids(7);
    for foe in &foes {
        writes.block(&user, foe).await;
    }
    let newest_first: Vec<_> = foes.iter().rev().cloned().collect();
    for (limit, offset) in [(0, 0), (7, 0), (7, 7), (3, 2), (20, 45), (5, 50), (1_001, 1), (1, 99)] {
        let size = if limit == 0 { 50 } else { usize::try_from(limit).expect("a limit").min(1_000) };
        let skip = usize::try_from(offset).expect("an offset");
        let answer = friends(&mut graph, &user, limit, offset).await;
        let part: Vec<_> = wanted.iter().skip(skip).take(size).cloned().collect();
        assert_eq!(answer.user_ids, part, "limit {limit}, offset {offset}");
        assert_eq!((answer.total_count, answer.has_more), (50, skip + size < 50), "{limit} {offset}");
        let answer = blocked(&mut graph, &user, limit, offset).await;
        let part: Vec<_> = newest_first.iter().skip(skip).take(size).cloned().collect();
        assert_eq!(answer.blocked_user_ids, part, "limit {limit}, offset {offset}");
        assert_eq!((answer.total_count, answer.has_more), (7, skip + size < 7), "{limit} {offset}");
    }
}

#[tokio::test]
async fn a_viewer_adds_relationships_and_filters_nothing() {
    let endpoints = Endpoints::shared();
    let (mut writes, mut graph) = (Writes::of(&endpoints), reads(&endpoints));
    let (star, viewer) = (new_user(), new_user());
    let fans = ids(4);
    for fan in fans.iter().chain([&viewer]) {
        writes.follow(fan, &star).await;
        writes.follow(&star, fan).await;
    }
    writes.follow(&viewer, &fans[0]).await;
    writes.follow(&fans[1], &viewer).await;
    writes.follow(&viewer, &fans[2]).await;
    writes.follow(&fans[2], &viewer).await;
    writes.block(&viewer, &fans[3]).await;
    let wanted: BTreeMap<_, _> = [
        (fans[0].clone(), (true, false)),
        (fans[1].clone(), (false, true)),
        (fans[2].clone(), (true, true)),
        (fans[3].clone(), (false, false)),
        (viewer.clone(), (false, false)),
    ]
    .into();
    let request = wire::GetFollowersRequest {
        user_id: star.clone(),
        limit: 0,
        offset: 0,
        viewer_id: viewer.to_uppercase(),
    };
    let of_followers = graph.get_followers(request).await.expect("a list").into_inner();
    let request =
        wire::GetFollowingRequest { user_id: star.clone(), limit: 0, offset: 0, viewer_id: viewer.clone() };
    let of_following = graph.get_following(request).await.expect("a list").into_inner();
    for (ids, users) in
        [(of_followers.user_ids, of_followers.users), (of_following.user_ids, of_following.users)]
    {
        let order: Vec<_> = users.iter().map(|user| user.user_id.clone()).collect();
        assert_eq!(order, ids, "the same accounts in the same order");
        let seen: BTreeMap<_, _> = users
            .into_iter()
            .map(|user| (user.user_id, (user.you_are_following, user.follows_you)))
            .collect();
        assert_eq!(seen, wanted);
    }
}

#[tokio::test]
async fn checks_are_keyed_by_the_callers_own_texts() {
    let endpoints = Endpoints::shared();
    let (mut writes, mut graph) = (Writes::of(&endpoints), reads(&endpoints));
    let (fan, star, other) = (new_user(), new_user(), new_user());
    writes.follow(&fan, &star).await;
    let check = |followee_ids: Vec<String>| wire::BatchCheckFollowingRequest {
        follower_id: fan.clone(),
        followee_ids,
    };
    let asked = vec![star.to_uppercase(), star.clone(), other.clone(), star.clone(), fan.clone()];
    let answer = graph.batch_check_following(check(asked)).await.expect("an answer").into_inner();
    let wanted = [(star.to_uppercase(), true), (star.clone(), true), (other, false), (fan.clone(), false)];
    assert_eq!(answer.results, wanted.into_iter().collect());
    let none = graph.batch_check_following(check(vec![])).await.expect("an answer").into_inner();
    assert!(none.results.is_empty());
    let hundred = graph.batch_check_following(check(ids(100))).await.expect("an answer").into_inner();
    assert_eq!(hundred.results.len(), 100);
    let status = graph.batch_check_following(check(ids(101))).await.expect_err("too many");
    assert_refused(&status, Reason::TooManyItems, Some("followee_ids"));
    let status = graph.batch_check_following(check(vec![star, "x".into()])).await.expect_err("a bad id");
    assert_refused(&status, Reason::InvalidUuid, Some("followee_ids[1]"));
}

#[tokio::test]
async fn bad_input_names_its_field() {
    let mut graph = reads(&Endpoints::shared());
    let (good, bad) = (new_user(), "nobody".to_owned());
    macro_rules! refused {
        ($method:ident, $message:expr, $field:literal) => {
            let status = graph.$method($message).await.expect_err("refused");
            assert_refused(&status, Reason::InvalidUuid, Some($field));
            assert!(status.message().contains($field), "{}", status.message());
        };
    }
    let list = |user_id: &str, viewer_id: &str| wire::GetFollowersRequest {
        user_id: user_id.to_owned(),
        viewer_id: viewer_id.to_owned(),
        ..Default::default()
    };
    refused!(get_followers, list(&bad, ""), "user_id");
    refused!(get_followers, list(&good, &bad), "viewer_id");
    let list = wire::GetFollowingRequest { user_id: bad.clone(), ..Default::default() };
    refused!(get_following, list, "user_id");
    let ask = wire::IsFollowingRequest { follower_id: good.clone(), followee_id: bad.clone() };
    refused!(is_following, ask, "followee_id");
    refused!(is_muted, wire::IsMutedRequest { muter_id: bad.clone(), mutee_id: good.clone() }, "muter_id");
    let ask = wire::IsBlockedRequest { blocker_id: good.clone(), blocked_id: bad.clone() };
    refused!(is_blocked, ask, "blocked_id");
    let ask = wire::HasBlockBetweenRequest { user_a: bad.clone(), user_b: good.clone() };
    refused!(has_block_between, ask, "user_a");
    let ask = wire::AreMutualFollowersRequest { user_a: good.clone(), user_b: bad.clone() };
    refused!(are_mutual_followers, ask, "user_b");
    let list = wire::GetBlockedUsersRequest { user_id: bad.clone(), ..Default::default() };
    refused!(get_blocked_users, list, "user_id");
    let list = wire::GetMutualFollowersRequest { user_id: bad.clone(), ..Default::default() };
    refused!(get_mutual_followers, list, "user_id");
    let ask = wire::BatchCheckFollowingRequest { follower_id: bad, followee_ids: vec![] };
    refused!(batch_check_following, ask, "follower_id");
    for (limit, offset, field) in [(-1, 0, "limit"), (1, -1, "offset")] {
        let list = wire::GetFollowersRequest { user_id: good.clone(), limit, offset, ..Default::default() };
        let status = graph.get_followers(list).await.expect_err("refused");
        assert_refused(&status, Reason::NegativePageSize, Some(field));
    }
}

#[tokio::test]
async fn writes_are_served_elsewhere() {
    let mut graph = reads(&Endpoints::shared());
    let statuses = [
        graph.create_follow(wire::CreateFollowRequest::default()).await.expect_err("a write"),
        graph.delete_follow(wire::DeleteFollowRequest::default()).await.expect_err("a write"),
        graph.create_mute(wire::CreateMuteRequest::default()).await.expect_err("a write"),
        graph.delete_mute(wire::DeleteMuteRequest::default()).await.expect_err("a write"),
        graph.create_block(wire::CreateBlockRequest::default()).await.expect_err("a write"),
        graph.delete_block(wire::DeleteBlockRequest::default()).await.expect_err("a write"),
    ];
    for status in statuses {
        assert_eq!((status.code(), reason_of(&status)), (Code::Unimplemented, Some(Reason::WrongService)));
        assert!(status.message().contains("command-service"), "{}", status.message());
    }
}
