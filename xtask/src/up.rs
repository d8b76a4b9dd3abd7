//! `cargo xtask up`: runs the stack until Ctrl-C.

use std::{process::ExitCode, thread, time::Duration};

use crate::{
    signals::Interrupt,
    stack::{Options, Stack},
};
use anyhow::Result;

/// Interval of checks that the processes run.
const CHECK_INTERVAL: Duration = Duration::from_millis(200);

/// Starts the stack and runs it.
pub fn run(options: Options, interrupt: &Interrupt) -> Result<ExitCode> {
    let mut stack = Stack::start(options, interrupt)?;
    println!();
    stack.print_endpoints();
    wait(&mut stack, interrupt)
}

/// Waits for a signal to end. Fails if a process ends.
pub fn wait(stack: &mut Stack, interrupt: &Interrupt) -> Result<ExitCode> {
    println!("\nCtrl-C stops everything.");
    while !interrupt.asked() {
        stack.check_alive()?;
        thread::sleep(CHECK_INTERVAL);
    }
    eprintln!("stopping");
    Ok(ExitCode::SUCCESS)
}
