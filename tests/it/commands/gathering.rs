//! Commands in one batch, in a known order: while the committer of a second command-service waits for the head, later
//! commands collect in its queue.

use devstack::services::Service;
use proto::command::v1::GetStatusRequest;
use sqlx::{Postgres, Transaction};
use tests::metrics::scrape;
use tests::own::second_replica;
use tests::{Act, Ask, Commands, Endpoints, asks, until, user};
use tokio::task::{JoinHandle, block_in_place};

/// The head is locked, and one command waits for it.
pub(super) struct Gathering {
    /// Clients of the second command-service. The shared one has commands of other tests in its queue.
    pub(super) commands: Commands,
    service: Service,
    lock: Transaction<'static, Postgres>,
    waits: JoinHandle<asks::Answer>,
    queued: u32,
}

impl Gathering {
    pub(super) async fn begin(shared: &Endpoints) -> Self {
        let service = second_replica(shared);
        let commands = shared.through(&service).commands();
        let mut lock = shared.postgres().await.begin().await.expect("a transaction");
        sqlx::query("SELECT FROM log_lock FOR UPDATE").execute(&mut *lock).await.expect("the lock");
        let before = batches(&service);
        let waits = tokio::spawn({
            let commands = commands.clone();
            async move { Ask::new(Act::Follow, user(), user()).done(&commands).await }
        });
        until("the committer to take a batch", || async {
            let taken = batches(&service) - before;
            if taken > 0.0 { Ok(()) } else { Err("no batch".to_owned()) }
        })
        .await;
        Self { commands, service, lock, waits, queued: 0 }
    }

    /// Starts a call that sends one command through [`Self::commands`], and returns when the command is in the queue.
    pub(super) async fn queue<F>(&mut self, call: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        let call = tokio::spawn(call);
        self.queued += 1;
        let queued = self.queued;
        until("the command in the queue", || {
            let mut commands = self.commands.clone();
            async move {
                let status = commands.get_status(GetStatusRequest {}).await;
                let found = status.map_err(|status| status.to_string())?.into_inner().queued_commands;
                if found == queued { Ok(()) } else { Err(format!("{found} of {queued} commands")) }
            }
        })
        .await;
        call
    }

    /// Unlocks the head: the queue is the next batch. The service must live until its calls are answered.
    pub(super) async fn release(self) -> Service {
        self.lock.rollback().await.expect("it is given back");
        self.waits.await.expect("the waiting command succeeds");
        self.service
    }
}

/// The batches that the committer of a command-service has taken from its queue.
fn batches(service: &Service) -> f64 {
    let samples = block_in_place(|| scrape(service.admin_addr()));
    let all = samples.iter().filter(|sample| {
        sample.metric == "followgraph_command_batch_commands"
            && sample.labels.get("le").is_some_and(|bound| bound == "+Inf")
    });
    all.map(|sample| sample.value).sum()
}
