//! What a client can cost: calls without a token, stalled uploads, responses that are not taken, idle connections.

use std::time::Duration;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::{Request, Response};
use prost::Message as _;
use service_kit::grpc::Settings;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_types::StatusExt as _;

use crate::support::{
    Client, MAX_REQUEST_BYTES, SECRET, TELEMETRY, TestServer, finish, frame, start, start_with,
};

const SOON: Duration = Duration::from_secs(20);
const BEARER: (&str, &str) = ("authorization", "Bearer open-sesame");

/// A client that sends frames one by one.
struct Raw {
    send: SendRequest<Bytes>,
    address: String,
    connection: JoinHandle<Result<(), h2::Error>>,
}

impl Raw {
    /// `window`: bytes of a response that it takes before it says more.
    async fn connect(server: &TestServer, window: u32) -> Self {
        let socket = TcpStream::connect(server.address).await.expect("the server listens");
        let mut builder = h2::client::Builder::new();
        let handshake = builder.initial_window_size(window).handshake(socket);
        let (send, connection) = handshake.await.expect("HTTP/2");
        Self { send, address: server.address.to_string(), connection: tokio::spawn(connection) }
    }

    /// Begins a call; its body is still to be sent.
    async fn begin(&mut self, method: &str, headers: &[(&str, &str)]) -> (ResponseFuture, SendStream<Bytes>) {
        self.begin_at(&format!("/test.Probe/{method}"), headers).await
    }

    /// The same with a method of any service.
    async fn begin_at(
        &mut self,
        path: &str,
        headers: &[(&str, &str)],
    ) -> (ResponseFuture, SendStream<Bytes>) {
        let mut request = Request::post(format!("http://{}{path}", self.address))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut send = self.send.clone().ready().await.expect("a stream");
        send.send_request(request.body(()).expect("a request"), false).expect("sent")
    }

    /// Makes a call whose response is not read.
    async fn ask(&mut self, method: &str, text: &str) -> ResponseFuture {
        let (response, mut body) = self.begin(method, &[BEARER]).await;
        body.send_data(frame(&text.to_owned().encode_to_vec()), true).expect("sent");
        response
    }
}

fn in_headers(response: &Response<RecvStream>) -> (Code, String) {
    let status = Status::from_header_map(response.headers()).expect("a status in the headers");
    (status.code(), status.get_details_error_info().map(|info| info.reason).unwrap_or_default())
}

/// The value of a series of the process, 0 before it exists.
fn value(series: &str) -> f64 {
    let text = TELEMETRY.render();
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok());
    line.unwrap_or_default()
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let state = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(SOON, state).await.unwrap_or_else(|_| panic!("never: {what}"));
}

fn quick(settings: &mut Settings) {
    settings.preface_timeout = Duration::from_secs(1);
    settings.read_timeout = Duration::from_secs(1);
    settings.write_timeout = Duration::from_secs(1);
}

#[tokio::test]
async fn a_call_without_a_token_is_refused_before_its_body() {
    let server = start(&[]).await;
    let mut client = Raw::connect(&server, 65_535).await;
    for (headers, code, reason) in [
        (&[][..], Code::Unauthenticated, "UNAUTHENTICATED"),
        (&[("authorization", "Bearer guessed")], Code::Unauthenticated, "UNAUTHENTICATED"),
    ] {
        // Not one byte of the body is sent.
        let (response, _body) = client.begin("Upload", headers).await;
        let response = tokio::time::timeout(SOON, response).await.expect("no wait for the body");
        assert_eq!(in_headers(&response.expect("a response")), (code, reason.to_owned()));
    }
    assert_eq!(client.ask("Upload", "hello").await.await.expect("a response").status(), 200);
}

