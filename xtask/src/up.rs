//! `cargo xtask up`: the stack, until Ctrl-C.

use std::{process::ExitCode, thread, time::Duration};

use crate::{
    signals::Interrupt,
    stack::{Options, Stack},
};
use anyhow::Result;

/// How often it checks that the processes run.
const LOOK: Duration = Duration::from_millis(200);

/// Starts the stack and stays.
pub fn run(options: Options, interrupt: &Interrupt) -> Result<ExitCode> {
    let mut stack = Stack::start(options, interrupt)?;
    println!();
    stack.print_endpoints();
    stay(&mut stack, interrupt)
}

/// Stays until a signal asks to end, or a process ends by itself.
pub fn stay(stack: &mut Stack, interrupt: &Interrupt) -> Result<ExitCode> {
    println!("\nCtrl-C stops everything.");
    while !interrupt.asked() {
        stack.check_alive()?;
        thread::sleep(LOOK);
    }
    eprintln!("stopping");
    Ok(ExitCode::SUCCESS)
}
