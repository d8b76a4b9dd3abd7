//! A proxy in front of PostgreSQL that loses the reply to a COMMIT on demand, or stops answering without closing
//! connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use devstack::postgres::Postgres;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// A running proxy; it ends with the test's runtime.
#[derive(Clone, Debug)]
pub struct CommitLoser {
    port: u16,
    /// Number of commits to pass before the next one is lost.
    to_pass: Arc<AtomicUsize>,
    to_lose: Arc<AtomicUsize>,
    lost: Arc<AtomicUsize>,
    /// Number of times that it has vanished.
    vanished: watch::Sender<u32>,
}

impl CommitLoser {
    /// Listens on a free port of the loopback interface.
    async fn start(postgres: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let proxy = Self {
            port,
            to_pass: Arc::default(),
            to_lose: Arc::default(),
            lost: Arc::default(),
            vanished: watch::channel(0).0,
        };
        let shared = proxy.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(shared.clone().serve(client, postgres));
            }
        });
        proxy
    }

    /// A proxy between this server and the services that are started from now on.
    pub async fn before(postgres: &mut Postgres) -> Self {
        let proxy = Self::start(postgres.port()).await;
        postgres.lead_services_through(proxy.port);
        proxy
    }

    /// Loses the replies to the next COMMITs of any service; the transactions themselves are committed.
    pub fn lose(&self, commits: usize) {
        self.lose_after(0, commits);
    }

    /// As [`Self::lose`], after passing some replies on.
    pub fn lose_after(&self, passed: usize, commits: usize) {
        self.to_pass.store(passed, Ordering::SeqCst);
        self.to_lose.store(commits, Ordering::SeqCst);
    }

    /// Number of lost replies.
    pub fn lost(&self) -> usize {
        self.lost.load(Ordering::SeqCst)
    }

    /// Stops forwarding on the open connections without closing them, like a host that has lost its power. New
    /// connections are served, as if the address had moved to another host.
    pub fn vanish(&self) {
        self.vanished.send_modify(|times| *times += 1);
    }

    async fn serve(self, mut client: TcpStream, postgres: u16) {
        let Ok(mut server) = TcpStream::connect(("127.0.0.1", postgres)).await else { return };
        let (mut from_client, mut from_server) = (vec![0; 1 << 16], vec![0; 1 << 16]);
        let mut vanished = self.vanished.subscribe();
        loop {
            tokio::select! {
                _ = vanished.changed() => {
                    // The sessions and their locks end with the host; the client gets no packet.
                    drop(server);
                    return std::future::pending().await;
                }
                read = client.read(&mut from_client) => {
                    let Ok(n @ 1..) = read else { return };
                    // Before the commit can be seen: a test that has seen it may say which one to lose next.
                    let loses = is_commit(&from_client[..n]) && self.take_one();
                    if server.write_all(&from_client[..n]).await.is_err() { return }
                    if loses {
                        // The server's reply confirms the commit; the client never receives it.
                        let _ = server.read(&mut from_server).await;
                        self.lost.fetch_add(1, Ordering::SeqCst);
                        return;
                    }
                }
                read = server.read(&mut from_server) => {
                    let Ok(n @ 1..) = read else { return };
                    if client.write_all(&from_server[..n]).await.is_err() { return }
                }
            }
        }
    }

    fn take_one(&self) -> bool {
        let take = |of: &AtomicUsize| {
            of.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok()
        };
        self.to_lose.load(Ordering::SeqCst) > 0 && !take(&self.to_pass) && take(&self.to_lose)
    }
}

/// The simple query COMMIT, alone in its packet.
fn is_commit(bytes: &[u8]) -> bool {
    bytes.starts_with(b"Q") && bytes.windows(6).any(|word| word.eq_ignore_ascii_case(b"COMMIT"))
}
