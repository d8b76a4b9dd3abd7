//! Settings from environment variables.
//!
//! A getter never fails: it records the mistake and returns a placeholder (the default, or an empty text).
//! [`Env::finish`] reports all mistakes together.

mod env;
mod error;
mod secret;
mod variable;

pub use env::Env;
pub use error::{ConfigError, Mistake};
pub(crate) use secret::{PLAIN_PARAMETERS, without_credentials};
pub use secret::{Secret, redact_url};
pub use variable::{FormerName, Remark, Variable};
