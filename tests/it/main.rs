//! All integration tests: one binary, so that it links once and runs in parallel.
//! "I1" and the like are the invariants of ARCHITECTURE.md.

mod bad_input;
mod cli;
mod fallback;
mod follows;
mod forks;
mod idempotency;
mod imports;
mod kills;
mod pages;
mod replicas;
mod stream_faults;
mod surface;
