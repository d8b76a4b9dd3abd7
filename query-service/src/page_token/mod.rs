//! Tokens of pages and exports: opaque to clients, and signed, so that only the holder of a key can create or change
//! one.
//!
//! Malformed and forged tokens and tokens of another list are all [`Invalid`], so that a forger learns nothing from the
//! error.

mod body;
mod codec;
mod page;
mod walk;

pub use self::codec::{Codec, Invalid, MIN_KEY_BYTES};
pub use self::page::{ExportToken, PageToken};
pub use self::walk::{Asked, Operation, Stage, WalkToken};

#[cfg(test)]
mod tests;
