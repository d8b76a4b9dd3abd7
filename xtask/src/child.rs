//! Programs that run to their end, with their output on our terminal.
//!
//! Owns: passing an interruption on to them. They run in process groups of their own, so that Ctrl-C
//! reaches this program alone, which then ends everything in order.

use std::{
    process::{Command, ExitCode, ExitStatus},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use devstack::process::{POLL, Signal, describe, pid_of, spawn};
use nix::{sys::signal::killpg, unistd::Pid};

use crate::signals::Interrupt;

/// How long an interrupted program may take to end.
const GRACE: Duration = Duration::from_secs(10);

/// Runs `command` and says how it ended. An interruption ends it, and is an error.
pub fn status(command: Command, interrupt: &Interrupt) -> Result<ExitStatus> {
    interrupt.check()?;
    let mut child = spawn(command, Signal::SIGKILL)?;
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

/// Runs `command`; anything but success is an error.
pub fn succeed(command: Command, interrupt: &Interrupt) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let status = status(command, interrupt)?;
    if !status.success() {
        bail!("{name} failed: {}; see its output above", describe(status));
    }
    Ok(())
}

/// The exit code to pass on.
pub fn code(status: ExitStatus) -> ExitCode {
    match status.code().and_then(|code| u8::try_from(code).ok()) {
        Some(code) => ExitCode::from(code),
        None => ExitCode::FAILURE,
    }
}

fn end(group: Pid, mut has_ended: impl FnMut() -> Result<bool>) -> Result<()> {
    // The group may end by itself at any moment, then there is nobody to signal.
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
