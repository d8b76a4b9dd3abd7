//! Reads while replicas come and go. Each answer is checked at once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tests::clients::follow;
use tests::explained::check;
use tests::{Endpoints, new_user, until};
use tokio::task::JoinHandle;

use super::replica_of;

/// Number of concurrent callers.
const CALLERS: usize = 4;
/// Pause between two rounds of a caller: a Neo4j starts and is built on the same machine.
const REST: Duration = Duration::from_millis(200);

/// Number of answers of each replica.
pub type Answered = BTreeMap<String, usize>;

/// Running callers. Each follows an account and checks that at once with the returned token; and it checks older edges
/// and some that never existed.
pub struct Load {
    over: Arc<AtomicBool>,
    reads: Arc<AtomicUsize>,
    callers: Vec<JoinHandle<Answered>>,
}

impl Load {
    /// Starts them; `edges` exist already.
    pub fn start(endpoints: &Endpoints, edges: &[(String, String)]) -> Self {
        let (over, reads) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let edges = Arc::new(edges.to_vec());
        let caller = |number| {
            let caller = Caller {
                endpoints: endpoints.clone(),
                edges: Arc::clone(&edges),
                next: number,
                over: Arc::clone(&over),
                reads: Arc::clone(&reads),
            };
            tokio::spawn(caller.call())
        };
        let callers = (0..CALLERS).map(caller).collect();
        Self { over, reads, callers }
    }

    /// Waits until this many more reads were answered.
    pub async fn wait_for_more(&self, reads: usize) {
        let wanted = self.reads.load(Ordering::SeqCst) + reads;
        until("more reads to be answered", || async {
            let done = self.reads.load(Ordering::SeqCst);
            if done >= wanted { Ok(()) } else { Err(format!("{done} of {wanted}")) }
        })
        .await;
    }

    /// Ends the load; returns the number of answers of each replica.
    ///
    /// # Panics
    /// If a read failed, or was wrong.
    pub async fn end(self, when: &str) -> Answered {
        self.over.store(true, Ordering::SeqCst);
        let mut answered = Answered::new();
        for caller in self.callers {
            let theirs = caller.await.unwrap_or_else(|error| panic!("{when}: {error}"));
            for (replica, count) in theirs {
                *answered.entry(replica).or_default() += count;
            }
        }
        println!("{when}: {answered:?}");
        assert!(answered.values().sum::<usize>() > 0, "{when}: nothing was read");
        answered
    }
}

struct Caller {
    endpoints: Endpoints,
    edges: Arc<Vec<(String, String)>>,
    next: usize,
    over: Arc<AtomicBool>,
    reads: Arc<AtomicUsize>,
}

impl Caller {
    async fn call(mut self) -> Answered {
        let (mut commands, mut queries) = (self.endpoints.commands(), self.endpoints.queries());
        let mut answered = Answered::new();
        while !self.over.load(Ordering::SeqCst) {
            let (a, b) = (new_user(), new_user());
            let token = follow(&mut commands, &a, &b).await.expect("a follow").written_at;
            let mut asks =
                vec![(a.clone(), b.clone(), Some(token.as_str()), true), (b, a, Some(token.as_str()), false)];
            if let Some((x, y)) = self.edges.get(self.next % self.edges.len().max(1)) {
                asks.push((x.clone(), y.clone(), None, true));
            }
            self.next += CALLERS;
            for (viewer, target, token, wanted) in asks {
                let answer = check(&mut queries, &viewer, &target, token).await.expect("no read fails");
                assert_eq!(answer.following, wanted, "{answer:?}");
                if let Some(token) = token {
                    assert!(*answer.as_of >= *token, "older than {token}: {answer:?}");
                }
                *answered.entry(replica_of(answer.explanation)).or_default() += 1;
                self.reads.fetch_add(1, Ordering::SeqCst);
            }
            tokio::time::sleep(REST).await;
        }
        answered
    }
}
