//! The writes of the older system's API, its tokens, its migration tool, and the SQL of its operators.

mod callers;
mod import;
mod verbs;
mod verify;

use async_nats::jetstream;
use devstack::env_file::Env;
use proto::command::v1::SetAccountPrivacyRequest;
use proto::error::{Reason, reason_of};
use proto::legacy::v2 as wire;
use proto::legacy::v2::graph_service_client::GraphServiceClient;
use proto::subjects;
use tests::clients::{channel, check};
use tests::own::command_service_beside;
use tests::{Endpoints, new_user, until};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_types::StatusExt as _;

type Graph = GraphServiceClient<Channel>;

/// A request as the older clients send it.
fn with_token<T>(token: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("x-internal-token", token.parse().expect("ASCII"));
    request
}

/// One of the six writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Write {
    CreateFollow,
    DeleteFollow,
    CreateMute,
    DeleteMute,
    CreateBlock,
    DeleteBlock,
}

impl Write {
    const ALL: [Self; 6] = [
        Self::CreateFollow,
        Self::DeleteFollow,
        Self::CreateMute,
        Self::DeleteMute,
        Self::CreateBlock,
        Self::DeleteBlock,
    ];

    /// The names of its two fields.
    fn fields(self) -> [&'static str; 2] {
        match self {
            Self::CreateFollow | Self::DeleteFollow => ["follower_id", "followee_id"],
            Self::CreateMute | Self::DeleteMute => ["muter_id", "mutee_id"],
            Self::CreateBlock | Self::DeleteBlock => ["blocker_id", "blocked_id"],
        }
    }

    /// Calls it; returns success and message.
    async fn call(
        self,
        graph: &mut Graph,
        prepare: impl Fn(&mut tonic::metadata::MetadataMap),
        a: &str,
        b: &str,
    ) -> Result<(bool, String), Status> {
        let (a, b) = (a.to_owned(), b.to_owned());
        macro_rules! call {
            ($method:ident, $message:ident, $first:ident, $second:ident) => {{
                let mut request = Request::new(wire::$message { $first: a, $second: b });
                prepare(request.metadata_mut());
                let answer = graph.$method(request).await?.into_inner();
                Ok((answer.success, answer.message))
            }};
        }
        match self {
            Self::CreateFollow => call!(create_follow, CreateFollowRequest, follower_id, followee_id),
            Self::DeleteFollow => call!(delete_follow, DeleteFollowRequest, follower_id, followee_id),
            Self::CreateMute => call!(create_mute, CreateMuteRequest, muter_id, mutee_id),
            Self::DeleteMute => call!(delete_mute, DeleteMuteRequest, muter_id, mutee_id),
            Self::CreateBlock => call!(create_block, CreateBlockRequest, blocker_id, blocked_id),
            Self::DeleteBlock => call!(delete_block, DeleteBlockRequest, blocker_id, blocked_id),
        }
    }
}

/// A client of the API with a valid token.
struct Api {
    graph: Graph,
    token: String,
}

impl Api {
    fn of(endpoints: &Endpoints) -> Self {
        Self { graph: GraphServiceClient::new(channel(&endpoints.command)), token: endpoints.token.clone() }
    }

    async fn write(&mut self, write: Write, a: &str, b: &str) -> Result<(bool, String), Status> {
        let token = self.token.clone();
        let prepare = move |metadata: &mut tonic::metadata::MetadataMap| {
            metadata.insert("x-internal-token", token.parse().expect("ASCII"));
        };
        write.call(&mut self.graph, prepare, a, b).await
    }
}

/// The number of rows of the pair in each table, by the operators' query.
async fn rows(endpoints: &Endpoints, a: &str, b: &str) -> [i64; 3] {
    let (a, b): (uuid::Uuid, uuid::Uuid) = (a.parse().expect("an id"), b.parse().expect("an id"));
    let pool = endpoints.postgres().await;
    let mut found = [0; 3];
    for (rows, statement) in found.iter_mut().zip([
        "SELECT count(*) FROM follows WHERE follower_id = $1 AND following_id = $2",
        "SELECT count(*) FROM mutes WHERE muter_id = $1 AND muted_id = $2",
        "SELECT count(*) FROM blocks WHERE blocker_id = $1 AND blocked_id = $2",
    ]) {
        *rows = sqlx::query_scalar(statement).bind(a).bind(b).fetch_one(&pool).await.expect("a count");
    }
    found
}

