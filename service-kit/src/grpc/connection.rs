//! One connection from its first byte to its last.
//!
//! The server sends GOAWAY at the connection's maximum age, at the start of a drain, or to make room for another
//! connection. After a grace it ends open streams and closes the connection; in a drain, the drain decides when. A
//! connection that makes room has no grace if it never served a caller, or has calls without a token under way. The
//! server closes a connection at once if it does not begin HTTP/2, or if its client takes no responses.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hyper::server::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_util::io::InspectReader;
use tonic::service::Routes;
use tonic::transport::server::TcpConnectInfo;
use tower::ServiceExt;

use super::call::{Calls, Shared};
use super::connections::{Admitted, Cause, Connection};
use super::delivery::CallExecutor;
use super::settings::Settings;
use crate::ids;
use crate::lifecycle::Drain;

/// Flow-control window of one stream.
const STREAM_WINDOW: u32 = 1 << 20;
/// Flow-control window of one connection.
const CONNECTION_WINDOW: u32 = 4 << 20;

/// Limit of the bytes of one response in HTTP/2's buffer.
const SEND_BUFFER: usize = 128 << 10;
/// Length of the preface with which a client begins HTTP/2.
const PREFACE: usize = 24;
/// Resets by the library before it closes the connection, as a multiple of the calls that may be open: late frames of
/// cancelled or refused calls count as resets.
const LATE_FRAMES: usize = 16;

/// Time between the end of the streams and the close of the connection.
const FLUSH: Duration = Duration::from_secs(1);

/// Shared by the connections of a port.
#[derive(Debug, Clone)]
pub(super) struct Port {
    pub(super) routes: Routes,
    pub(super) shared: Arc<Shared>,
    pub(super) settings: Settings,
    pub(super) drain: Drain,
}

/// Serves one connection to its end.
pub(super) async fn serve(socket: TcpStream, admitted: Admitted, port: Port) {
    if let Err(error) = socket.set_nodelay(true) {
        tracing::debug!(%error, "connection was gone before it began");
        return;
    }
    let peer = TcpConnectInfo {
        local_addr: socket.local_addr().ok(),
        // An IPv4 client of an IPv6 port appears with its IPv4 address.
        remote_addr: socket.peer_addr().ok().map(|peer| (peer.ip().to_canonical(), peer.port()).into()),
    };
    let Some(tls) = port.settings.tls.clone() else {
        return speak(socket, peer, admitted, port).await;
    };
    let agreed = tokio::select! {
        agreed = tls.accept(socket) => agreed,
        // No call is under way yet.
        () = port.drain.begin.cancelled() => None,
        () = admitted.connection.make_room.cancelled() => None,
    };
    if let Some(stream) = agreed {
        speak(stream, peer, admitted, port).await;
    }
}

/// Serves HTTP/2, with or without TLS.
async fn speak<S>(stream: S, peer: TcpConnectInfo, admitted: Admitted, port: Port)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let Port { routes, shared, settings, drain } = port;
    let end_streams = drain.end_streams.child_token();
    let calls = Calls::new(routes, shared, &admitted, end_streams.clone());
    let calls = calls.map_request(move |mut request: http::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(peer.clone());
        request.map(tonic::body::Body::new)
    });
    let connection = &admitted.connection;
    let received = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&received);
    let stream = InspectReader::new(stream, move |read: &[u8]| {
        count.fetch_add(read.len(), Ordering::Relaxed);
    });
    let open_calls = usize::try_from(settings.max_concurrent_calls).unwrap_or(usize::MAX);

    let mut served = std::pin::pin!(
        http2::Builder::new(CallExecutor { timeout: settings.write_timeout })
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_concurrent_streams(settings.max_concurrent_calls)
            .max_send_buf_size(SEND_BUFFER)
            // A client may cancel all its open calls before the server has accepted one.
            .max_pending_accept_reset_streams(open_calls)
            .max_local_error_reset_streams(open_calls.saturating_mul(LATE_FRAMES))
            .keep_alive_interval(settings.keepalive_interval)
            .keep_alive_timeout(settings.keepalive_timeout)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(calls))
    );
    let mut asked_to_go = false;
    let mut made_room = false;
    // With jitter, so that clients do not reconnect at the same time.
    let age = ids::jitter(settings.max_connection_age, 0.9..=1.1);
    let mut limit = std::pin::pin!(tokio::time::sleep(age));
    let mut unhealthy = std::pin::pin!(misbehaves(connection, &received, &settings));
    loop {
        tokio::select! {
            result = served.as_mut() => {
                if let Err(error) = result {
                    tracing::debug!(%error, "connection ended with an error");
                }
                break;
            }
            () = limit.as_mut() => {
                if made_room && !connection.has_calls() {
                    break;
                } else if !asked_to_go {
                    asked_to_go = true;
                    served.as_mut().graceful_shutdown();
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
                served.as_mut().graceful_shutdown();
                // From here on only the drain closes it, by the deadline of the process.
                limit.set(tokio::time::sleep(Duration::from_secs(24 * 3600)));
            }
            () = connection.make_room.cancelled(), if !made_room && !end_streams.is_cancelled() => {
                if !connection.carried_a_call() {
                    break;
                }
                made_room = true;
                served.as_mut().graceful_shutdown();
                // No call was under way. A call that began before its client received GOAWAY has the same grace as on
                // an old connection.
                asked_to_go = !connection.has_grace();
                if asked_to_go {
                    end_streams.cancel();
                }
                limit.set(tokio::time::sleep(FLUSH));
            }
            cause = unhealthy.as_mut() => {
                cause.count();
                tracing::debug!(?cause, "connection closed");
                break;
            }
            () = drain.close.cancelled() => break,
        }
    }
}

/// Returns when the connection must be closed at once.
async fn misbehaves(connection: &Connection, received: &AtomicUsize, settings: &Settings) -> Cause {
    tokio::time::sleep(settings.preface_timeout).await;
    if received.load(Ordering::Relaxed) < PREFACE {
        return Cause::NoPreface;
    }
    // A call's own task gives up responses that hyper holds; this covers bytes in HTTP/2's buffer.
    loop {
        tokio::time::sleep(settings.write_timeout / 2).await;
        if connection.takes_nothing_for(settings.write_timeout * 2) {
            return Cause::NotTaken;
        }
    }
}
