//! Access to reads of the older API: open, with a token, or off.

use std::process::Command;

use devstack::env_file::Env;
use devstack::services::{Program, Service};
use proto::error::Reason;
use proto::legacy::v2 as wire;
use proto::legacy::v2::graph_service_client::GraphServiceClient;
use proto::query::v1::GetStatusRequest;
use tests::clients::channel;
use tests::metrics::scrape;
use tests::own::{binaries, query_service_beside};
use tests::refusal::assert_refused;
use tests::{Endpoints, new_user};
use tokio::task::block_in_place;
use tonic::{Request, Status};

use super::Graph;

const READER: &str = "the-reader-has-this-secret-000001";
const WRITER: &str = "the-writer-has-this-secret-000002";
const OLD: &str = "an-old-client-has-this-secret-003";
const NEW: &str = "a-newer-client-has-this-one-00004";

/// Calls each read once, with this metadata.
async fn read_all(
    graph: &mut Graph,
    metadata: &[(&'static str, String)],
) -> Vec<(&'static str, Result<(), Status>)> {
    let mut outcomes = Vec::new();
    let (a, b) = (new_user(), new_user());
    macro_rules! read {
        ($method:ident, $message:expr) => {{
            let mut request = Request::new($message);
            for (name, value) in metadata {
                request.metadata_mut().insert(*name, value.parse().expect("ASCII"));
            }
            outcomes.push((stringify!($method), graph.$method(request).await.map(drop)));
        }};
    }
    read!(get_followers, wire::GetFollowersRequest { user_id: a.clone(), ..Default::default() });
    read!(get_following, wire::GetFollowingRequest { user_id: a.clone(), ..Default::default() });
    let (follower_id, followee_id) = (a.clone(), b.clone());
    read!(is_following, wire::IsFollowingRequest { follower_id, followee_id });
    read!(is_muted, wire::IsMutedRequest { muter_id: a.clone(), mutee_id: b.clone() });
    read!(is_blocked, wire::IsBlockedRequest { blocker_id: a.clone(), blocked_id: b.clone() });
    let followee_ids = vec![b.clone()];
    read!(batch_check_following, wire::BatchCheckFollowingRequest { follower_id: a.clone(), followee_ids });
    read!(has_block_between, wire::HasBlockBetweenRequest { user_a: a.clone(), user_b: b.clone() });
    read!(get_blocked_users, wire::GetBlockedUsersRequest { user_id: a.clone(), ..Default::default() });
    read!(are_mutual_followers, wire::AreMutualFollowersRequest { user_a: a.clone(), user_b: b });
    read!(get_mutual_followers, wire::GetMutualFollowersRequest { user_id: a, ..Default::default() });
    outcomes
}

async fn all_refused(graph: &mut Graph, metadata: &[(&'static str, String)], reason: Reason) {
    for (method, outcome) in read_all(graph, metadata).await {
        let status = outcome.expect_err(method);
        assert_refused(&status, reason, None);
    }
}

async fn all_answered(graph: &mut Graph, metadata: &[(&'static str, String)]) {
    for (method, outcome) in read_all(graph, metadata).await {
        outcome.unwrap_or_else(|status| panic!("{method}: {status:?}"));
    }
}

fn bearer(token: &str) -> [(&'static str, String); 1] {
    [("authorization", format!("Bearer {token}"))]
}

fn internal(token: &str) -> [(&'static str, String); 1] {
    [("x-internal-token", token.to_owned())]
}

fn beside(shared: &Endpoints, reads: &str) -> (Service, Graph) {
    let settings = Env::default()
        .with("AUTH_TOKENS", format!("read:{READER},write:{WRITER}"))
        .with("INTERNAL_GRAPH_WRITE_TOKEN", format!("{OLD},{NEW}"))
        .with("LEGACY_READS", reads);
    let service = query_service_beside(shared, settings);
    let graph = GraphServiceClient::new(channel(&shared.reading_through(&service).query));
    (service, graph)
}

/// The value of a counter with these labels.
fn counted(service: &Service, metric: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let fits = |sample: &tests::metrics::Sample| {
        sample.metric == metric
            && labels.iter().all(|(name, value)| sample.labels.get(*name).is_some_and(|found| found == value))
    };
    scrape(service.admin_addr()).into_iter().find(fits).map(|sample| sample.value)
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_with_tokens_accept_and_count_either_kind() {
    let shared = Endpoints::shared();
    let (service, mut graph) = beside(&shared, "token");
    all_refused(&mut graph, &[], Reason::Unauthenticated).await;
    all_refused(&mut graph, &bearer("somebody-guesses-a-secret-000005"), Reason::Unauthenticated).await;
    all_refused(&mut graph, &internal(WRITER), Reason::Unauthenticated).await;
    all_refused(&mut graph, &bearer(WRITER), Reason::ScopeMissing).await;
    all_answered(&mut graph, &bearer(READER)).await;
    all_answered(&mut graph, &internal(NEW)).await;
    // Writes still name the process that serves them.
    let status = graph.create_follow(wire::CreateFollowRequest::default()).await.expect_err("a write");
    assert_refused(&status, Reason::WrongService, None);

    // A rotation can be verified: no caller has sent the old one.
    let accepted = |setting, position| {
        counted(&service, "auth_accepted_total", &[("setting", setting), ("position", position)])
    };
    assert_eq!(accepted("INTERNAL_GRAPH_WRITE_TOKEN", "0"), Some(0.0));
    assert_eq!(accepted("INTERNAL_GRAPH_WRITE_TOKEN", "1"), Some(10.0));
    assert_eq!(accepted("AUTH_TOKENS", "0"), Some(10.0));
    assert_eq!(accepted("AUTH_TOKENS", "1"), Some(0.0));
    let refused = |cause| counted(&service, "auth_refused_total", &[("cause", cause)]);
    assert_eq!(["missing", "unknown", "scope"].map(refused), [10.0, 20.0, 10.0].map(Some));
}

#[tokio::test(flavor = "multi_thread")]
async fn disabled_reads_refuse_every_token() {
    let shared = Endpoints::shared();
    let (service, mut graph) = beside(&shared, "off");
    for metadata in [&[][..], &bearer(READER), &internal(OLD)] {
        all_refused(&mut graph, metadata, Reason::LegacyReadsDisabled).await;
    }
    assert_eq!(counted(&service, "auth_refused_total", &[("cause", "disabled")]), Some(30.0));
    let here = shared.reading_through(&service).with_token(READER);
    here.queries().get_status(GetStatusRequest {}).await.expect("the newer API is not affected");
}

#[tokio::test(flavor = "multi_thread")]
async fn open_reads_count_those_without_a_token() {
    let shared = Endpoints::shared();
    let (service, mut graph) = beside(&shared, "open");
    all_answered(&mut graph, &[]).await;
    all_answered(&mut graph, &internal(OLD)).await;
    assert_eq!(counted(&service, "query_legacy_anonymous_reads_total", &[]), Some(10.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn anonymous_reads_must_be_allowed_explicitly() {
    let shared = Endpoints::shared();
    let run = |more: &[(&str, &str)]| {
        let mut command = Command::new(binaries().join(Program::Query.binary()));
        command.env_clear().envs([
            ("DATABASE_URL", shared.logins.database(Program::Query.principal())),
            ("NATS_URL", shared.logins.nats(Program::Query.principal())),
            ("NEO4J_URI", shared.neo4j_uri.as_str()),
            ("NEO4J_USER", shared.neo4j_user.as_str()),
            ("NEO4J_PASSWORD", shared.neo4j_password.as_str()),
        ]);
        let output = block_in_place(|| command.envs(more.iter().copied()).output()).expect("it runs");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    for more in [&[][..], &[("ANONYMOUS_READS", "false")], &[("AUTH_TOKENS", "")]] {
        let (code, said) = run(more);
        assert_eq!(code, Some(2), "{more:?}: {said}");
        assert!(said.contains("AUTH_TOKENS: is not set") && said.contains("ANONYMOUS_READS=true"), "{said}");
    }
}
