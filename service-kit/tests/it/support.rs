//! A server with a service that misbehaves on demand, and a client that sends raw frames.
//!
//! The client is hand-made: a gRPC client enforces deadlines by itself and cannot send what is malformed.

use std::convert::Infallible;
use std::io::Write as _;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::LazyLock;
use std::task::{Context, Poll};

use bytes::{BufMut, Bytes, BytesMut};
use flate2::Compression;
use flate2::write::GzEncoder;
use futures::StreamExt;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use prost_types::{FileDescriptorProto, FileDescriptorSet, MethodDescriptorProto, ServiceDescriptorProto};
use service_kit::auth::{Caller, Scope, Tokens};
use service_kit::grpc::{self, Deadline, Gate, MethodRule, Server};
use service_kit::lifecycle::Drain;
use service_kit::telemetry::{self, Telemetry};
use service_kit::{Env, Readiness};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::{Code, Status, Streaming};
use tonic_prost::ProstCodec;
use tonic_types::StatusExt;

/// Largest request that the test server takes.
pub const MAX_REQUEST_BYTES: usize = 1_000;
/// Largest request of its method Upload.
pub const MAX_UPLOAD_BYTES: usize = 4_000_000;
/// The token that opens its method Upload.
pub const SECRET: &str = "open-sesame";

static RULES: [MethodRule; 5] = [
    MethodRule::open("Unary", MAX_REQUEST_BYTES),
    MethodRule::open("Watch", MAX_REQUEST_BYTES),
    MethodRule::open("Feed", MAX_REQUEST_BYTES),
    MethodRule::scoped("Upload", Scope::Write, MAX_UPLOAD_BYTES),
    MethodRule::scoped("Status", Scope::Write, MAX_REQUEST_BYTES).exempt_from_limits(),
];

/// Opens every scope to the one token.
#[derive(Debug)]
struct Secret(Tokens);

impl Gate for Secret {
    fn admit(&self, headers: &HeaderMap, scope: Scope) -> Result<Option<Caller>, Status> {
        Ok(Some(self.0.authorize(headers, scope)?))
    }
}

/// The recorder of this test binary. Touch it before a server is made: handles made earlier record nothing.
pub static TELEMETRY: LazyLock<Telemetry> = LazyLock::new(|| {
    let mut env = Env::from_pairs([("LOG_LEVEL", "off")]);
    let settings = telemetry::Settings::read(&mut env);
    telemetry::init(&settings, "test", "0").expect("the only one in this process")
});

/// A running test server.
pub struct TestServer {
    pub address: SocketAddr,
    pub drain: Drain,
    pub readiness: Readiness,
    pub served: JoinHandle<Result<(), grpc::Error>>,
}

/// Starts a server with the given settings on a free port.
pub async fn start(settings: &[(&str, &str)]) -> TestServer {
    start_with(settings, |_| {}).await
}

/// The same with changes of what is no setting.
pub async fn start_with(settings: &[(&str, &str)], change: impl FnOnce(&mut grpc::Settings)) -> TestServer {
    LazyLock::force(&TELEMETRY);
    let mut env = Env::from_pairs(settings.iter().copied());
    let settings = grpc::Settings::read(&mut env, "127.0.0.1:0");
    let mut settings = env.finish(settings).expect("valid settings");
    change(&mut settings);
    let secret = Secret(format!("tester=write:{SECRET}").parse().expect("a list of tokens"));
    let readiness = Readiness::new();
    let server = Server::bind(settings, readiness.clone())
        .await
        .expect("a free port")
        .descriptors(descriptors())
        .add_service(grpc::Rules::new(&RULES, secret), |limit| Probe { limit });
    let address = server.local_addr();
    let drain = Drain::default();
    let served = tokio::spawn(server.serve(drain.clone()));
    TestServer { address, drain, readiness, served }
}

fn descriptors() -> &'static [u8] {
    let method = |name: &str, client: bool, server: bool| MethodDescriptorProto {
        name: Some(name.to_owned()),
        input_type: Some(".test.Text".to_owned()),
        output_type: Some(".test.Text".to_owned()),
        client_streaming: Some(client),
        server_streaming: Some(server),
        ..MethodDescriptorProto::default()
    };
    let file = FileDescriptorProto {
        name: Some("test.proto".to_owned()),
        package: Some("test".to_owned()),
        message_type: vec![prost_types::DescriptorProto {
            name: Some("Text".to_owned()),
            ..prost_types::DescriptorProto::default()
        }],
        service: vec![ServiceDescriptorProto {
            name: Some("Probe".to_owned()),
            method: vec![
                method("Unary", false, false),
                method("Watch", false, true),
                method("Feed", true, true),
                method("Upload", false, false),
                method("Status", false, false),
            ],
            ..ServiceDescriptorProto::default()
        }],
        ..FileDescriptorProto::default()
    };
    Box::leak(FileDescriptorSet { file: vec![file] }.encode_to_vec().into_boxed_slice())
}

/// The service: does what the request's text says. Texts travel as `google.protobuf.StringValue`.
#[derive(Debug, Clone)]
struct Probe {
    limit: usize,
}

impl NamedService for Probe {
    const NAME: &'static str = "test.Probe";
}

