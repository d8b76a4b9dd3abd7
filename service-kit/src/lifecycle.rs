//! Start, supervision and orderly stop of a process.
//!
//! If a task ends or fails, the process drains and fails with the task's name. If a task does not stop in time or a
//! second signal arrives, the process fails at once and names the running tasks.
//!
//! The drain: the process is no longer ready and servers stop accepting; calls under way finish. At half of the
//! deadline, open response streams end; at three quarters, connections are closed. When no server is left, background
//! tasks are stopped.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures::FutureExt;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::readiness::Readiness;

/// Why the process failed.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// A task ended before it was stopped, or with an error.
    #[error("task {task} {problem}")]
    TaskFailed {
        /// Its name.
        task: String,
        /// What happened to it.
        problem: String,
    },
    /// Tasks were running when the deadline passed or a second signal arrived.
    #[error("stopped by {cause} while these still ran: {}", tasks.join(", "))]
    Aborted {
        /// The deadline, or the name of the signal.
        cause: &'static str,
        /// The tasks' names.
        tasks: Vec<String>,
    },
    /// The operating system refused a signal handler.
    #[error("cannot listen for signals: {0}")]
    Signals(String),
    /// `run` was called twice.
    #[error("the lifecycle runs already")]
    RunsAlready,
}

/// The three moments of a drain, for servers.
#[derive(Debug, Clone, Default)]
pub struct Drain {
    /// Stop accepting; finish calls under way. Open-ended streams should end by themselves.
    pub begin: CancellationToken,
    /// End response streams that are still open.
    pub end_streams: CancellationToken,
    /// Close all connections.
    pub close: CancellationToken,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Server,
    Background,
}

/// The tasks of a process.
#[derive(Debug, Default)]
struct Tasks {
    running: BTreeMap<u64, (Stage, String)>,
    /// The first task that died.
    failure: Option<Error>,
}

#[derive(Debug)]
struct Inner {
    readiness: Readiness,
    drain: Drain,
    stop: CancellationToken,
    tasks: watch::Sender<Tasks>,
    next_id: AtomicU64,
    supervised: AtomicBool,
}

/// Runs the tasks of a process and stops them in order. Clones share it.
#[derive(Debug, Clone)]
pub struct Lifecycle(Arc<Inner>);

impl Lifecycle {
    /// A lifecycle without tasks. It drains `readiness` when the drain begins.
    pub fn new(readiness: Readiness) -> Self {
        Self(Arc::new(Inner {
            readiness,
            drain: Drain::default(),
            stop: CancellationToken::new(),
            tasks: watch::Sender::default(),
            next_id: AtomicU64::new(0),
            supervised: AtomicBool::new(false),
        }))
    }

    /// The moments of the drain, for servers.
    pub fn drain(&self) -> Drain {
        self.0.drain.clone()
    }

    /// Cancelled when background tasks must stop, after the servers have finished.
    pub fn stop_token(&self) -> CancellationToken {
        self.0.stop.clone()
    }

    /// Starts the drain as a signal would.
    pub fn begin_drain(&self) {
        self.0.drain.begin.cancel();
    }

