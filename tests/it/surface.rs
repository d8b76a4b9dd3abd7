//! Health, reflection, access, compression, and the status of both services.

use proto::command::v1::command_service_client::CommandServiceClient;
use proto::command::v1::{FollowRequest, GetStatusRequest};
use proto::error::{Reason, reason_of};
use proto::graph::v1::StreamState;
use proto::legacy::v2::graph_service_client::GraphServiceClient;
use proto::legacy::v2::{CreateFollowRequest, GetFollowersRequest};
use proto::query::v1::GetCountsRequest;
use tests::clients::{Bearer, channel};
use tests::{Endpoints, new_user};
use tonic::codec::CompressionEncoding;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

#[tokio::test]
async fn health_is_serving_on_both() {
    let endpoints = Endpoints::shared();
    for (address, service) in [
        (&endpoints.command, "followgraph.command.v1.CommandService"),
        (&endpoints.query, "followgraph.query.v1.QueryService"),
    ] {
        for service in ["", service] {
            let request = HealthCheckRequest { service: service.into() };
            let status =
                HealthClient::new(channel(address)).check(request).await.expect("an answer").into_inner();
            assert_eq!(status.status(), ServingStatus::Serving, "{address} {service}");
        }
    }
}

#[tokio::test]
async fn every_service_takes_requests_that_are_compressed_with_gzip() {
    let endpoints = Endpoints::shared();
    let gzip = CompressionEncoding::Gzip;
    let (actor_id, target_id) = (new_user(), new_user());
    let request = FollowRequest { actor_id: actor_id.clone(), target_id, ..FollowRequest::default() };
    endpoints.commands().send_compressed(gzip).follow(request).await.expect("a follow");
    let request = GetCountsRequest { user_ids: vec![actor_id.clone()], ..Default::default() };
    endpoints.queries().send_compressed(gzip).get_counts(request).await.expect("counts");
    let older = |address: &str| {
        let bearer = Bearer::new(&endpoints.token);
        GraphServiceClient::with_interceptor(channel(address), bearer).send_compressed(gzip)
    };
    let request = GetFollowersRequest { user_id: actor_id, ..Default::default() };
    older(&endpoints.query).get_followers(request).await.expect("followers");
    let request = CreateFollowRequest { follower_id: new_user(), followee_id: new_user() };
    older(&endpoints.command).create_follow(request).await.expect("a follow");
    for address in [&endpoints.command, &endpoints.query] {
        let mut health = HealthClient::new(channel(address)).send_compressed(gzip);
        health.check(HealthCheckRequest::default()).await.expect("an answer");
    }
}

#[tokio::test]
async fn reflection_lists_what_is_served_and_nothing_else() {
    let endpoints = Endpoints::shared();
    for (address, service) in [
        (&endpoints.command, "followgraph.command.v1.CommandService"),
        (&endpoints.query, "followgraph.query.v1.QueryService"),
    ] {
        let request = ServerReflectionRequest {
            host: String::new(),
            message_request: Some(MessageRequest::ListServices(String::new())),
        };
        let mut answers = ServerReflectionClient::new(channel(address))
            .server_reflection_info(futures::stream::iter([request]))
            .await
            .expect("an answer")
            .into_inner();
        let answer = answers.message().await.expect("an answer").expect("not the end").message_response;
        let Some(MessageResponse::ListServicesResponse(list)) = answer else { panic!("{answer:?}") };
        let names: Vec<_> =
            list.service.iter().map(|s| s.name.as_str()).filter(|n| n.starts_with("followgraph")).collect();
        assert_eq!(names, [service]);
    }
}

#[tokio::test]
async fn writes_need_a_token() {
    let endpoints = Endpoints::shared();
    let request = FollowRequest { actor_id: new_user(), target_id: new_user(), ..FollowRequest::default() };
    let status = CommandServiceClient::new(channel(&endpoints.command))
        .follow(request.clone())
        .await
        .expect_err("no token");
    assert_eq!(reason_of(&status), Some(Reason::Unauthenticated));
    let status = CommandServiceClient::with_interceptor(channel(&endpoints.command), Bearer::new("guess"))
        .follow(request)
        .await
        .expect_err("a wrong token");
    assert_eq!(reason_of(&status), Some(Reason::Unauthenticated));
}

#[tokio::test]
async fn status_shows_the_whole_pipeline() {
    let endpoints = Endpoints::shared();
    tests::clients::follow(&mut endpoints.commands(), &new_user(), &new_user()).await.expect("a follow");
    tests::truth::wait_caught_up(&endpoints).await;
    let status = endpoints.commands().get_status(GetStatusRequest {}).await.expect("a status").into_inner();
    let stream = status.stream.expect("the stream");
    assert_eq!(stream.state(), StreamState::Ok, "{stream:?}");
    assert!(stream.leader, "the only relay leads");
    assert_eq!(status.replicas.len(), 1);
    assert!(status.replicas[0].complete);
    let request = proto::query::v1::GetStatusRequest {};
    let status = endpoints.queries().get_status(request).await.expect("a status").into_inner();
    assert!(status.head.expect("a beacon").revision > 0);
    assert!(status.stores.iter().all(|store| store.serving), "{:?}", status.stores);
}
