//! Ctrl-C and SIGTERM.
//!
//! The first signal sets a flag, so that children are stopped in order. The second one ends this process at once; the
//! kernel then kills the children.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use anyhow::{Context, Result, bail};
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    flag,
};

/// Whether a signal has asked this process to end.
#[derive(Debug, Clone)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Installs the handlers. From here on the first signal does not end the process.
    pub fn listen() -> Result<Self> {
        let asked = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            // Order matters: the first signal finds the flag still false and only sets it.
            flag::register_conditional_shutdown(signal, 130, Arc::clone(&asked))
                .and_then(|_| flag::register(signal, Arc::clone(&asked)))
                .context("cannot listen for signals")?;
        }
        Ok(Self(asked))
    }

    /// Whether a signal has arrived.
    pub fn asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Fails if a signal has arrived.
    pub fn check(&self) -> Result<()> {
        if self.asked() {
            bail!("interrupted");
        }
        Ok(())
    }
}
