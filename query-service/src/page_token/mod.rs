//! Tokens of pages and exports: opaque to clients, and signed, so that only a holder of a key can make or change one.
//!
//! A token that is malformed, forged, or made for another list is [`Invalid`] in each case: a forger learns nothing
//! from the difference.

mod body;
mod codec;
mod page;
mod walk;

pub use self::codec::{Codec, Invalid, MIN_KEY_BYTES};
pub use self::page::{ExportToken, PageToken};
pub use self::walk::{Asked, Operation, Stage, WalkToken};

#[cfg(test)]
mod tests;
