//! State that readers and writers share: accounts, the newest token, and counts of answers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use proto::UserId;
use rand::Rng as _;
use rand::rngs::StdRng;
use tests::until;
use tokio::sync::watch;

/// Up to this number, all accounts are picked equally often.
const FEW: usize = 12;

/// Number of answers of each read model: by the number of the query-service, and its name.
pub type Answered = BTreeMap<(usize, String), u64>;

/// State that writers and readers share.
#[derive(Clone)]
pub struct Load {
    pub users: Arc<Vec<UserId>>,
    /// The newest token that any writer received.
    pub newest: watch::Sender<String>,
    answered: Arc<Mutex<Answered>>,
    refused: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
    spares: Arc<AtomicBool>,
}

/// Factor of the pauses of readers and writers while a server starts.
const SPARING: u32 = 5;

impl Load {
    pub fn of(accounts: usize) -> Self {
        Self {
            users: Arc::new((0..accounts).map(|_| tests::user()).collect()),
            newest: watch::channel(String::new()).0,
            answered: Arc::default(),
            refused: Arc::default(),
            over: Arc::default(),
            spares: Arc::default(),
        }
    }

    /// Whether readers and writers make longer pauses: a Neo4j that starts on a small machine needs its processors.
    pub fn spare(&self, spares: bool) {
        self.spares.store(spares, Ordering::SeqCst);
    }

    /// The pause of a reader or writer between two calls.
    pub async fn pause(&self, pause: Duration) {
        let factor = if self.spares.load(Ordering::SeqCst) { SPARING } else { 1 };
        tokio::time::sleep(pause * factor).await;
    }

    /// Index of an account. Of many accounts the first are picked most often, so that their lists have edges.
    pub fn pick(&self, rng: &mut StdRng) -> usize {
        let accounts = self.users.len();
        let even = rng.random_range(0..accounts);
        if accounts <= FEW { even } else { even * even / accounts }
    }

    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    pub fn end(&self) {
        self.over.store(true, Ordering::SeqCst);
    }

    /// Counts an answer of a read model to this query-service.
    pub fn answered(&self, pod: usize, replica: &str) {
        let mut answered = self.answered.lock();
        *answered.entry((pod, replica.to_owned())).or_default() += 1;
    }

    /// Counts a read without an answer.
    pub fn refused(&self) {
        self.refused.fetch_add(1, Ordering::SeqCst);
    }

    /// Number of reads without an answer.
    pub fn refusals(&self) -> u64 {
        self.refused.load(Ordering::SeqCst)
    }

    /// Number of answers of each read model.
    pub fn answers(&self) -> Answered {
        self.answered.lock().clone()
    }

    /// Waits until each of these read models has given this many more answers to each of these query-services.
    ///
    /// # Panics
    /// If one of them does not.
    pub async fn wait_for_more(&self, when: &str, more: u64, pods: &[usize], replicas: &[&str]) {
        let before = self.answers();
        until(when, || async {
            let now = self.answers();
            let enough = |pod: usize, replica: &str| {
                let of = |answered: &Answered| {
                    answered.get(&(pod, replica.to_owned())).copied().unwrap_or_default()
                };
                of(&now) >= of(&before) + more
            };
            let all = pods.iter().all(|pod| replicas.iter().all(|replica| enough(*pod, replica)));
            if all { Ok(()) } else { Err(format!("{now:?} after {before:?}")) }
        })
        .await;
    }
}