    /// Runs a background task for the life of the process. If it ends before [`Self::stop_token`] is cancelled, or
    /// with an error or a panic at any time, the process stops and fails.
    pub fn spawn<F, E>(&self, name: &str, task: F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<anyhow::Error> + 'static,
    {
        let stop = self.0.stop.clone();
        self.spawn_in(Stage::Background, name, task, stop);
    }

    /// Runs a server for the life of the process. It must end after [`Drain::begin`], once its calls are done.
    pub fn spawn_server<F, E>(&self, name: &str, server: F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<anyhow::Error> + 'static,
    {
        let begin = self.0.drain.begin.clone();
        self.spawn_in(Stage::Server, name, server, begin);
    }

    fn spawn_in<F, E>(&self, stage: Stage, name: &str, task: F, may_end: CancellationToken)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<anyhow::Error> + 'static,
    {
        let id = self.0.next_id.fetch_add(1, Ordering::Relaxed);
        let name = name.to_owned();
        self.0.tasks.send_modify(|tasks| {
            tasks.running.insert(id, (stage, name.clone()));
        });
        // An alert on an increase needs the zero before it.
        metrics::counter!(crate::metrics::TASK_FAILURES, "task" => name.clone()).increment(0);
        let lifecycle = self.clone();
        tokio::spawn(async move {
            let problem = match AssertUnwindSafe(task).catch_unwind().await {
                Ok(Ok(())) if may_end.is_cancelled() => None,
                Ok(Ok(())) => Some("ended before it was stopped".to_owned()),
                Ok(Err(error)) => Some(format!("failed: {:#}", error.into())),
                Err(panic) => Some(format!("panicked: {}", panic_text(panic.as_ref()))),
            };
            lifecycle.ended(id, name, problem);
        });
    }

    fn ended(&self, id: u64, task: String, problem: Option<String>) {
        if let Some(problem) = &problem {
            tracing::error!(task, problem, "task died");
            metrics::counter!(crate::metrics::TASK_FAILURES, "task" => task.clone()).increment(1);
        } else {
            tracing::debug!(task, "task stopped");
        }
        self.0.tasks.send_modify(|tasks| {
            tasks.running.remove(&id);
            if let Some(problem) = problem {
                tasks.failure.get_or_insert(Error::TaskFailed { task, problem });
            }
        });
    }

    /// Supervises until everything has stopped: waits for a signal, [`Self::begin_drain`] or the death of a task, then
    /// drains.
    pub async fn run(&self, mut signals: Signals, deadline: Duration) -> Result<(), Error> {
        if self.0.supervised.swap(true, Ordering::Relaxed) {
            return Err(Error::RunsAlready);
        }
        let mut tasks = self.0.tasks.subscribe();
        tokio::select! {
            name = signals.next() => tracing::info!(signal = name, "shutting down"),
            () = self.0.drain.begin.cancelled() => tracing::info!("shutting down"),
            _ = tasks.wait_for(|tasks| tasks.failure.is_some()) => {
                tracing::error!("shutting down because a task died");
            }
        }

        self.0.readiness.drain();
        self.0.drain.begin.cancel();
        let timeout = tokio::time::sleep_until(Instant::now() + deadline);
        let drained = async {
            self.drain_servers(deadline).await;
            self.0.stop.cancel();
            self.gone(|_| true).await;
        };
        let cause = tokio::select! {
            () = drained => None,
            () = timeout => Some("the deadline"),
            name = signals.next() => Some(name),
        };
        if let Some(cause) = cause {
            let tasks = self.0.tasks.borrow().running.values().map(|(_, name)| name.clone()).collect();
            return Err(Error::Aborted { cause, tasks });
        }
        self.0.tasks.borrow().failure.clone().map_or(Ok(()), Err)
    }

    /// Waits until the servers have ended, and closes streams and connections as the deadline approaches.
    async fn drain_servers(&self, deadline: Duration) {
        let drain = &self.0.drain;
        let press = async {
            tokio::time::sleep(deadline / 2).await;
            drain.end_streams.cancel();
            tokio::time::sleep(deadline / 4).await;
            drain.close.cancel();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = self.gone(|stage| stage == Stage::Server) => {}
            () = press => {}
        }
    }

    /// Waits until no task of these stages runs.
    async fn gone(&self, of: impl Fn(Stage) -> bool) {
        let mut tasks = self.0.tasks.subscribe();
        // The channel never closes: `self` holds its sender.
        let _ = tasks.wait_for(|tasks| !tasks.running.values().any(|(stage, _)| of(*stage))).await;
    }
}

/// SIGTERM and SIGINT. Before [`Self::listen`] they end the process at once.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Handles the signals from now on. Needs a runtime.
    pub fn listen() -> Result<Self, Error> {
        let listen = |kind| signal(kind).map_err(|error| Error::Signals(error.to_string()));
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// The message of a panic.
pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> &(dyn Display + '_) {
    if let Some(text) = panic.downcast_ref::<&'static str>() {
        text
    } else if let Some(text) = panic.downcast_ref::<String>() {
        text
    } else {
        &"without a message"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    #[tokio::test]
    async fn a_task_that_dies_alone_stops_the_process_and_is_named() {
        for (name, problem) in [
            ("ends", "ended before it was stopped"),
            ("errs", "failed: out of luck"),
            ("panics", "panicked: oh"),
        ] {
            let lifecycle = Lifecycle::new(Readiness::new());
            let stop = lifecycle.stop_token();
            lifecycle.spawn("other", async move {
                stop.cancelled().await;
                Ok::<(), anyhow::Error>(())
            });
            lifecycle.spawn(name, async move {
                match name {
                    "ends" => Ok(()),
                    "errs" => Err(anyhow::anyhow!("out of luck")),
                    _ => panic!("oh"),
                }
            });
            let error =
                lifecycle.run(Signals::listen().expect("a runtime"), LONG).await.expect_err("a dead task");
            assert_eq!(error, Error::TaskFailed { task: name.to_owned(), problem: problem.to_owned() });
        }
    }

    #[tokio::test]
    async fn background_tasks_stop_after_the_servers() {
        let readiness = Readiness::new();
        let lifecycle = Lifecycle::new(readiness.clone());
        let (drain, stop) = (lifecycle.drain(), lifecycle.stop_token());
        let stopped_early = stop.clone();
        lifecycle.spawn_server("server", async move {
            drain.begin.cancelled().await;
            tokio::task::yield_now().await;
            if stopped_early.is_cancelled() || readiness.is_ready() {
                anyhow::bail!("out of order");
            }
            Ok(())
        });
        lifecycle.spawn("worker", async move {
            stop.cancelled().await;
            Ok::<(), anyhow::Error>(())
        });
        lifecycle.begin_drain();
        lifecycle.run(Signals::listen().expect("a runtime"), LONG).await.expect("an orderly stop");
    }

    #[tokio::test(start_paused = true)]
    async fn a_stubborn_server_is_pressed_and_the_deadline_is_kept() {
        let lifecycle = Lifecycle::new(Readiness::new());
        let drain = lifecycle.drain();
        let begun = Instant::now();
        lifecycle.spawn_server("server", async move {
            drain.end_streams.cancelled().await;
            anyhow::ensure!(
                begun.elapsed() == Duration::from_secs(10),
                "streams ended at {:?}",
                begun.elapsed()
            );
            drain.close.cancelled().await;
            anyhow::ensure!(begun.elapsed() == Duration::from_secs(15), "closed at {:?}", begun.elapsed());
            Ok(())
        });
        lifecycle.spawn("deaf", std::future::pending::<Result<(), anyhow::Error>>());
        lifecycle.begin_drain();
        let error = lifecycle
            .run(Signals::listen().expect("a runtime"), Duration::from_secs(20))
            .await
            .expect_err("one task is deaf");
        assert_eq!(error, Error::Aborted { cause: "the deadline", tasks: vec!["deaf".to_owned()] });
        assert_eq!(begun.elapsed(), Duration::from_secs(20));
    }
}
