//! A TCP proxy that injects network faults between a client and a real server.
//!
//! Faults are set per direction and apply to the open connections and to new ones. A fault changes what the network
//! does, never the bytes: TCP would not deliver altered or reordered data either.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::sleep;

/// Bytes forwarded at a time. Small, so that a throttled direction flows evenly.
const CHUNK: usize = 16 << 10;

/// A direction of the traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the server.
    Upstream,
    /// From the server to the client.
    Downstream,
}

/// What the network does to one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// Forwards everything at once.
    #[default]
    None,
    /// Forwards each chunk after `by`, plus a random part of `jitter`. Chunks keep their order.
    Delay {
        /// Shortest delay of a chunk.
        by: Duration,
        /// Upper bound of the random addition.
        jitter: Duration,
    },
    /// Forwards at most this many bytes per second.
    Throttle {
        /// Bytes per second; above zero.
        bytes_per_second: u32,
    },
    /// Reads nothing and forwards nothing, and keeps the connection open: the sender's window fills up. With both
    /// directions stalled, either peer sees a host that lost its power.
    Stall,
}

/// How open connections are closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// FIN to both peers.
    Cut,
    /// RST to both peers.
    Reset,
    /// FIN to the server only; the client keeps a connection without a peer.
    HalfOpen,
}

/// A running proxy. It ends with the runtime of its test.
#[derive(Clone, Debug)]
pub struct FaultProxy {
    port: u16,
    /// The port of the server.
    server: watch::Sender<u16>,
    upstream: watch::Sender<Fault>,
    downstream: watch::Sender<Fault>,
    /// The last command to end the open connections, and its number.
    ending: watch::Sender<(u64, Option<Ending>)>,
    refusing: watch::Sender<bool>,
}

impl FaultProxy {
    /// Listens on a free port of the loopback interface and forwards to this one.
    ///
    /// # Panics
    /// If no port is free.
    pub async fn start(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let proxy = Self {
            port: listener.local_addr().expect("an address").port(),
            server: watch::channel(server).0,
            upstream: watch::channel(Fault::None).0,
            downstream: watch::channel(Fault::None).0,
            ending: watch::channel((0, None)).0,
            refusing: watch::channel(false).0,
        };
        let shared = proxy.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if *shared.refusing.borrow() {
                    end(client, Ending::Reset);
                } else {
                    let server = *shared.server.borrow();
                    tokio::spawn(shared.clone().serve(client, server));
                }
            }
        });
        proxy
    }

    /// The port on which it listens.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The same address with the proxy's port in place of the server's.
    #[must_use]
    pub fn through(&self, address: &str, server: u16) -> String {
        address.replacen(&format!(":{server}"), &format!(":{}", self.port), 1)
    }

    /// Forwards new connections to another server: the name of a service leads to another host.
    pub fn lead_to(&self, server: u16) {
        self.server.send_replace(server);
    }

    /// Sets the fault of one direction.
    pub fn set(&self, direction: Direction, fault: Fault) {
        match direction {
            Direction::Upstream => self.upstream.send_replace(fault),
            Direction::Downstream => self.downstream.send_replace(fault),
        };
    }

    /// Sets the fault of both directions.
    pub fn set_both(&self, fault: Fault) {
        self.set(Direction::Upstream, fault);
        self.set(Direction::Downstream, fault);
    }

    /// Closes all open connections with FIN. New ones are accepted.
    pub fn cut(&self) {
        self.end_all(Ending::Cut);
    }

    /// Closes all open connections with RST. New ones are accepted.
    pub fn reset(&self) {
        self.end_all(Ending::Reset);
    }

    /// Closes the server's side of all open connections; their clients get no sign of it. New ones are accepted: the
    /// address has moved to another host.
    pub fn half_open(&self) {
        self.end_all(Ending::HalfOpen);
    }

    /// Resets each new connection, or accepts them again.
    pub fn refuse(&self, refuse: bool) {
        self.refusing.send_replace(refuse);
    }

    fn end_all(&self, ending: Ending) {
        self.ending.send_modify(|(number, last)| {
            *number += 1;
            *last = Some(ending);
        });
    }

    async fn serve(self, client: TcpStream, server: u16) {
        let mut endings = self.ending.subscribe();
        let Ok(server) = TcpStream::connect(("127.0.0.1", server)).await else {
            return end(client, Ending::Reset);
        };
        // Small messages must not wait for an acknowledgement: the servers set it, too.
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let (mut from_client, mut to_client) = client.into_split();
        let (mut from_server, mut to_server) = server.into_split();
        let ending = {
            let both = async {
                tokio::join!(
                    forward(&mut from_client, &mut to_server, self.upstream.subscribe()),
                    forward(&mut from_server, &mut to_client, self.downstream.subscribe()),
                )
            };
            tokio::select! {
                _ = both => None,
                _ = endings.changed() => endings.borrow_and_update().1,
            }
        };
        let client = from_client.reunite(to_client).expect("halves of one socket");
        let server = from_server.reunite(to_server).expect("halves of one socket");
        match ending {
            None => {}
            Some(Ending::HalfOpen) => {
                end(server, Ending::Cut);
                let _client: TcpStream = client;
                std::future::pending().await
            }
            Some(ending) => {
                end(server, ending);
                end(client, ending);
            }
        }
    }
}

