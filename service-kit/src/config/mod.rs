//! Settings from environment variables.
//!
//! Owns: reading, checking and describing variables. All mistakes are collected and reported together.
//! Must not know: which settings a service has.
//! What can go wrong: a variable is missing or malformed; [`Env::finish`] answers with every mistake at once.
//!
//! A getter never fails: it records the mistake and answers a placeholder (the default or the example), so a struct of
//! settings is built plainly and [`Env::finish`] decides at the end whether it may be used.

mod env;
mod error;
mod secret;
mod variable;

pub use env::Env;
pub use error::{ConfigError, Mistake};
pub use secret::{Secret, redact_url};
pub use variable::{FormerName, Remark, Variable};
