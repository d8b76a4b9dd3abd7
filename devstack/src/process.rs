//! Child processes that do not outlive this process.
//!
//! A process that is killed with SIGKILL runs no destructor. So every child asks the kernel for a signal when its parent
//! dies. The kernel's parent is the *thread* that forked, not the process, and the thread of a test ends long before the
//! test binary. Therefore one thread, which lives as long as this process, forks all children.

use std::{
    fs::{File, OpenOptions},
    io::{Read, Seek, SeekFrom},
    os::unix::process::{CommandExt, ExitStatusExt},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{OnceLock, mpsc},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow};
pub use nix::sys::signal::Signal;
use nix::{
    sys::{prctl, signal},
    unistd::{Pid, getppid},
};

/// Interval between checks of a state that is waited for.
pub const POLL: Duration = Duration::from_millis(20);

type Job = Box<dyn FnOnce() + Send>;

/// Runs `job` on the thread that forks all children, and waits for its result.
fn on_spawner<T: Send + 'static>(job: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    static SPAWNER: OnceLock<mpsc::Sender<Job>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (sender, jobs) = mpsc::channel::<Job>();
        // The sender lives in a static, so this loop, and with it the thread, never ends by itself.
        thread::spawn(move || jobs.into_iter().for_each(|job| job()));
        sender
    });
    let (reply, answer) = mpsc::sync_channel(1);
    let job = move || {
        // Fails only if the caller has ended.
        let _ = reply.send(job());
    };
    spawner.send(Box::new(job)).map_err(|_| anyhow!("the thread that starts processes has ended"))?;
    answer.recv().context("the thread that starts processes has ended")
}

/// Starts `command` in its own process group, to be sent `on_parent_death` when this process dies.
///
/// For programs that this module's [`Process`] does not fit (their output goes to the terminal).
pub fn spawn(mut command: Command, on_parent_death: Signal) -> Result<Child> {
    let program = command.get_program().to_string_lossy().into_owned();
    die_with_parent(&mut command, on_parent_death);
    on_spawner(move || command.spawn())?.with_context(|| format!("cannot start {program}"))
}

/// Makes the child of `command` leave with this process, whatever ends it.
#[expect(unsafe_code, reason = "a hook between fork and exec cannot be set otherwise")]
fn die_with_parent(command: &mut Command, on_parent_death: Signal) {
    let parent = Pid::this();
    // SAFETY: between fork and exec only async-signal-safe calls are allowed. The hook makes two
    // system calls, allocates nothing and takes no lock. The standard library runs it after it has
    // changed the user id, which matters: changing it clears the parent death signal.
    unsafe {
        command.process_group(0).pre_exec(move || {
            prctl::set_pdeathsig(on_parent_death)?;
            // The parent may have died before the request was made: then no signal will come.
            if getppid() == parent {
                Ok(())
            } else {
                Err(std::io::Error::from_raw_os_error(nix::libc::ESRCH))
            }
        });
    }
}

/// A running child whose output goes to a log file. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: Log,
}

impl Process {
    /// Starts `command` under `name`, its output appended to the file `log`.
    pub fn spawn(name: &str, mut command: Command, log: &Path, on_parent_death: Signal) -> Result<Self> {
        let log = Log::open(log)?;
        command.stdin(Stdio::null()).stdout(log.writer()?).stderr(log.writer()?);
        Ok(Self { name: name.to_owned(), child: spawn(command, on_parent_death)?, log })
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its output since it started.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// The exit status, once the child has ended.
    pub fn exited(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().with_context(|| format!("cannot wait for {}", self.name))
    }

    /// Sends a signal to the child alone, unless it has ended.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        // The id of a child that was not waited for is not reused.
        if self.exited()?.is_none() {
            signal::kill(pid_of(&self.child), signal)
                .with_context(|| format!("cannot send {signal} to {}", self.name))?;
        }
        Ok(())
    }

    /// Waits for the child to end; `None` if it is still there after `limit`.
    pub fn wait(&mut self, limit: Duration) -> Result<Option<ExitStatus>> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.exited()? {
                return Ok(Some(status));
            }
            if Instant::now() >= deadline {
                return Ok(None);
            }
            thread::sleep(POLL);
        }
    }

    /// Sends `signal`, waits for `limit`, then kills. Returns how the child ended.
    pub fn stop(&mut self, signal: Signal, limit: Duration) -> Result<ExitStatus> {
        self.signal(signal)?;
        // A frozen process would not see the signal.
        self.signal(Signal::SIGCONT)?;
        match self.wait(limit)? {
            Some(status) => Ok(status),
            None => self.kill9(),
        }
    }

    /// Kills the child with SIGKILL and waits for its end.
    pub fn kill9(&mut self) -> Result<ExitStatus> {
        self.signal(Signal::SIGKILL)?;
        self.child.wait().with_context(|| format!("cannot wait for {}", self.name))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Nothing can be reported from here. If it fails, the kernel's signal at our end remains.
        let _ = self.kill9();
    }
}

/// The id of a child for the signal functions.
#[expect(clippy::cast_possible_wrap, reason = "Linux process ids fit into 31 bits")]
pub fn pid_of(child: &Child) -> Pid {
    Pid::from_raw(child.id() as i32)
}

/// How a process ended, in words.
pub fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("it ended with exit code {code}"),
        (None, Some(signal)) => format!("it was ended by signal {signal}"),
        (None, None) => "it ended".to_owned(),
    }
}

/// A log file and the offset of the current run.
#[derive(Debug, Clone)]
pub struct Log {
    path: PathBuf,
    from: u64,
}

impl Log {
    /// The whole log, of a program that does not run.
    pub fn of_all_runs(path: &Path) -> Self {
        Self { path: path.to_owned(), from: 0 }
    }

    /// Opens the log for a new run: earlier output is kept but not shown.
    fn open(path: &Path) -> Result<Self> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        }
        let log = Self::of_all_runs(path);
        let from = log.writer()?.metadata()?.len();
        Ok(Self { from, ..log })
    }

    fn writer(&self) -> Result<File> {
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.path)
            .with_context(|| format!("cannot write to {}", self.path.display()))
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Output of the current run, at most its last 256 KiB; empty if unreadable.
    pub fn text(&self) -> String {
        const LIMIT: u64 = 256 * 1024;
        let read = || -> std::io::Result<String> {
            let mut file = File::open(&self.path)?;
            let from = self.from.max(file.metadata()?.len().saturating_sub(LIMIT));
            file.seek(SeekFrom::Start(from))?;
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        read().unwrap_or_default()
    }

    /// The last `lines` lines of the current run.
    pub fn tail(&self, lines: usize) -> String {
        let text = self.text();
        let lines_in_all = text.lines().count();
        text.lines().skip(lines_in_all.saturating_sub(lines)).collect::<Vec<_>>().join("\n")
    }
}
