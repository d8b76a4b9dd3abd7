//! Sends chunks over as many connections as necessary, several in flight.
//!
//! Answers arrive in the order of chunks. Chunks without an answer are sent again on the next connection. A refusal of the
//! service is final; a broken connection is not, up to the retry time.

use std::collections::VecDeque;
use std::time::Duration;

use anyhow::{Context as _, bail};
use proto::command::v1::{ImportEdgesRequest, ImportEdgesResponse, OnConflict};
use proto::graph::v1::EdgeKind;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::time::{Instant, sleep_until};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Status};

use super::args::ImportArgs;
use super::chunks::Chunk;
use super::ledger::Ledger;
use crate::client::{CallFailed, CommandClient};
use crate::retry::Backoff;

/// Chunks in flight: enough to keep the service's committer busy, few enough to send again.
const WINDOW: usize = 8;
/// How long an interrupted import waits for outstanding answers.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Complete,
    /// A signal stopped it.
    Interrupted,
}

pub struct Import {
    client: CommandClient,
    kind: EdgeKind,
    on_conflict: OnConflict,
    chunks: Receiver<anyhow::Result<Chunk>>,
    ledger: Ledger,
    stop: CancellationToken,
    /// In the order of sending.
    unanswered: VecDeque<Chunk>,
    /// All chunks were taken from the source.
    exhausted: bool,
    backoff: Backoff,
}

impl Import {
    pub fn new(
        client: CommandClient,
        kind: EdgeKind,
        args: &ImportArgs,
        chunks: Receiver<anyhow::Result<Chunk>>,
        ledger: Ledger,
        stop: CancellationToken,
    ) -> Self {
        Self {
            client,
            kind,
            on_conflict: args.on_conflict.into(),
            chunks,
            ledger,
            stop,
            unanswered: VecDeque::new(),
            exhausted: false,
            backoff: Backoff::new(args.retry_for),
        }
    }

    pub async fn run(mut self) -> (Ledger, anyhow::Result<End>) {
        let end = self.send_all().await;
        (self.ledger, end)
    }

    async fn send_all(&mut self) -> anyhow::Result<End> {
        loop {
            let failed = match self.connection().await {
                Ok(end) => return Ok(end),
                Err(error) => error.downcast::<CallFailed>()?,
            };
            let delay = self.backoff.after(failed, |text| self.ledger.note(text))?;
            tokio::select! {
                () = tokio::time::sleep(delay) => {}
                () = self.stop.cancelled() => return Ok(End::Interrupted),
            }
        }
    }

    async fn connection(&mut self) -> anyhow::Result<End> {
        let stop = self.stop.clone();
        // The service may wait for the first chunk before it answers.
        while self.unanswered.is_empty() && !self.exhausted {
            tokio::select! {
                next = self.chunks.recv() => self.take(next)?,
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
        let mut rpc = self.client.rpc.clone();
        let answers = tokio::select! {
            answers = rpc.import_edges(request) => answers.map_err(|s| self.client.failed(s))?.into_inner(),
            () = stop.cancelled() => return Ok(End::Interrupted),
        };
        self.exchange(sender, answers).await
    }

    /// Sends and receives until everything is answered.
    async fn exchange(
        &mut self,
        sender: Sender<ImportEdgesRequest>,
        mut answers: tonic::Streaming<ImportEdgesResponse>,
    ) -> anyhow::Result<End> {
        let stop = self.stop.clone();
        let mut deadline = None;
        loop {
            self.settle()?;
            if self.unanswered.is_empty() && self.exhausted {
                break;
            }
            let may_send = self.unanswered.len() < WINDOW && !self.exhausted;
            tokio::select! {
                answer = answers.message() => match answer.map_err(|s| self.client.failed(s))? {
                    Some(answer) => self.answered(answer)?,
                    None => {
                        let status = Status::unavailable("the service ended the stream");
                        return Err(self.client.failed(status).into());
                    }
                },
                next = self.chunks.recv(), if may_send => {
                    self.take(next)?;
                    if let (false, Some(chunk)) = (self.exhausted, self.unanswered.back()) {
                        self.send(&sender, chunk).await;
                    }
                }
                () = stop.cancelled(), if deadline.is_none() => {
                    self.exhausted = true;
                    deadline = Some(Instant::now() + LAST_ANSWERS);
                }
                () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => break,
            }
        }
        Ok(if deadline.is_some() { End::Interrupted } else { End::Complete })
    }

    fn take(&mut self, next: Option<anyhow::Result<Chunk>>) -> anyhow::Result<()> {
        match next.transpose()? {
            Some(chunk) => self.unanswered.push_back(chunk),
            None => self.exhausted = true,
        }
        Ok(())
    }

    /// Never waits: the channel has room for the whole window. A lost connection shows in the answers.
    async fn send(&self, sender: &Sender<ImportEdgesRequest>, chunk: &Chunk) {
        if !chunk.edges.is_empty() {
            let request = chunk.request(self.kind, self.on_conflict);
            let _ = sender.send(request).await;
        }
    }

    fn answered(&mut self, answer: ImportEdgesResponse) -> anyhow::Result<()> {
        let chunk = self.unanswered.pop_front();
        let chunk = chunk.context("the service answered a chunk that was not sent")?;
        if chunk.number != answer.chunk {
            bail!("the service answered chunk {} before chunk {}", answer.chunk, chunk.number);
        }
        self.backoff.reset();
        self.ledger.enter(&chunk, Some(answer))
    }

    /// Records chunks without edges in their turn; they are not sent.
    fn settle(&mut self) -> anyhow::Result<()> {
        while let Some(chunk) = self.unanswered.pop_front_if(|c| c.edges.is_empty()) {
            self.ledger.enter(&chunk, None)?;
        }
        Ok(())
    }
}

/// A token that the first signal cancels; the second signal ends the process.
pub fn stop_on_signal() -> anyhow::Result<CancellationToken> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let stop = CancellationToken::new();
    let token = stop.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if token.is_cancelled() {
                std::process::exit(2);
            }
            token.cancel();
        }
    });
    Ok(stop)
}