#[tokio::test]
async fn every_method_has_its_own_message_limit() {
    let server = start(&[]).await;
    let mut client = Client::connect(server.address).await;
    let large = "x".repeat(MAX_REQUEST_BYTES);
    assert_eq!(client.call("Unary", &[], &large).await.reason, "MESSAGE_TOO_LARGE");
    assert_eq!(client.call("Upload", &[BEARER], &large).await.text(), large);
    let smaller = start(&[("MAX_REQUEST_BYTES", "1024")]).await;
    let mut client = Client::connect(smaller.address).await;
    let answer = client.call("Upload", &[BEARER], &"x".repeat(2_000)).await;
    assert_eq!((answer.code, answer.reason.as_str()), (Code::ResourceExhausted, "MESSAGE_TOO_LARGE"));
}

#[tokio::test]
async fn a_stalled_upload_ends_and_its_call_did_not_happen() {
    let server = start_with(&[], quick).await;
    let mut client = Raw::connect(&server, 65_535).await;
    let (response, mut body) = client.begin("Upload", &[BEARER]).await;
    let message = frame(&"x".repeat(3_000_000).encode_to_vec());
    body.send_data(message.slice(..100), false).expect("sent");
    let response = tokio::time::timeout(SOON, response).await.expect("it ends").expect("a response");
    assert_eq!(in_headers(&response), (Code::DeadlineExceeded, "REQUEST_STALLED".to_owned()));
    assert!(value("grpc_server_calls_stalled_total{direction=\"request\"}") >= 1.0);
    let handled = |code: &str| {
        value(&format!(
            "grpc_server_handled_total{{grpc_service=\"test.Probe\",grpc_method=\"Upload\",grpc_type=\"unary\",grpc_code=\"{code}\"}}"
        ))
    };
    // No failure of the server.
    assert!(handled("Canceled") >= 1.0);
    assert!(handled("DeadlineExceeded") < 1.0);
}

#[tokio::test]
async fn a_stream_may_pause_between_messages_but_not_within() {
    let server = start_with(&[], quick).await;
    let mut client = Raw::connect(&server, 65_535).await;
    let (response, mut body) = client.begin("Feed", &[]).await;
    let message = frame(&"one".to_owned().encode_to_vec());
    body.send_data(message.clone(), false).expect("sent");
    let mut echoed = response.await.expect("a response").into_body();
    assert_eq!(echoed.data().await.expect("an echo").expect("bytes"), message);
    // The pause exceeds the limit within a message: an upload that stalls after the echo is ended by that limit.
    let (stalled, mut upload) = client.begin("Upload", &[BEARER]).await;
    upload.send_data(message.slice(..6), false).expect("sent");
    let stalled = tokio::time::timeout(SOON, stalled).await.expect("it ends").expect("a response");
    assert_eq!(in_headers(&stalled), (Code::DeadlineExceeded, "REQUEST_STALLED".to_owned()));
    body.send_data(message.clone(), false).expect("sent");
    assert_eq!(echoed.data().await.expect("an echo").expect("bytes"), message);
    body.send_data(message.slice(..6), false).expect("sent");
    let trailers = tokio::time::timeout(SOON, echoed.trailers()).await.expect("it ends");
    let trailers = trailers.expect("trailers").expect("trailers");
    let status = Status::from_header_map(&trailers).expect("a status");
    assert_eq!(status.get_details_error_info().expect("details").reason, "REQUEST_STALLED");
}

