//! The metric of calls by caller, for the older API.

use devstack::env_file::Env;
use proto::legacy::v2 as wire;
use tests::clients::channel;
use tests::metrics::scrape;
use tests::own::command_service_beside;
use tests::{Endpoints, new_user};
use tonic::Request;

use super::Graph;

/// Each bearer token is a separate caller; all `x-internal-token` tokens are one.
#[tokio::test(flavor = "multi_thread")]
async fn callers_are_counted_each() {
    let settings = Env::default()
        .with("AUTH_TOKENS", "feed=write:the-feeds-secret,mobile=write:the-mobiles-secret")
        .with("INTERNAL_GRAPH_WRITE_TOKEN", "old,new");
    let service = command_service_beside(&Endpoints::shared(), settings);
    let mut graph = Graph::new(channel(&service.spec.grpc.expect("a port").to_string()));
    for (header, token) in [
        ("authorization", "Bearer the-feeds-secret"),
        ("authorization", "Bearer the-mobiles-secret"),
        ("authorization", "Bearer the-mobiles-secret"),
        ("x-internal-token", "old"),
        ("x-internal-token", "new"),
        ("x-internal-token", "new"),
        ("x-internal-token", "made-up"),
    ] {
        let message = wire::CreateFollowRequest { follower_id: new_user(), followee_id: new_user() };
        let mut request = Request::new(message);
        request.metadata_mut().insert(header, token.parse().expect("ASCII"));
        let answer = graph.create_follow(request).await;
        assert_eq!(answer.is_ok(), token != "made-up", "{answer:?}");
    }
    let samples = tokio::task::block_in_place(|| scrape(service.admin_addr()));
    let counted = |caller: &str, code: &str| -> f64 {
        let of_it = samples.iter().filter(|sample| {
            sample.metric == "grpc_server_calls_by_caller_total"
                && (sample.labels["caller"].as_str(), sample.labels["grpc_code"].as_str()) == (caller, code)
        });
        of_it.map(|sample| sample.value).sum()
    };
    let counts = ["feed", "mobile", "internal"].map(|caller| counted(caller, "OK"));
    assert_eq!((counts, counted("none", "PermissionDenied")), ([1.0, 2.0, 3.0], 1.0));
}
