//! Lifecycle of a server: start, readiness, stop, kill.
//!
//! Each server has its own command line and readiness check. If a program ends while it starts, or is not ready in time,
//! the error shows the last lines of its log and says what to do.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail};
use nix::sys::signal;

use crate::process::{Log, POLL, Signal, describe, pid_of, spawn};

/// Number of log lines in errors.
const LOG_LINES_IN_ERRORS: usize = 25;

/// A long-running program: limits, signals and its process.
#[derive(Debug)]
pub struct Daemon {
    /// Its name in errors.
    pub name: String,
    /// The signal that asks it to stop.
    pub stop_signal: Signal,
    /// Time to stop before it is killed.
    pub stop_limit: Duration,
    /// The signal that the kernel sends it when this process dies.
    pub on_parent_death: Signal,
    /// Time to get ready.
    pub start_limit: Duration,
    /// What a person can do when it does not start.
    pub advice: String,
    /// Its output goes here.
    log: Log,
    child: Option<Child>,
}

impl Daemon {
    /// A program that does not run yet, with the default limits.
    pub fn new(name: &str, log: PathBuf, advice: &str) -> Self {
        Self {
            name: name.to_owned(),
            stop_signal: Signal::SIGTERM,
            stop_limit: Duration::from_secs(30),
            on_parent_death: Signal::SIGKILL,
            start_limit: Duration::from_secs(180),
            advice: advice.to_owned(),
            log: Log::of_all_runs(&log),
            child: None,
        }
    }

    /// Starts `command` and returns at once.
    pub fn launch(&mut self, mut command: Command) -> Result<()> {
        if self.is_running()? {
            bail!("{} is running already", self.name);
        }
        self.log = self.log.next_run()?;
        command.stdin(Stdio::null()).stdout(self.log.writer()?).stderr(self.log.writer()?);
        self.child = Some(spawn(command, self.on_parent_death)?);
        Ok(())
    }

    /// Starts `command` and waits until `ready` returns true.
    pub fn start(&mut self, command: Command, ready: impl Fn() -> bool) -> Result<()> {
        self.launch(command)?;
        self.wait_ready(ready)
    }

    /// Starts `command` and waits until its log contains `sign`.
    pub fn start_logged(&mut self, command: Command, sign: &str) -> Result<()> {
        self.launch(command)?;
        let log = self.log.clone();
        self.wait_ready(|| log.text().contains(sign))
    }

    /// Waits until `ready` returns true. Fails if the program ends first or exceeds [`Self::start_limit`].
    pub fn wait_ready(&mut self, ready: impl Fn() -> bool) -> Result<()> {
        let deadline = Instant::now() + self.start_limit;
        loop {
            if let Some(status) = self.exited()? {
                let problem = format!("{} did not start: {}", self.name, describe(status));
                let error = self.error(&problem);
                self.child = None;
                return Err(error);
            }
            // After the exit check: another program may answer on the port.
            if ready() {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let seconds = self.start_limit.as_secs();
                return Err(self.error(&format!("{} was not ready after {seconds} s", self.name)));
            }
            thread::sleep(POLL);
        }
    }

    /// An error that shows the last log lines and what to do.
    pub fn error(&self, problem: &str) -> anyhow::Error {
        let tail = self.log_tail(LOG_LINES_IN_ERRORS);
        let tail = if tail.is_empty() { "(the log is empty)".to_owned() } else { tail };
        anyhow!(
            "{problem}\n--- last lines of {} ---\n{tail}\n--- what to do ---\n{}",
            self.log.path().display(),
            self.advice
        )
    }

    /// How it ended, if it has.
    fn exited(&mut self) -> Result<Option<ExitStatus>> {
        let Some(child) = self.child.as_mut() else {
            bail!("{} is not running", self.name);
        };
        child.try_wait().with_context(|| format!("cannot wait for {}", self.name))
    }

