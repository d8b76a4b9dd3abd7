//! Chunks over the wire: a window of them in flight, over as many connections as
//! it takes.
//!
//! Owns the order: answers come in the order of chunks, and what was not answered
//! is sent again on the next connection. It must not know files. What can go wrong:
//! a refusal of the service, which is final, or a broken connection, which is
//! not until the patience ends.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use proto::command::v1::{ImportEdgesRequest, ImportEdgesResponse, OnConflict};
use proto::graph::v1::EdgeKind;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Status};

use super::chunks::Chunk;
use super::ledger::Ledger;
use crate::client::CommandClient;
use crate::error;
use crate::retry::Patience;

/// Chunks in flight. Enough to keep the service's committer busy while answers
/// travel, few enough to be sent again without harm.
const WINDOW: usize = 8;
/// How long an interrupted import waits for the answers that are under way.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

/// How an import ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// All chunks were answered.
    Complete,
    /// It was told to stop.
    Interrupted,
}

/// Why a connection ended before the import did.
enum Broken {
    /// The call ended.
    Call(Status),
    /// Nothing that another connection would mend.
    Final(anyhow::Error),
}

impl From<anyhow::Error> for Broken {
    fn from(error: anyhow::Error) -> Self {
        Self::Final(error)
    }
}

/// An import under way.
pub struct Import {
    /// The service.
    pub client: CommandClient,
    /// What the edges mean.
    pub kind: EdgeKind,
    /// What to do with edges that exist.
    pub on_conflict: OnConflict,
    /// Where chunks come from.
    pub chunks: Receiver<anyhow::Result<Chunk>>,
    /// Where answers go.
    pub ledger: Ledger,
    /// How long broken connections are put up with.
    pub retry_for: Duration,
    /// Stops the import.
    pub stop: CancellationToken,
}

impl Import {
    /// Sends everything.
    pub async fn run(self) -> (Ledger, anyhow::Result<End>) {
        let mut sending = Sending {
            patience: Patience::new(self.retry_for),
            import: self,
            unanswered: VecDeque::new(),
            exhausted: false,
        };
        let end = sending.run().await;
        (sending.import.ledger, end)
    }
}

struct Sending {
    import: Import,
    /// In the order in which they are sent.
    unanswered: VecDeque<Chunk>,
    /// There are no more chunks to take.
    exhausted: bool,
    patience: Patience,
}

impl Sending {
    async fn run(&mut self) -> anyhow::Result<End> {
        loop {
            let status = match self.connection().await {
                Ok(end) => return Ok(end),
                Err(Broken::Final(error)) => return Err(error),
                Err(Broken::Call(status)) => status,
            };
            let wait = self.patience.next_wait(&status, Instant::now());
            let failed = self.import.client.failed(status);
            let Some(wait) = wait else {
                return Err(failed.into());
            };
            self.import.ledger.say(&format!("{}; trying again", error::message(&failed)));
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.import.stop.cancelled() => return Ok(End::Interrupted),
            }
        }
    }

    async fn connection(&mut self) -> Result<End, Broken> {
        let stop = self.import.stop.clone();
        // The service may answer only after it was sent something.
        while self.unanswered.is_empty() && !self.exhausted {
            tokio::select! {
                next = self.import.chunks.recv() => self.take(next)?,
                () = stop.cancelled() => return Ok(End::Interrupted),
            }
            self.settle()?;
        }
        if self.unanswered.is_empty() && self.exhausted {
            return Ok(End::Complete);
        }
        let (sender, receiver) = mpsc::channel(WINDOW);
        for chunk in &self.unanswered {
            self.send(&sender, chunk).await;
        }
        let request = Request::new(ReceiverStream::new(receiver));
        let mut rpc = self.import.client.rpc.clone();
        let answers = tokio::select! {
            answers = rpc.import_edges(request) => answers.map_err(Broken::Call)?.into_inner(),
            () = stop.cancelled() => return Ok(End::Interrupted),
        };
        self.exchange(sender, answers).await
    }

    /// Sends and receives until everything is answered.
    async fn exchange(
        &mut self,
        sender: Sender<ImportEdgesRequest>,
        mut answers: tonic::Streaming<ImportEdgesResponse>,
    ) -> Result<End, Broken> {
        let stop = self.import.stop.clone();
        let mut deadline = None;
        loop {
            self.settle()?;
            if self.unanswered.is_empty() && self.exhausted {
                break;
            }
            let may_send = self.unanswered.len() < WINDOW && !self.exhausted;
            tokio::select! {
                answer = answers.message() => match answer.map_err(Broken::Call)? {
                    Some(answer) => self.answered(answer)?,
                    None => return Err(Broken::Call(Status::unavailable("the service ended the stream"))),
                },
                next = self.import.chunks.recv(), if may_send => {
                    self.take(next)?;
                    if let (false, Some(chunk)) = (self.exhausted, self.unanswered.back()) {
                        self.send(&sender, chunk).await;
                    }
                }
                () = stop.cancelled(), if deadline.is_none() => {
                    self.exhausted = true;
                    deadline = Some(tokio::time::Instant::now() + LAST_ANSWERS);
                }
                () = until(deadline), if deadline.is_some() => break,
            }
        }
        Ok(if deadline.is_some() { End::Interrupted } else { End::Complete })
    }

    fn take(&mut self, next: Option<anyhow::Result<Chunk>>) -> Result<(), Broken> {
        match next {
            Some(Ok(chunk)) => self.unanswered.push_back(chunk),
            Some(Err(error)) => return Err(Broken::Final(error)),
            None => self.exhausted = true,
        }
        Ok(())
    }

    /// Never waits: there is room for the whole window. If the connection is gone,
    /// the answers say so.
    async fn send(&self, sender: &Sender<ImportEdgesRequest>, chunk: &Chunk) {
        if !chunk.edges.is_empty() {
            let request = chunk.request(self.import.kind, self.import.on_conflict);
            let _ = sender.send(request).await;
        }
    }

    fn answered(&mut self, answer: ImportEdgesResponse) -> anyhow::Result<()> {
        let chunk = self.unanswered.pop_front();
        let chunk = chunk.context("the service answered a chunk that was not sent")?;
        if chunk.number != answer.chunk {
            bail!("the service answered chunk {} before chunk {}", answer.chunk, chunk.number);
        }
        self.patience.progressed();
        self.import.ledger.enter(&chunk, Some(answer))
    }

    /// Enters chunks without edges when it is their turn; they are not sent.
    fn settle(&mut self) -> anyhow::Result<()> {
        while let Some(chunk) = self.unanswered.pop_front_if(|c| c.edges.is_empty()) {
            self.import.ledger.enter(&chunk, None)?;
        }
        Ok(())
    }
}

async fn until(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