#[tokio::test]
async fn large_requests_of_one_caller_leave_room_for_others() {
    let server = start(&[("MAX_REQUEST_BYTES_IN_FLIGHT", "6291456")]).await;
    let mut client = Raw::connect(&server, 65_535).await;
    let message = frame(&"x".repeat(3_000_000).encode_to_vec());
    let (_first, mut body) = client.begin("Upload", &[BEARER]).await;
    body.send_data(message.slice(..100), false).expect("sent");
    let refused = async {
        // Until the server has looked at the first one.
        loop {
            let (second, mut other) = client.begin("Upload", &[BEARER]).await;
            other.send_data(message.slice(..100), false).expect("sent");
            match tokio::time::timeout(Duration::from_millis(200), second).await {
                Ok(response) => return response.expect("a response"),
                Err(_) => other.send_reset(h2::Reason::CANCEL),
            }
        }
    };
    let response = tokio::time::timeout(SOON, refused).await.expect("a refusal");
    assert_eq!(in_headers(&response), (Code::ResourceExhausted, "TOO_MANY_CALLS".to_owned()));
    let status = Status::from_header_map(response.headers()).expect("a status");
    assert!(status.get_details_retry_info().expect("RetryInfo").retry_delay.is_some());
    // A small one needs no room.
    assert_eq!(client.ask("Upload", "hello").await.await.expect("a response").status(), 200);
}

#[tokio::test]
async fn calls_above_the_limit_are_refused_except_the_status() {
    let server = start(&[("MAX_CALLS_IN_FLIGHT", "16")]).await;
    let mut client = Client::connect(server.address).await;
    let mut open = Vec::new();
    for _ in 0..12 {
        let text = frame(&"hang".to_owned().encode_to_vec());
        open.push(client.open("/test.Probe/Watch", &[BEARER], text).await);
    }
    let answer = client.call("Watch", &[], "hang").await;
    assert_eq!((answer.code, answer.reason.as_str()), (Code::ResourceExhausted, "TOO_MANY_CALLS"));
    assert_eq!(client.call("Status", &[BEARER], "hello").await.text(), "hello");
    assert_eq!(client.call("Upload", &[BEARER], "hello").await.text(), "hello", "another caller's share");
    drop(open.pop());
    let served = async { while client.call("Unary", &[], "hello").await.code != Code::Ok {} };
    tokio::time::timeout(SOON, served).await.expect("a place is free");
    drop(open);
}

#[tokio::test]
async fn first_health_check_of_a_connection_is_answered() {
    let server = start(&[("MAX_CALLS_IN_FLIGHT", "16")]).await;
    let mut hog = Client::connect(server.address).await;
    let check = frame(&HealthCheckRequest::default().encode_to_vec());
    let mut open = Vec::new();
    for _ in 0..4 {
        open.push(hog.open("/grpc.health.v1.Health/Watch", &[], check.clone()).await);
    }
    let answer = hog.raw("/grpc.health.v1.Health/Check", &[], check.clone()).await;
    assert_eq!((answer.code, answer.reason.as_str()), (Code::ResourceExhausted, "TOO_MANY_CALLS"));
    let mut kubelet = Client::connect(server.address).await;
    assert_eq!(kubelet.raw("/grpc.health.v1.Health/Check", &[], check).await.code, Code::Ok);
    drop(open);
}

#[tokio::test]
async fn a_message_that_is_taken_too_slowly_is_reset() {
    let server = start_with(&[], quick).await;
    let mut client = Raw::connect(&server, 20_000).await;
    let response = client.ask("Unary", "megabytes").await.await.expect("headers");
    let mut body = response.into_body();
    let broken = async {
        loop {
            match body.data().await {
                Some(Ok(bytes)) => {
                    // Each slice is taken in time, the message is not.
                    tokio::time::sleep(Duration::from_millis(300)).await;
                    // Fails once the stream is reset; then the next read says so.
                    let _ = body.flow_control().release_capacity(bytes.len());
                }
                Some(Err(error)) => return error,
                None => panic!("the response is whole"),
            }
        }
    };
    let error = tokio::time::timeout(SOON, broken).await.expect("it ends");
    assert!(error.is_reset(), "{error}");
}

