//! Programs that run to their end, with their output on our terminal.
//!
//! They run in process groups of their own, so that Ctrl-C reaches this program alone, which then ends everything in
//! order.

use std::{
    io::{self, Read, Write},
    process::{Child, Command, ExitCode, ExitStatus, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use devstack::process::{POLL, Signal, describe, pid_of, spawn};
use nix::{sys::signal::killpg, unistd::Pid};

use crate::signals::Interrupt;

/// How long an interrupted program may take to end.
const GRACE: Duration = Duration::from_secs(10);

/// Runs `command` and returns how it ended. An interruption ends it, and is an error.
pub fn status(command: Command, interrupt: &Interrupt) -> Result<ExitStatus> {
    interrupt.check()?;
    wait(spawn(command, Signal::SIGKILL)?, interrupt)
}

/// The same, and shows `read` every piece of its standard output, which is still printed.
pub fn status_reading(
    mut command: Command,
    interrupt: &Interrupt,
    read: impl FnMut(&[u8]) + Send,
) -> Result<ExitStatus> {
    interrupt.check()?;
    command.stdout(Stdio::piped());
    let mut child = spawn(command, Signal::SIGKILL)?;
    let output = child.stdout.take().context("a program has no output")?;
    thread::scope(|scope| {
        let printer = scope.spawn(|| print(output, read));
        let status = wait(child, interrupt);
        let printed =
            printer.join().unwrap_or_else(|_| Err(io::Error::other("the printing thread has panicked")));
        let status = status?;
        printed.context("cannot print what a program says")?;
        Ok(status)
    })
}

/// Prints a program's output as it comes, not line by line: the test runner leaves lines open.
fn print(mut output: impl Read, mut read: impl FnMut(&[u8])) -> io::Result<()> {
    let mut buffer = [0; 8192];
    loop {
        let piece = match output.read(&mut buffer)? {
            0 => return Ok(()),
            length => &buffer[..length],
        };
        read(piece);
        let mut printed = io::stdout().lock();
        printed.write_all(piece)?;
        printed.flush()?;
    }
}

fn wait(mut child: Child, interrupt: &Interrupt) -> Result<ExitStatus> {
    let group = pid_of(&child);
    loop {
        if let Some(status) = child.try_wait().context("cannot wait for a program")? {
            return Ok(status);
        }
        if interrupt.asked() {
            end(group, || Ok(child.try_wait()?.is_some()))?;
            child.wait()?;
            bail!("interrupted");
        }
        thread::sleep(POLL);
    }
}

/// Runs `command`. An exit code other than 0 is an error.
pub fn succeed(command: Command, interrupt: &Interrupt) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let status = status(command, interrupt)?;
    if !status.success() {
        bail!("{name} failed: {}; see its output above", describe(status));
    }
    Ok(())
}

/// The exit code of this process that passes on `status`.
pub fn code(status: ExitStatus) -> ExitCode {
    match status.code().and_then(|code| u8::try_from(code).ok()) {
        Some(code) => ExitCode::from(code),
        None => ExitCode::FAILURE,
    }
}

fn end(group: Pid, mut has_ended: impl FnMut() -> Result<bool>) -> Result<()> {
    // It fails if the group has just ended by itself.
    let _ = killpg(group, Signal::SIGTERM);
    let mut waited = Duration::ZERO;
    while !has_ended()? && waited < GRACE {
        thread::sleep(POLL);
        waited += POLL;
    }
    // Also for grandchildren that outlived the program.
    let _ = killpg(group, Signal::SIGKILL);
    Ok(())
}
