//! What a caller sees: codes, reasons, deadlines, health, reflection, metrics.

use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use tonic::Code;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use crate::support::{Client, MAX_REQUEST_BYTES, TELEMETRY, finish, frame, gzipped, start};

/// A StringValue whose text is not UTF-8.
const NOT_UTF8: [u8; 3] = [0x0a, 0x01, 0xff];

#[tokio::test]
async fn malformed_messages_are_the_callers_fault() {
    let server = start(&[]).await;
    let mut client = Client::connect(server.address).await;
    let cases = [
        ("not decodable", frame(&NOT_UTF8)),
        ("no message", Bytes::new()),
        ("cut off", frame(b"0123456789").slice(..8)),
        ("unknown flag", Bytes::from_static(&[9, 0, 0, 0, 0])),
        ("compressed without an encoding", Bytes::from_static(&[1, 0, 0, 0, 0])),
    ];
    for (what, body) in cases {
        let answer = client.raw("/test.Probe/Unary", &[], body).await;
        assert_eq!(
            (answer.code, answer.reason.as_str()),
            (Code::InvalidArgument, "MALFORMED_MESSAGE"),
            "{what}: {}",
            answer.message
        );
    }
}

#[tokio::test]
async fn a_malformed_message_in_the_middle_of_a_stream_is_the_callers_fault() {
    let server = start(&[]).await;
    let mut client = Client::connect(server.address).await;
    let body = [frame(&"one".to_owned().encode_to_vec()), frame(&NOT_UTF8)].concat();
    let answer = client.raw("/test.Probe/Feed", &[], body.into()).await;
    assert_eq!((answer.code, answer.reason.as_str()), (Code::InvalidArgument, "MALFORMED_MESSAGE"));
    assert_eq!(answer.text(), "one");
}

#[tokio::test]
async fn an_oversized_message_is_named_as_such() {
    let server = start(&[]).await;
    let mut client = Client::connect(server.address).await;
    for method in ["Unary", "Feed"] {
        let answer = client.call(method, &[], &"x".repeat(MAX_REQUEST_BYTES)).await;
        assert_eq!((answer.code, answer.reason.as_str()), (Code::ResourceExhausted, "MESSAGE_TOO_LARGE"));
    }
}

#[tokio::test]
async fn requests_may_be_compressed_with_gzip() {
    let server = start(&[]).await;
    let mut client = Client::connect(server.address).await;
    let message = |text: &str| text.to_owned().encode_to_vec();
    let gzip = [("grpc-encoding", "gzip")];
    for method in ["Unary", "Watch", "Feed"] {
        let path = format!("/test.Probe/{method}");
        // A call that is compressed may still send a message as it is.
        for body in [gzipped(&message("end")), frame(&message("end"))] {
            let answer = client.raw(&path, &gzip, body).await;
            assert_eq!(answer.code, Code::Ok, "{method}: {}", answer.message);
        }
        let bomb = gzipped(&message(&"x".repeat(MAX_REQUEST_BYTES)));
        assert!(bomb.len() < MAX_REQUEST_BYTES / 2);
        let answer = client.raw(&path, &gzip, bomb).await;
        let wanted = (Code::ResourceExhausted, "MESSAGE_TOO_LARGE");
        assert_eq!((answer.code, answer.reason.as_str()), wanted, "{method}");
        let damaged = Bytes::from_static(&[1, 0, 0, 0, 2, 7, 7]);
        let answer = client.raw(&path, &gzip, damaged).await;
        assert_eq!((answer.code, answer.reason.as_str()), (Code::InvalidArgument, "MALFORMED_MESSAGE"));
    }
    let health = HealthCheckRequest::default().encode_to_vec();
    let answer = client.raw("/grpc.health.v1.Health/Check", &gzip, gzipped(&health)).await;
    assert_eq!(answer.code, Code::Ok, "{}", answer.message);
    let identity = client.call("Unary", &[("grpc-encoding", "identity")], "hello").await;
    assert_eq!(identity.text(), "hello");
}