#[tokio::test]
async fn a_response_that_is_not_taken_is_reset() {
    let server = start_with(&[], quick).await;
    // The first has no window at all, the second takes a part of the response and no more.
    for window in [0, 20_000] {
        let mut client = Raw::connect(&server, window).await;
        let response = client.ask("Unary", "megabytes").await.await.expect("headers");
        let mut body = response.into_body();
        let broken = async {
            loop {
                match body.data().await {
                    // It is never given back to the window.
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return error,
                    None => panic!("the response is whole"),
                }
            }
        };
        let error = tokio::time::timeout(SOON, broken).await.expect("it ends");
        assert!(error.is_reset(), "{window}: {error}");
    }
    assert!(value("grpc_server_calls_stalled_total{direction=\"response\"}") >= 2.0);
}

/// Reflection needs no token, and its answers follow from requests that a client may go on sending.
#[tokio::test]
async fn reflection_that_is_not_read_costs_no_more_than_other_streams() {
    const PLACES: usize = 64;
    const OF_CONNECTION: usize = 4;
    // Long enough for all places to be taken before the first is given up.
    let server = start_with(&[], |settings| settings.write_timeout = Duration::from_secs(4)).await;
    let file = MessageRequest::FileContainingSymbol("google.rpc.ErrorInfo".to_owned());
    let request = ServerReflectionRequest { message_request: Some(file), ..Default::default() };
    let request = frame(&request.encode_to_vec());
    for version in ["v1", "v1alpha"] {
        let path = format!("/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo");
        let (mut clients, mut unread) = (Vec::new(), Vec::new());
        for number in 0..PLACES {
            if number % OF_CONNECTION == 0 {
                clients.push(Raw::connect(&server, 0).await);
            }
            let client = clients.last_mut().expect("connected");
            // A token makes no difference: it is not looked at.
            let headers: &[_] = if number % 2 == 0 { &[BEARER] } else { &[] };
            let (response, mut requests) = client.begin_at(&path, headers).await;
            for _ in 0..100 {
                requests.send_data(request.clone(), false).expect("sent");
            }
            unread.push((response.await.expect("headers").into_body(), requests));
        }
        let mut client = Raw::connect(&server, 0).await;
        for headers in [&[BEARER][..], &[]] {
            let (response, _requests) = client.begin_at(&path, headers).await;
            let response = response.await.expect("a response");
            assert_eq!(in_headers(&response), (Code::ResourceExhausted, "TOO_MANY_CALLS".to_owned()));
        }
        // Calls that are no streams have places of their own.
        assert_eq!(client.ask("Upload", "").await.await.expect("a response").status(), 200);
        for (mut answers, _requests) in unread {
            let end = tokio::time::timeout(SOON, answers.data()).await.expect("it ends");
            let error = end.expect("not whole").expect_err("nothing of it was taken");
            assert!(error.is_reset(), "{version}: {error}");
        }
        // The places are free again, for one who reads.
        let mut honest = Raw::connect(&server, 65_535).await;
        let (response, mut requests) = honest.begin_at(&path, &[]).await;
        requests.send_data(request.clone(), true).expect("sent");
        let mut answers = response.await.expect("headers").into_body();
        assert!(answers.data().await.expect("an answer").expect("bytes").len() > 1_000, "{version}");
    }
}

#[tokio::test]
async fn a_connection_whose_client_takes_nothing_is_closed() {
    let server = start_with(&[], quick).await;
    // One byte of window lets the whole small response into HTTP/2's buffer, and its call end.
    let mut client = Raw::connect(&server, 1).await;
    let _response = client.ask("Unary", &"x".repeat(500)).await.await.expect("headers");
    let ended = tokio::time::timeout(SOON, client.connection).await.expect("it is closed");
    ended.expect("no panic").ok();
    assert!(value("grpc_server_connections_closed_total{cause=\"not_taken\"}") >= 1.0);
}