    /// Whether the program runs now.
    pub fn is_running(&mut self) -> Result<bool> {
        Ok(self.child.is_some() && self.exited()?.is_none())
    }

    /// The process id, until the end of the process is noticed.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// The last `lines` lines of the current or the last run; of the file if there was none.
    pub fn log_tail(&self, lines: usize) -> String {
        self.log.tail(lines)
    }

    /// The log file.
    pub fn log_path(&self) -> &Path {
        self.log.path()
    }

    /// Sends a signal, if it runs.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        // The id of a child that was not waited for is not reused.
        if self.is_running()?
            && let Some(child) = &self.child
        {
            signal::kill(pid_of(child), signal)
                .with_context(|| format!("cannot send {signal} to {}", self.name))?;
        }
        Ok(())
    }

    /// Asks it to stop, waits, and kills it if it does not. `None` if it was not running.
    pub fn stop(&mut self) -> Result<Option<ExitStatus>> {
        if self.child.is_none() {
            return Ok(None);
        }
        self.signal(self.stop_signal)?;
        // A frozen process would not see the signal.
        self.signal(Signal::SIGCONT)?;
        match self.wait(self.stop_limit)? {
            None => self.kill9(),
            ended => Ok(ended),
        }
    }

    /// Kills it at once. `None` if it was not running.
    pub fn kill9(&mut self) -> Result<Option<ExitStatus>> {
        self.signal(Signal::SIGKILL)?;
        let Some(mut child) = self.child.take() else {
            return Ok(None);
        };
        child.wait().map(Some).with_context(|| format!("cannot wait for {}", self.name))
    }

    /// Waits until it ends by itself, and returns how; `None` if it still runs after `limit`.
    pub fn wait(&mut self, limit: Duration) -> Result<Option<ExitStatus>> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.exited()? {
                self.child = None;
                return Ok(Some(status));
            }
            if Instant::now() >= deadline {
                return Ok(None);
            }
            thread::sleep(POLL);
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Nothing can be reported from here. If both fail, the kernel's signal at our end remains.
        if self.stop().is_err() {
            let _ = self.kill9();
        }
    }
}

/// What every server of a set can do. Dropping a server stops it.
pub trait Server {
    /// Its process.
    fn daemon(&self) -> &Daemon;

    /// Its process, to change it.
    fn daemon_mut(&mut self) -> &mut Daemon;

    /// Starts it on the same port with its data, and waits until it is ready.
    fn start_again(&mut self) -> Result<()>;

    /// Removes its data.
    fn remove_data(&self) -> Result<()>;

    /// Removes its data; the next start is empty. Fails while it runs.
    fn wipe(&mut self) -> Result<()> {
        if self.daemon_mut().is_running()? {
            bail!("{} must be stopped before its data is removed", self.name());
        }
        self.remove_data()
    }

    /// Its name in errors.
    fn name(&self) -> &str {
        &self.daemon().name
    }

    /// Asks it to stop and waits; kills it if that takes too long.
    fn stop(&mut self) -> Result<()> {
        self.daemon_mut().stop().map(drop)
    }

    /// Kills it with SIGKILL and waits for its end.
    fn kill9(&mut self) -> Result<()> {
        self.daemon_mut().kill9().map(drop)
    }

    /// Suspends it (SIGSTOP): it hangs, and its connections stay open.
    fn freeze(&mut self) -> Result<()> {
        self.daemon_mut().signal(Signal::SIGSTOP)
    }

    /// Resumes it after [`Server::freeze`].
    fn thaw(&mut self) -> Result<()> {
        self.daemon_mut().signal(Signal::SIGCONT)
    }

    /// The process id, while it runs.
    fn pid(&self) -> Option<u32> {
        self.daemon().pid()
    }

    /// The last lines of its log.
    fn log_tail(&self, lines: usize) -> String {
        self.daemon().log_tail(lines)
    }
}