#[tokio::test]
async fn every_write_is_obeyed_and_so_is_its_repeat() {
    let endpoints = Endpoints::shared();
    let mut api = Api::of(&endpoints);
    let (a, b) = (new_user(), new_user());
    for (write, message, wanted) in [
        (Write::CreateFollow, "following", [1, 0, 0]),
        (Write::CreateMute, "muted", [1, 1, 0]),
        (Write::DeleteFollow, "not following", [0, 1, 0]),
        (Write::CreateFollow, "following", [1, 1, 0]),
        (Write::CreateBlock, "blocked", [0, 1, 1]),
        (Write::DeleteMute, "not muted", [0, 0, 1]),
        (Write::DeleteBlock, "not blocked", [0, 0, 0]),
        (Write::DeleteFollow, "not following", [0, 0, 0]),
    ] {
        for round in ["first", "repeat"] {
            let answer = api.write(write, &a, &b).await.expect("success");
            assert_eq!(answer, (true, message.to_owned()), "{write:?}, {round}");
            assert_eq!(rows(&endpoints, &a, &b).await, wanted, "{write:?}, {round}");
        }
    }
}

#[tokio::test]
async fn ids_are_accepted_in_any_case() {
    let endpoints = Endpoints::shared();
    let (a, b) = (new_user(), new_user());
    Api::of(&endpoints).write(Write::CreateFollow, &a.to_uppercase(), &b).await.expect("success");
    assert_eq!(rows(&endpoints, &a, &b).await, [1, 0, 0]);
}

#[tokio::test]
async fn bad_ids_name_their_field_and_self_edges_are_refused() {
    let mut api = Api::of(&Endpoints::shared());
    let user = new_user();
    for write in Write::ALL {
        let [first, second] = write.fields();
        for (a, b, reason, field) in [
            ("17", user.as_str(), Reason::InvalidUuid, first),
            (user.as_str(), "not-a-uuid", Reason::InvalidUuid, second),
            ("", user.as_str(), Reason::FieldRequired, first),
            (user.as_str(), user.as_str(), Reason::SelfEdge, second),
        ] {
            let status = api.write(write, a, b).await.expect_err("refused");
            assert_eq!(
                (status.code(), reason_of(&status)),
                (Code::InvalidArgument, Some(reason)),
                "{write:?}"
            );
            let details = status.get_details_bad_request().expect("the field");
            assert_eq!(details.field_violations[0].field, field, "{write:?}");
            assert!(status.message().contains(field), "{write:?}: {}", status.message());
        }
    }
}

#[tokio::test]
async fn a_follow_across_a_block_is_refused_in_both_directions() {
    let mut api = Api::of(&Endpoints::shared());
    let (a, b) = (new_user(), new_user());
    api.write(Write::CreateBlock, &a, &b).await.expect("success");
    for (x, y) in [(&a, &b), (&b, &a)] {
        let status = api.write(Write::CreateFollow, x, y).await.expect_err("refused");
        assert_eq!((status.code(), reason_of(&status)), (Code::FailedPrecondition, Some(Reason::Blocked)));
    }
}

