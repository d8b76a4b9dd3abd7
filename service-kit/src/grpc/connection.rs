//! One connection from its first byte to its last.
//!
//! Owns: the handshake if the port speaks TLS, its age, and how it ends: asked to go (GOAWAY) at its age or at the start of a drain; after a grace its open
//! streams are ended and it is closed; in a drain, the drain says when.
//! Must not know: what is called on it.
//! What can go wrong: the peer misbehaves or goes away; the connection ends and nothing else does.

use std::time::Duration;

use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tonic::transport::server::TcpConnectInfo;
use tower::ServiceExt;

use super::call::Calls;
use super::settings::Settings;
use crate::ids;
use crate::lifecycle::Drain;

/// Flow-control window of one stream.
const STREAM_WINDOW: u32 = 1 << 20;
/// Flow-control window of one connection.
const CONNECTION_WINDOW: u32 = 4 << 20;

/// How long ended streams may take to leave before an old connection is closed.
const FLUSH: Duration = Duration::from_secs(1);

/// Serves one connection to its end.
pub(super) async fn serve(socket: TcpStream, calls: Calls, settings: Settings, drain: Drain) {
    if let Err(error) = socket.set_nodelay(true) {
        tracing::debug!(%error, "connection was gone before it began");
        return;
    }
    let peer = TcpConnectInfo { local_addr: socket.local_addr().ok(), remote_addr: socket.peer_addr().ok() };
    let Some(tls) = settings.tls.clone() else {
        return speak(socket, peer, calls, settings, drain).await;
    };
    let agreed = tokio::select! {
        agreed = tls.accept(socket) => agreed,
        // Nothing is under way on it yet.
        () = drain.begin.cancelled() => None,
    };
    if let Some(stream) = agreed {
        speak(stream, peer, calls, settings, drain).await;
    }
}

/// HTTP/2, on a socket or on what TLS makes of it.
async fn speak<S>(stream: S, peer: TcpConnectInfo, calls: Calls, settings: Settings, drain: Drain)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let end_streams = drain.end_streams.child_token();
    let calls = calls.ending_streams_at(end_streams.clone());
    let calls = calls.map_request(move |mut request: http::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(peer.clone());
        request.map(tonic::body::Body::new)
    });

    let open = metrics::gauge!(crate::metrics::GRPC_CONNECTIONS);
    open.increment(1.0);
    let mut connection = std::pin::pin!(
        http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_concurrent_streams(settings.max_concurrent_calls)
            .keep_alive_interval(settings.keepalive_interval)
            .keep_alive_timeout(settings.keepalive_timeout)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(calls))
    );
    let mut asked_to_go = false;
    let mut limit = std::pin::pin!(tokio::time::sleep(jittered(settings.max_connection_age)));
    loop {
        tokio::select! {
            result = connection.as_mut() => {
                if let Err(error) = result {
                    tracing::debug!(%error, "connection ended with an error");
                }
                break;
            }
            () = limit.as_mut() => {
                if !asked_to_go {
                    asked_to_go = true;
                    connection.as_mut().graceful_shutdown();
                    limit.set(tokio::time::sleep(settings.max_connection_age_grace));
                } else if !end_streams.is_cancelled() {
                    end_streams.cancel();
                    limit.set(tokio::time::sleep(FLUSH));
                } else {
                    tracing::debug!("connection closed: its calls outlived the grace");
                    break;
                }
            }
            () = drain.begin.cancelled(), if !asked_to_go => {
                asked_to_go = true;
                connection.as_mut().graceful_shutdown();
                // From here on only the drain closes it: the deadline of the process is what counts.
                limit.set(tokio::time::sleep(Duration::from_secs(24 * 3600)));
            }
            () = drain.close.cancelled() => break,
        }
    }
    open.decrement(1.0);
}

/// Up to a tenth more or less, so that clients that connected together do not come back together.
fn jittered(age: Duration) -> Duration {
    ids::jitter(age, 0.9..=1.1)
}
