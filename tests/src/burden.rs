//! Clients that cost a server as many resources as they can, and ordinary ones next to them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use devstack::services::Service;
use futures::future::join_all;
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::Request;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use prost::bytes::Bytes;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tonic::Status;

/// The preface of a client, and its empty SETTINGS.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";

/// A connection whose client sends and reads only what a test specifies.
#[derive(Debug)]
pub struct Stubborn {
    send: SendRequest<Bytes>,
    address: String,
    connection: JoinHandle<Result<(), h2::Error>>,
}

impl Stubborn {
    /// Connects; `window` is the flow control window of each response.
    ///
    /// # Panics
    /// If the server does not speak HTTP/2.
    pub async fn connect(address: &str, window: u32) -> Self {
        let socket = TcpStream::connect(address).await.expect("the server listens");
        let mut builder = h2::client::Builder::new();
        let handshake = builder.initial_window_size(window).handshake(socket);
        let (send, connection) = handshake.await.expect("HTTP/2");
        Self { send, address: address.to_owned(), connection: tokio::spawn(connection) }
    }

    /// Starts a call whose body follows.
    ///
    /// # Panics
    /// If the connection has ended.
    pub async fn begin(&self, path: &str, token: Option<&str>) -> (ResponseFuture, SendStream<Bytes>) {
        let mut request = Request::post(format!("http://{}{path}", self.address))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let mut send = self.send.clone().ready().await.expect("a stream");
        send.send_request(request.body(()).expect("a request"), false).expect("sent")
    }

    /// Makes a call with a whole message and does not read its response.
    pub async fn ask(
        &self,
        path: &str,
        token: Option<&str>,
        message: &impl prost::Message,
    ) -> ResponseFuture {
        let (response, mut body) = self.begin(path, token).await;
        // If the connection has ended, the response future returns the error.
        let _ = body.send_data(frame(&message.encode_to_vec()), true);
        response
    }
}

impl Drop for Stubborn {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

/// A message with its gRPC prefix.
///
/// # Panics
/// Above 4 GiB.
pub fn frame(message: &[u8]) -> Bytes {
    let length = u32::try_from(message.len()).expect("short").to_be_bytes();
    [&[0], length.as_slice(), message].concat().into()
}

/// The status of a response without messages; `None` if it has messages, or the stream was reset.
pub async fn refusal(response: ResponseFuture) -> Option<Status> {
    Status::from_header_map(response.await.ok()?.headers())
}

/// The received bodies of the responses.
pub async fn bodies(responses: Vec<ResponseFuture>) -> Vec<RecvStream> {
    let responses = join_all(responses).await;
    responses.into_iter().filter_map(Result::ok).map(http::Response::into_body).collect()
}

/// Opens connections without calls; every second one does not even send a preface.
///
/// # Panics
/// If this process may not open enough files.
pub async fn idle(address: &str, number: usize) -> Vec<TcpStream> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    setrlimit(Resource::RLIMIT_NOFILE, most, most).expect("up to the hard limit");
    let mut sockets = Vec::with_capacity(number);
    for place in 0..number {
        let mut socket = TcpStream::connect(address).await.expect("the server listens");
        if place % 2 == 0 {
            // The server may have closed it by now.
            let _ = socket.write_all(PREFACE).await;
        }
        sockets.push(socket);
    }
    sockets
}

/// The peak resident memory of a process, in MiB.
///
/// # Panics
/// If it does not run.
pub fn peak_mib(service: &Service) -> usize {
    let pid = service.pid().expect("the service runs");
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the service runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("VmHWM");
    let kib: usize = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kib >> 10
}

/// Ordinary clients that send one call after the other until [`Self::stop`].
#[derive(Debug)]
pub struct Ordinary {
    stop: Arc<AtomicBool>,
    made: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<()>>,
}

impl Ordinary {
    /// Starts them; `client` makes the calls of one, each client on its own connection.
    pub fn start<C, F>(number: usize, client: impl Fn(usize) -> C) -> Self
    where
        C: FnMut() -> F + Send + 'static,
        F: Future<Output = Result<(), Status>> + Send + 'static,
    {
        let (stop, made) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let clients = (0..number).map(|place| {
            let (stop, made, mut call) = (Arc::clone(&stop), Arc::clone(&made), client(place));
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    if let Err(status) = call().await {
                        panic!("an ordinary client has lost a call: {status:?}");
                    }
                    made.fetch_add(1, Ordering::Relaxed);
                    // A pause, so that the machine has time for the others.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            })
        });
        Self { clients: clients.collect(), stop, made }
    }

    /// Waits until every client has made this many more calls on average.
    ///
    /// # Panics
    /// If a client has lost a call.
    pub async fn make(&self, calls: usize) {
        let wanted = self.made.load(Ordering::Relaxed) + calls * self.clients.len();
        while self.made.load(Ordering::Relaxed) < wanted {
            let ended = self.clients.iter().any(JoinHandle::is_finished);
            assert!(!ended, "an ordinary client has lost a call");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Ends them.
    ///
    /// # Panics
    /// If a client has lost a call.
    pub async fn stop(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.await.expect("no client has lost a call");
        }
        self.made.load(Ordering::Relaxed)
    }
}