#[tokio::test]
async fn unsent_responses_of_a_connection_have_a_limit() {
    let server = start(&[("MAX_UNSENT_BYTES", "16777216")]).await;
    let mut hog = Raw::connect(&server, 0).await;
    let mut responses = Vec::new();
    for _ in 0..10 {
        let response = hog.ask("Unary", "megabytes").await.await.expect("headers");
        responses.push(response.into_body());
    }
    // Four megabytes fit; the others are replaced by a status, which needs no window.
    let mut refused = 0;
    for body in &mut responses[2..] {
        let trailers = tokio::time::timeout(SOON, body.trailers()).await.expect("a status");
        let status = Status::from_header_map(&trailers.expect("trailers").expect("trailers"));
        let status = status.expect("a status");
        assert_eq!(status.code(), Code::ResourceExhausted);
        refused +=
            usize::from(status.get_details_error_info().expect("details").reason == "RESPONSES_NOT_TAKEN");
    }
    assert_eq!(refused, 8);
    // Beside it nothing is refused.
    let mut honest = Client::connect(server.address).await;
    for _ in 0..10 {
        assert_eq!(honest.call("Unary", &[], "megabytes").await.body.len(), 2_000_009);
    }
    drop(responses);
    drop(hog);
    until("what waited is given back", || value("grpc_server_unsent_bytes") < 5_000_000.0).await;
}

#[tokio::test]
async fn a_connection_that_says_nothing_is_closed() {
    let server = start_with(&[], quick).await;
    let mut silent = TcpStream::connect(server.address).await.expect("the port is open");
    let mut rest = Vec::new();
    // The server's own settings may come first; what counts is the end.
    let _ = tokio::time::timeout(SOON, silent.read_to_end(&mut rest)).await.expect("it is closed");
    assert!(value("grpc_server_connections_closed_total{cause=\"no_preface\"}") >= 1.0);
}

#[tokio::test]
async fn idle_connections_make_room_and_authorized_ones_stay() {
    let server = start(&[("MAX_CONNECTIONS", "10")]).await;
    let mut authorized = Client::connect(server.address).await;
    assert_eq!(authorized.call("Upload", &[BEARER], "hello").await.code, Code::Ok);
    let mut idle = Vec::new();
    for _ in 0..30 {
        let mut client = Client::connect(server.address).await;
        assert_eq!(client.call("Unary", &[], "hello").await.text(), "hello", "the newest is served");
        idle.push(client);
    }
    assert!(value("grpc_server_connections_closed_total{cause=\"room\"}") >= 21.0);
    assert_eq!(authorized.call("Upload", &[BEARER], "hello").await.code, Code::Ok);
    for client in idle.drain(..21) {
        tokio::time::timeout(SOON, client.connection).await.expect("it is closed").expect("no panic").ok();
    }
    for client in &mut idle {
        assert_eq!(client.call("Unary", &[], "hello").await.text(), "hello");
    }
}

#[tokio::test]
async fn idle_connection_of_a_caller_makes_room_and_busy_ones_stay() {
    let server = start(&[("MAX_CONNECTIONS", "10")]).await;
    let mut clients = Vec::new();
    for _ in 0..11 {
        let mut client = Client::connect(server.address).await;
        assert_eq!(client.call("Upload", &[BEARER], "hello").await.code, Code::Ok, "the newest is served");
        clients.push(client);
    }
    let oldest = clients.remove(0);
    tokio::time::timeout(SOON, oldest.connection).await.expect("it is closed").expect("no panic").ok();
    assert!(value("grpc_server_connections_closed_total{cause=\"room_of_caller\"}") >= 1.0);

    let mut open = Vec::new();
    for client in &mut clients {
        let text = frame(&"hang".to_owned().encode_to_vec());
        open.push(client.open("/test.Probe/Watch", &[("grpc-timeout", "4S")], text).await);
    }
    let mut refused = TcpStream::connect(server.address).await.expect("the port is open");
    let mut rest = Vec::new();
    let _ = tokio::time::timeout(SOON, refused.read_to_end(&mut rest)).await.expect("it is closed");
    assert!(value("grpc_server_connections_closed_total{cause=\"full\"}") >= 1.0);
    for response in open {
        assert_eq!(finish(response).await.code, Code::DeadlineExceeded, "calls under way have their time");
    }
}

