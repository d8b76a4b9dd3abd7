//! The commands, one module each: its arguments and its `run`.

pub mod account;
pub mod batch;
pub mod check;
pub mod clock;
pub mod counts;
pub mod export;
pub mod import;
pub mod job;
pub mod legacy;
pub mod lists;
pub mod migrate;
pub mod pair;
pub mod recover;
pub mod relationship;
pub mod replace;
pub mod status;
pub mod suggest;
pub mod watch;

mod ending;
mod explanation;
mod lines;
mod origin;
mod pair_state;
mod reads;
mod written;
