//! Runs programs to their end, with their output on the terminal.
//!
//! Each has its own process group, so that Ctrl-C signals xtask alone, which then stops everything in order.

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

/// Time between SIGTERM and SIGKILL of an interrupted program.
const GRACE: Duration = Duration::from_secs(10);

/// Runs `command` and returns its exit status. An interrupt stops it and is an error.
pub fn status(command: Command, interrupt: &Interrupt) -> Result<ExitStatus> {
    interrupt.check()?;
    wait(spawn(command, Signal::SIGKILL)?, interrupt)
}

/// Like [`status`]; also passes every piece of its standard output, which is still printed, to `read`.
pub fn status_reading(
    mut command: Command,
    interrupt: &Interrupt,
    read: impl FnMut(&[u8]) + Send,
) -> Result<ExitStatus> {
    interrupt.check()?;
    command.stdout(Stdio::piped());
    let mut child = spawn(command, Signal::SIGKILL)?;
    let output = child.stdout.take().context("the program has no standard output")?;
    thread::scope(|scope| {
        let printer = scope.spawn(|| print(output, read));
        let status = wait(child, interrupt);
        let printed =
            printer.join().unwrap_or_else(|_| Err(io::Error::other("the thread that prints has panicked")));
        let status = status?;
        printed.context("cannot print the output of a program")?;
        Ok(status)
    })
}

/// Prints output at once, not line by line: the test runner prints a test's name before its result.
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

/// Runs `command`. Fails unless its exit code is 0.
pub fn succeed(command: Command, interrupt: &Interrupt) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let status = status(command, interrupt)?;
    if !status.success() {
        bail!("{name} failed: {}; see its output above", describe(status));
    }
    Ok(())
}

/// The exit code for this process.
pub fn code(status: ExitStatus) -> ExitCode {
    match status.code().and_then(|code| u8::try_from(code).ok()) {
        Some(code) => ExitCode::from(code),
        None => ExitCode::FAILURE,
    }
}

fn end(group: Pid, mut has_ended: impl FnMut() -> Result<bool>) -> Result<()> {
    // Fails if the group has just ended.
    let _ = killpg(group, Signal::SIGTERM);
    let mut waited = Duration::ZERO;
    while !has_ended()? && waited < GRACE {
        thread::sleep(POLL);
        waited += POLL;
    }
    // Grandchildren may have outlived the program.
    let _ = killpg(group, Signal::SIGKILL);
    Ok(())
}