#[tokio::test]
async fn cancelled_calls_do_not_cost_the_connection() {
    let server = start(&[]).await;
    let mut client = Raw::connect(&server, 65_535).await;
    let watch = client.ask("Watch", "hang").await.await.expect("a watch");
    let mut watched = watch.into_body();
    watched.data().await.expect("a message").expect("bytes");
    for round in 0..50 {
        let mut calls = Vec::new();
        for number in 0..200 {
            let (response, mut body) = client.begin("Unary", &[]).await;
            // Some are cancelled before, some in the middle of their body.
            if number % 2 == 0 {
                body.send_data(frame(&"hang".to_owned().encode_to_vec()), number % 4 == 0).expect("sent");
            }
            calls.push((response, body));
        }
        for (response, mut body) in calls {
            body.send_reset(h2::Reason::CANCEL);
            drop(response);
        }
        let answer = client.ask("Unary", "hello").await.await;
        assert_eq!(answer.unwrap_or_else(|error| panic!("round {round}: {error}")).status(), 200);
    }
    assert!(!client.connection.is_finished());
    drop(watched);
}

#[tokio::test]
async fn refused_uploads_do_not_cost_the_connection() {
    let server = start(&[]).await;
    let mut client = Raw::connect(&server, 65_535).await;
    for _ in 0..2_000 {
        let (response, mut body) = client.begin("Upload", &[]).await;
        body.send_data(Bytes::from_static(&[0; 1_000]), false).ok();
        let response = response.await.expect("the connection lives");
        assert_eq!(in_headers(&response).0, Code::Unauthenticated);
        // What was sent before the refusal was known.
        body.send_data(Bytes::from_static(&[0; 1_000]), true).ok();
    }
    assert_eq!(client.ask("Upload", "hello").await.await.expect("a response").status(), 200);
}

#[tokio::test]
async fn a_call_without_streams_lasts_a_minute_at_most() {
    let server = start(&[]).await;
    let mut client = Client::connect(server.address).await;
    let answer = client.call("Unary", &[("grpc-timeout", "24H")], "remaining").await;
    let left: u64 = answer.text().trim_start_matches("Some(").trim_end_matches(')').parse().expect("a time");
    assert!((50_000..=60_000).contains(&left), "{left}");
}

#[tokio::test]
async fn calls_are_counted_by_caller() {
    let server = start(&[]).await;
    let mut client = Client::connect(server.address).await;
    let answer = client.call("Upload", &[BEARER], "caller").await;
    assert_eq!(answer.text(), "Some(Caller(tester))");
    assert_eq!(
        client.call("Unary", &[BEARER], "caller").await.text(),
        "None",
        "no scope, no look at the token"
    );
    client.call("Upload", &[], "hello").await;
    let metrics = TELEMETRY.render();
    for series in [
        r#"grpc_server_calls_by_caller_total{caller="tester",grpc_code="OK"}"#,
        r#"grpc_server_calls_by_caller_total{caller="none",grpc_code="Unauthenticated"}"#,
    ] {
        assert!(metrics.contains(series), "{series} is missing in\n{metrics}");
    }
    assert!(!metrics.contains(SECRET));
}

/// A watch that ends is no stall: its last frame was taken.
#[tokio::test]
async fn a_quiet_watch_is_not_reset() {
    let server = start_with(&[], quick).await;
    let mut client = Client::connect(server.address).await;
    let text = frame(&"hang".to_owned().encode_to_vec());
    let open = client.open("/test.Probe/Watch", &[("grpc-timeout", "4S")], text).await;
    let answer = finish(open).await;
    assert_eq!((answer.code, answer.text().as_str()), (Code::DeadlineExceeded, "first"));
}