#[tokio::test]
async fn another_compression_is_refused_with_those_that_are_read() {
    let server = start(&[]).await;
    let mut client = Client::connect(server.address).await;
    let response =
        client.open("/test.Probe/Unary", &[("grpc-encoding", "deflate")], Bytes::from_static(&[1])).await;
    let accepted = response.headers().get("grpc-accept-encoding").cloned().expect("a list of encodings");
    assert_eq!(accepted, "gzip,identity");
    let answer = finish(response).await;
    assert_eq!((answer.code, answer.reason.as_str()), (Code::Unimplemented, "UNSUPPORTED_ENCODING"));
}

#[tokio::test]
async fn what_the_handler_says_passes_untouched() {
    let server = start(&[]).await;
    let mut client = Client::connect(server.address).await;
    let answer = client.call("Unary", &[], "internal").await;
    assert_eq!((answer.code, answer.message.as_str()), (Code::Internal, "said by the handler"));
    assert_eq!(client.call("Unary", &[], "hello").await.text(), "hello");
    assert!(client.call("Unary", &[], "peer").await.text().contains("127.0.0.1"));
}

#[tokio::test]
async fn unknown_methods_and_services_are_unimplemented() {
    let server = start(&[]).await;
    let mut client = Client::connect(server.address).await;
    for path in ["/test.Probe/Nope", "/test.Nope/Unary", "/", "/test.Probe"] {
        let answer = client.raw(path, &[], Bytes::new()).await;
        assert_eq!(answer.code, Code::Unimplemented, "{path}");
        assert!(!answer.message.is_empty(), "{path}");
    }
}

#[tokio::test]
async fn a_panic_is_internal_and_the_connection_lives_on() {
    let server = start(&[]).await;
    let mut client = Client::connect(server.address).await;
    for method in ["Unary", "Watch"] {
        let answer = client.call(method, &[], "panic").await;
        assert_eq!((answer.code, answer.reason.as_str()), (Code::Internal, "INTERNAL"), "{method}");
        assert!(!answer.message.contains("told to"), "a panic's text stays inside");
    }
    assert_eq!(client.call("Unary", &[], "hello").await.code, Code::Ok);
    let metrics = TELEMETRY.render();
    assert!(metrics.contains(
        r#"grpc_server_panics_total{grpc_service="test.Probe",grpc_method="Watch",grpc_type="server_stream"}"#
    ));
}

#[tokio::test]
async fn a_late_call_ends_with_deadline_exceeded() {
    let server = start(&[]).await;
    let mut client = Client::connect(server.address).await;
    for (method, timeout) in [("Unary", "20m"), ("Watch", "20m"), ("Unary", "0m"), ("Watch", "0S")] {
        let answer = client.call(method, &[("grpc-timeout", timeout)], "hang").await;
        assert_eq!(
            (answer.code, answer.reason.as_str()),
            (Code::DeadlineExceeded, "DEADLINE_EXCEEDED"),
            "{method} {timeout}"
        );
    }
}

#[tokio::test]
async fn handlers_know_the_deadline_and_calls_without_one_get_the_default() {
    let server = start(&[("DEFAULT_DEADLINE_SECONDS", "7")]).await;
    let mut client = Client::connect(server.address).await;
    let within = |text: String, most: u128| {
        let left: u128 = text.trim_start_matches("Some(").trim_end_matches(')').parse().expect("a deadline");
        assert!(left <= most && left + 3_000 > most, "{left} of {most}");
    };
    within(client.call("Unary", &[], "remaining").await.text(), 7_000);
    within(client.call("Unary", &[("grpc-timeout", "60S")], "remaining").await.text(), 60_000);
}

#[tokio::test]
async fn a_malformed_timeout_is_refused() {
    let server = start(&[]).await;
    let mut client = Client::connect(server.address).await;
    let answer = client.call("Unary", &[("grpc-timeout", "soon")], "hello").await;
    assert_eq!((answer.code, answer.reason.as_str()), (Code::InvalidArgument, "MALFORMED_MESSAGE"));
}