#[tokio::test]
async fn a_private_account_is_asked() {
    let endpoints = Endpoints::shared();
    let (fan, star) = (new_user(), new_user());
    let request = SetAccountPrivacyRequest { user_id: star.clone(), private: true, ..Default::default() };
    endpoints.commands().set_account_privacy(request).await.expect("private from now on");
    let mut api = Api::of(&endpoints);
    for round in ["first", "repeat"] {
        let answer = api.write(Write::CreateFollow, &fan, &star).await.expect("success");
        assert_eq!(answer, (true, "requested".to_owned()), "{round}");
    }
    assert_eq!(rows(&endpoints, &fan, &star).await, [0; 3]);
    api.write(Write::DeleteFollow, &fan, &star).await.expect("the request is withdrawn");
    let pool = endpoints.postgres().await;
    let pending: i64 = sqlx::query_scalar("SELECT count(*) FROM follow_requests WHERE requester_id = $1")
        .bind(fan.parse::<uuid::Uuid>().expect("an id"))
        .fetch_one(&pool)
        .await
        .expect("a count");
    assert_eq!(pending, 0);
}

#[tokio::test]
async fn writes_need_the_internal_token_or_the_write_scope() {
    let endpoints = Endpoints::shared();
    let mut graph = GraphServiceClient::new(channel(&endpoints.command));
    let bearer = format!("Bearer {}", endpoints.token);
    for write in Write::ALL {
        let (a, b) = (new_user(), new_user());
        for (header, value) in
            [("x-nothing", "x"), ("x-internal-token", "guess"), ("authorization", "Bearer guess")]
        {
            let prepare = |metadata: &mut tonic::metadata::MetadataMap| {
                metadata.insert(header, value.parse().expect("ASCII"));
            };
            let status = write.call(&mut graph, prepare, &a, &b).await.expect_err("refused");
            assert_eq!(status.code(), Code::PermissionDenied, "{write:?} {header}");
            assert_eq!(reason_of(&status), Some(Reason::ScopeMissing), "{write:?} {header}");
        }
        let prepare = |metadata: &mut tonic::metadata::MetadataMap| {
            metadata.insert("authorization", bearer.parse().expect("ASCII"));
        };
        write.call(&mut graph, prepare, &a, &b).await.expect("a bearer token that may write");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn internal_tokens_rotate_and_none_disables_writes() {
    let shared = Endpoints::shared();
    let settings = Env::default().with("INTERNAL_GRAPH_WRITE_TOKEN", "the-old-one, the-new-one");
    let two = command_service_beside(&shared, settings);
    let mut api = Api::of(&shared.through(&two).with_token("the-old-one"));
    let (a, b) = (new_user(), new_user());
    assert!(api.write(Write::CreateFollow, &a, &b).await.expect("the old one").0);
    api.token = "the-new-one".to_owned();
    assert!(api.write(Write::DeleteFollow, &a, &b).await.expect("the new one").0);
    for other in ["the-old-one, the-new-one", "the-old-on", "the-old-one2", ""] {
        api.token = other.to_owned();
        let status = api.write(Write::CreateFollow, &a, &b).await.expect_err("refused");
        assert_eq!(status.code(), Code::PermissionDenied, "{other:?}");
    }
    let log = two.log_tail(1_000);
    assert!(log.contains("INTERNAL_GRAPH_WRITE_TOKEN="), "the settings are logged: {log}");
    assert!(!log.contains("the-old-one") && !log.contains("the-new-one"), "tokens are in the log");

    let none = command_service_beside(&shared, Env::default());
    let mut api = Api::of(&shared.through(&none).with_token("any"));
    let status = api.write(Write::CreateFollow, &a, &b).await.expect_err("refused");
    assert_eq!((status.code(), reason_of(&status)), (Code::PermissionDenied, Some(Reason::WritesDisabled)));
}

/// The last sequence number of the stream.
async fn last_in_stream(endpoints: &Endpoints) -> u64 {
    let epoch = tests::truth::head_token(endpoints).await.epoch;
    let jetstream = jetstream::new(endpoints.nats().await);
    let stream = jetstream.get_stream(subjects::stream_name(epoch)).await.expect("the stream");
    stream.cached_info().state.last_sequence
}

/// The event of a write is in the stream when the write is answered, and a read without a token sees it as soon as the
/// read model has applied it.
async fn assert_acknowledged(endpoints: &Endpoints) {
    let mut api = Api::of(endpoints);
    let pool = endpoints.postgres().await;
    for _ in 0..20 {
        let (a, b) = (new_user(), new_user());
        api.write(Write::CreateFollow, &a, &b).await.expect("success");
        let last = last_in_stream(endpoints).await;
        let revision: i64 = sqlx::query_scalar("SELECT revision FROM follows WHERE follower_id = $1")
            .bind(a.parse::<uuid::Uuid>().expect("an id"))
            .fetch_one(&pool)
            .await
            .expect("the follow");
        assert!(last >= revision.unsigned_abs(), "answered at {revision}, the stream has {last}");
        let queries = endpoints.queries();
        until("a read without a token to see the write", || {
            let (mut queries, a, b) = (queries.clone(), a.clone(), b.clone());
            async move {
                let answer = check(&mut queries, &a, &b, None).await.map_err(|status| status.to_string())?;
                if answer.following { Ok(()) } else { Err(format!("{answer:?}")) }
            }
        })
        .await;
    }
}

#[tokio::test]
async fn a_write_is_in_the_stream_when_it_is_answered() {
    assert_acknowledged(&Endpoints::shared()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_through_a_second_process_are_in_the_stream() {
    let shared = Endpoints::shared();
    let settings = Env::default().with("INTERNAL_GRAPH_WRITE_TOKEN", &shared.token);
    let second = command_service_beside(&shared, settings);
    assert_acknowledged(&shared.through(&second)).await;
}

#[tokio::test]
async fn reflection_shows_the_older_api() {
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::FileContainingSymbol(
            "nova.graph_service.v2.GraphService.GetMutualFollowers".into(),
        )),
    };
    let list = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut answers = ServerReflectionClient::new(channel(&Endpoints::shared().command))
        .server_reflection_info(futures::stream::iter([request, list]))
        .await
        .expect("an answer")
        .into_inner();
    let file = answers.message().await.expect("an answer").expect("not the end").message_response;
    assert!(matches!(file, Some(MessageResponse::FileDescriptorResponse(_))), "{file:?}");
    let list = answers.message().await.expect("an answer").expect("not the end").message_response;
    let Some(MessageResponse::ListServicesResponse(list)) = list else { panic!("{list:?}") };
    assert!(
        list.service.iter().any(|service| service.name == "nova.graph_service.v2.GraphService"),
        "{list:?}"
    );
}

#[tokio::test]
async fn reads_are_served_elsewhere() {
    let mut graph = GraphServiceClient::new(channel(&Endpoints::shared().command));
    let (a, b) = (new_user(), new_user());
    let follower = || wire::IsFollowingRequest { follower_id: a.clone(), followee_id: b.clone() };
    let list = wire::GetFollowersRequest { user_id: a.clone(), ..Default::default() };
    let batch = wire::BatchCheckFollowingRequest { follower_id: a.clone(), followee_ids: vec![b.clone()] };
    let statuses = [
        graph.get_followers(list).await.expect_err("a read"),
        graph.get_following(wire::GetFollowingRequest::default()).await.expect_err("a read"),
        graph.is_following(with_token("any", follower())).await.expect_err("a read"),
        graph.is_muted(wire::IsMutedRequest::default()).await.expect_err("a read"),
        graph.is_blocked(wire::IsBlockedRequest::default()).await.expect_err("a read"),
        graph.batch_check_following(batch).await.expect_err("a read"),
        graph.has_block_between(wire::HasBlockBetweenRequest::default()).await.expect_err("a read"),
        graph.get_blocked_users(wire::GetBlockedUsersRequest::default()).await.expect_err("a read"),
        graph.are_mutual_followers(wire::AreMutualFollowersRequest::default()).await.expect_err("a read"),
        graph.get_mutual_followers(wire::GetMutualFollowersRequest::default()).await.expect_err("a read"),
    ];
    for status in statuses {
        assert_eq!((status.code(), reason_of(&status)), (Code::Unimplemented, Some(Reason::WrongService)));
        assert!(status.message().contains("query-service"), "{}", status.message());
    }
}