type Texts = Pin<Box<dyn futures::Stream<Item = Result<String, Status>> + Send>>;

async fn unary(request: tonic::Request<String>) -> Result<tonic::Response<String>, Status> {
    match request.get_ref().as_str() {
        "panic" => panic!("told to"),
        "hang" => std::future::pending().await,
        "internal" => Err(Status::internal("said by the handler")),
        "remaining" => {
            let left = Deadline::of(&request).map(|deadline| deadline.remaining().as_millis());
            Ok(tonic::Response::new(format!("{left:?}")))
        }
        "megabytes" => Ok(tonic::Response::new("x".repeat(2_000_000))),
        "caller" => Ok(tonic::Response::new(format!("{:?}", Caller::of(&request)))),
        "peer" => Ok(tonic::Response::new(format!("{:?}", request.remote_addr()))),
        other => Ok(tonic::Response::new(other.to_owned())),
    }
}

async fn watch(request: tonic::Request<String>) -> Result<tonic::Response<Texts>, Status> {
    let first = futures::stream::once(async { Ok("first".to_owned()) });
    let rest: Texts = match request.get_ref().as_str() {
        "panic" => Box::pin(futures::stream::once(async { panic!("told to") })),
        "end" => Box::pin(futures::stream::empty()),
        _ => Box::pin(futures::stream::pending()),
    };
    Ok(tonic::Response::new(Box::pin(first.chain(rest))))
}

/// Echoes, and hands decoding errors on as a careless handler does.
async fn feed(request: tonic::Request<Streaming<String>>) -> Result<tonic::Response<Texts>, Status> {
    Ok(tonic::Response::new(Box::pin(request.into_inner())))
}

impl tower::Service<Request<Body>> for Probe {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let limit = self.limit;
        Box::pin(async move {
            let codec = ProstCodec::<String, String>::default();
            let mut grpc = tonic::server::Grpc::new(codec).max_decoding_message_size(limit);
            grpc = grpc.accept_compressed(grpc::REQUEST_ENCODING);
            Ok(match request.uri().path() {
                "/test.Probe/Unary" | "/test.Probe/Upload" | "/test.Probe/Status" => {
                    grpc.unary(tower::service_fn(unary), request).await
                }
                "/test.Probe/Watch" => grpc.server_streaming(tower::service_fn(watch), request).await,
                "/test.Probe/Feed" => grpc.streaming(tower::service_fn(feed), request).await,
                _ => Status::unimplemented("").into_http(),
            })
        })
    }
}

/// What came back: the final status, and the bytes of all messages.
pub struct Answer {
    pub code: Code,
    pub reason: String,
    pub message: String,
    pub body: Bytes,
}

impl Answer {
    /// The text of the first message.
    pub fn text(&self) -> String {
        String::decode(&self.body[5..]).expect("a StringValue")
    }
}

/// One connection to a server.
pub struct Client {
    send: SendRequest<Full<Bytes>>,
    address: SocketAddr,
    pub connection: JoinHandle<hyper::Result<()>>,
}

impl Client {
    pub async fn connect(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).await.expect("the server listens");
        let (send, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(socket))
                .await
                .expect("the server speaks HTTP/2");
        Self { send, address, connection: tokio::spawn(connection) }
    }

    /// Starts a call with raw bytes as its body.
    pub async fn open(
        &mut self,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Response<hyper::body::Incoming> {
        let mut request = Request::post(format!("http://{}{path}", self.address))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body)).expect("a valid request");
        self.send.send_request(request).await.expect("an answer")
    }

    /// Makes a call with raw bytes as its body, and waits for its end.
    pub async fn raw(&mut self, path: &str, headers: &[(&str, &str)], body: Bytes) -> Answer {
        finish(self.open(path, headers, body).await).await
    }

    /// Calls a method of the test service with a text.
    pub async fn call(&mut self, method: &str, headers: &[(&str, &str)], text: &str) -> Answer {
        self.raw(&format!("/test.Probe/{method}"), headers, frame(&text.to_owned().encode_to_vec())).await
    }
}

/// Reads an answer to its end.
pub async fn finish(response: Response<hyper::body::Incoming>) -> Answer {
    let (head, body) = response.into_parts();
    let body = body.collect().await.expect("a whole body");
    let trailers: Option<HeaderMap> = body.trailers().cloned();
    let status = Status::from_header_map(&head.headers)
        .or_else(|| Status::from_header_map(&trailers?))
        .expect("a status in headers or trailers");
    Answer {
        code: status.code(),
        reason: status.get_details_error_info().map(|info| info.reason).unwrap_or_default(),
        message: status.message().to_owned(),
        body: body.to_bytes(),
    }
}

/// A message as it travels: not compressed, its length, its bytes.
pub fn frame(message: &[u8]) -> Bytes {
    flagged(0, message)
}

/// A compressed one.
pub fn gzipped(message: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(message).expect("written to memory");
    flagged(1, &encoder.finish().expect("written to memory"))
}

fn flagged(compressed: u8, message: &[u8]) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_u8(compressed);
    frame.put_u32(u32::try_from(message.len()).expect("short"));
    frame.put_slice(message);
    frame.freeze()
}