/// Forwards one direction until its sender closes it or a peer is gone.
async fn forward(from: &mut OwnedReadHalf, to: &mut OwnedWriteHalf, mut fault: watch::Receiver<Fault>) {
    let mut buffer = vec![0; CHUNK];
    loop {
        let now = *fault.borrow_and_update();
        if now == Fault::Stall {
            if fault.changed().await.is_err() {
                return;
            }
            continue;
        }
        let read = tokio::select! {
            read = from.read(&mut buffer) => read,
            // A stall that begins now must keep what is sent from now on.
            changed = fault.changed() => if changed.is_ok() { continue } else { return },
        };
        let Ok(length @ 1..) = read else {
            // The other direction may still flow.
            let _ = to.shutdown().await;
            return;
        };
        match now {
            Fault::None | Fault::Stall => {}
            Fault::Delay { by, jitter } => sleep(by + jitter.mul_f64(rand::random())).await,
            Fault::Throttle { bytes_per_second } => {
                sleep(Duration::from_secs_f64(length as f64 / f64::from(bytes_per_second))).await;
            }
        }
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}

/// Closes a socket.
fn end(socket: TcpStream, ending: Ending) {
    if ending == Ending::Reset {
        let _ = socket.set_zero_linger();
    }
    drop(socket);
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::time::Instant;

    use super::*;

    /// A server that sends back what it gets.
    async fn echo() -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = socket.split();
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                });
            }
        });
        port
    }

    async fn connected() -> (FaultProxy, TcpStream) {
        let proxy = FaultProxy::start(echo().await).await;
        let mut client = TcpStream::connect(("127.0.0.1", proxy.port())).await.expect("a connection");
        round_trip(&mut client, b"first").await;
        (proxy, client)
    }

    async fn round_trip(client: &mut TcpStream, bytes: &[u8]) {
        client.write_all(bytes).await.expect("written");
        let mut answer = vec![0; bytes.len()];
        client.read_exact(&mut answer).await.expect("an answer");
        assert_eq!(answer, bytes);
    }

    /// True if nothing arrives for a moment.
    async fn is_silent(client: &mut TcpStream) -> bool {
        tokio::time::timeout(Duration::from_millis(200), client.read_u8()).await.is_err()
    }

    #[tokio::test]
    async fn a_stall_holds_bytes_back_and_loses_none() {
        for direction in [Direction::Upstream, Direction::Downstream] {
            let (proxy, mut client) = connected().await;
            proxy.set(direction, Fault::Stall);
            client.write_all(b"held").await.expect("written");
            assert!(is_silent(&mut client).await, "{direction:?}");
            proxy.set(direction, Fault::None);
            let mut answer = [0; 4];
            client.read_exact(&mut answer).await.expect("an answer");
            assert_eq!(&answer, b"held");
        }
    }

    #[tokio::test]
    async fn delay_and_throttle_take_their_time() {
        let (proxy, mut client) = connected().await;
        let by = Duration::from_millis(50);
        proxy.set_both(Fault::Delay { by, jitter: by });
        let began = Instant::now();
        round_trip(&mut client, b"slow").await;
        assert!(began.elapsed() >= 2 * by, "one delay in each direction");

        proxy.set(Direction::Upstream, Fault::None);
        proxy.set(Direction::Downstream, Fault::Throttle { bytes_per_second: 100_000 });
        let began = Instant::now();
        round_trip(&mut client, &[7; 20_000]).await;
        assert!(began.elapsed() >= Duration::from_millis(200), "20,000 bytes at 100,000 a second");
    }

    #[tokio::test]
    async fn cut_reset_and_half_open_end_connections_differently() {
        let (proxy, mut client) = connected().await;
        proxy.cut();
        assert_eq!(client.read_u8().await.expect_err("closed").kind(), ErrorKind::UnexpectedEof);

        let (proxy, mut client) = connected().await;
        proxy.reset();
        assert_eq!(client.read_u8().await.expect_err("reset").kind(), ErrorKind::ConnectionReset);

        let (proxy, mut client) = connected().await;
        proxy.half_open();
        assert!(is_silent(&mut client).await, "the client gets no sign");
        let mut next = TcpStream::connect(("127.0.0.1", proxy.port())).await.expect("a new connection");
        round_trip(&mut next, b"moved").await;
    }

    #[tokio::test]
    async fn refused_connections_are_reset() {
        let (proxy, mut client) = connected().await;
        proxy.refuse(true);
        round_trip(&mut client, b"open ones stay").await;
        let mut refused =
            TcpStream::connect(("127.0.0.1", proxy.port())).await.expect("accepted, then reset");
        let outcome = refused.read_u8().await;
        assert_eq!(outcome.expect_err("reset").kind(), ErrorKind::ConnectionReset);
        proxy.refuse(false);
        let mut again = TcpStream::connect(("127.0.0.1", proxy.port())).await.expect("a connection");
        round_trip(&mut again, b"again").await;
    }
}