#[tokio::test]
async fn health_follows_readiness() {
    let server = start(&[]).await;
    let latch = server.readiness.latch("store");
    let mut client = Client::connect(server.address).await;
    let mut check = async |service: &str| {
        let request = HealthCheckRequest { service: service.to_owned() }.encode_to_vec();
        let answer = client.raw("/grpc.health.v1.Health/Check", &[], frame(&request)).await;
        let state =
            answer.body.get(5..).map(|body| HealthCheckResponse::decode(body).expect("a state").status);
        (answer.code, state)
    };
    // 1 is SERVING, 2 is NOT_SERVING.
    assert_eq!(check("").await, (Code::Ok, Some(2)));
    latch.ready();
    assert_eq!(check("").await, (Code::Ok, Some(1)));
    assert_eq!(check("test.Probe").await, (Code::Ok, Some(1)));
    assert_eq!(check("test.Nope").await.0, Code::NotFound);
    server.readiness.drain();
    assert_eq!(check("test.Probe").await, (Code::Ok, Some(2)));
}

#[tokio::test]
async fn both_versions_of_reflection_list_the_services() {
    let server = start(&[]).await;
    let mut client = Client::connect(server.address).await;
    // Field 7 of the request is list_services.
    let list = frame(&[0x3a, 0x00]);
    for version in ["v1", "v1alpha"] {
        let path = format!("/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo");
        let answer = client.raw(&path, &[], list.clone()).await;
        let names = String::from_utf8_lossy(&answer.body);
        assert!(
            names.contains("test.Probe") && names.contains("grpc.health.v1.Health"),
            "{version}: {names}"
        );
    }
}

#[tokio::test]
async fn calls_are_counted_by_method_and_code() {
    let server = start(&[]).await;
    let mut client = Client::connect(server.address).await;
    client.call("Watch", &[], "end").await;
    client.raw("/whatever/a.caller.sends", &[], Bytes::new()).await;
    let metrics = TELEMETRY.render();
    for line in [
        r#"grpc_server_started_total{grpc_service="test.Probe",grpc_method="Watch",grpc_type="server_stream"}"#,
        r#"grpc_server_handled_total{grpc_service="test.Probe",grpc_method="Watch",grpc_type="server_stream",grpc_code="OK"}"#,
        r#"grpc_server_handling_seconds_bucket{grpc_service="test.Probe",grpc_method="Watch",grpc_type="server_stream",le="0.0005"}"#,
        r#"grpc_server_handled_total{grpc_service="unknown",grpc_method="unknown",grpc_type="unary",grpc_code="Unimplemented"}"#,
    ] {
        assert!(metrics.contains(line), "{line} is missing in\n{metrics}");
    }
    assert!(!metrics.contains("a.caller.sends"), "a caller's text became a label");
}

#[tokio::test]
async fn an_old_connection_is_asked_to_go_and_its_calls_finish() {
    let server = start(&[("MAX_CONNECTION_AGE_SECONDS", "1")]).await;
    let mut client = Client::connect(server.address).await;
    let open = client.open(
        "/test.Probe/Unary",
        &[("grpc-timeout", "1500m")],
        frame(&"hang".to_owned().encode_to_vec()),
    );
    let answer = finish(open.await).await;
    assert_eq!(answer.code, Code::DeadlineExceeded, "the call went on beyond the age of the connection");
    tokio::time::timeout(Duration::from_secs(10), client.connection)
        .await
        .expect("the server closes an old connection")
        .expect("no panic")
        .expect("a clean end");
}

#[tokio::test]
async fn a_stream_on_an_old_connection_is_ended_with_a_status_that_invites_a_retry() {
    let ages = [("MAX_CONNECTION_AGE_SECONDS", "1"), ("MAX_CONNECTION_AGE_GRACE_SECONDS", "1")];
    let server = start(&ages).await;
    let mut client = Client::connect(server.address).await;
    let answer = client.call("Watch", &[], "hang").await;
    assert_eq!((answer.code, answer.reason.as_str()), (Code::Unavailable, "SHUTTING_DOWN"));
}
