//! A drain: calls under way finish, open streams do not hold it up, nothing new gets in.

use std::time::Duration;

use http_body_util::BodyExt;
use prost::Message;
use tokio::net::TcpStream;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;

use crate::support::{Client, TestServer, finish, frame, start};

const SOON: Duration = Duration::from_secs(10);

async fn ends(server: TestServer) {
    tokio::time::timeout(SOON, server.served)
        .await
        .expect("the server ends")
        .expect("no panic")
        .expect("no error");
}

fn text(text: &str) -> bytes::Bytes {
    frame(&text.to_owned().encode_to_vec())
}

#[tokio::test]
async fn a_call_under_way_finishes_and_new_connections_are_refused() {
    let server = start(&[]).await;
    let mut client = Client::connect(server.address).await;
    // Its first message is here, so the call is under way for certain.
    let open = client.open("/test.Probe/Watch", &[("grpc-timeout", "500m")], text("hang")).await;
    server.drain.begin.cancel();
    let refused = async {
        while TcpStream::connect(server.address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, refused).await.expect("the port closes while the call goes on");
    assert_eq!(finish(open).await.code, Code::DeadlineExceeded, "the call had its whole time");
    ends(server).await;
}

#[tokio::test]
async fn an_open_health_watch_does_not_hold_up_the_drain() {
    let server = start(&[]).await;
    let mut client = Client::connect(server.address).await;
    let request = HealthCheckRequest::default().encode_to_vec();
    let watch = client.open("/grpc.health.v1.Health/Watch", &[], frame(&request)).await;
    server.readiness.drain();
    server.drain.begin.cancel();
    let answer = finish(watch).await;
    assert_eq!(answer.code, Code::Ok);
    ends(server).await;
}

#[tokio::test]
async fn an_open_stream_is_ended_with_a_status_that_invites_a_retry() {
    let server = start(&[]).await;
    let mut client = Client::connect(server.address).await;
    let watch = client.open("/test.Probe/Watch", &[], text("hang")).await;
    server.drain.begin.cancel();
    server.drain.end_streams.cancel();
    let answer = finish(watch).await;
    assert_eq!((answer.code, answer.reason.as_str()), (Code::Unavailable, "SHUTTING_DOWN"));
    assert_eq!(answer.text(), "first");
    ends(server).await;
}

#[tokio::test]
async fn what_does_not_end_is_closed() {
    let server = start(&[]).await;
    let mut client = Client::connect(server.address).await;
    let watch = client.open("/test.Probe/Watch", &[], text("hang")).await;
    server.drain.begin.cancel();
    server.drain.close.cancel();
    ends(server).await;
    assert!(watch.into_body().collect().await.is_err(), "the stream broke off");
}
