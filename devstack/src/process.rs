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
    process::{Child, Command, ExitStatus, Output},
    sync::{OnceLock, mpsc},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail};
pub use nix::sys::signal::Signal;
use nix::{
    sys::prctl,
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

/// Runs `command` to its end. Fails with its output unless it succeeds.
pub fn complete(command: &mut Command) -> Result<Output> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("cannot run {name}"))?;
    if !output.status.success() {
        let text = [output.stdout, output.stderr].concat();
        bail!("{name} failed ({})\n{}", output.status, String::from_utf8_lossy(&text));
    }
    Ok(output)
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

    /// The log of a new run: earlier output is kept but not shown.
    pub(crate) fn next_run(&self) -> Result<Self> {
        if let Some(folder) = self.path.parent() {
            std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        }
        let from = self.writer()?.metadata()?.len();
        Ok(Self { from, path: self.path.clone() })
    }

    pub(crate) fn writer(&self) -> Result<File> {
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
        let all: Vec<&str> = text.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }
}
