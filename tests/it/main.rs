//! All integration tests: one binary, so that it links once and runs in parallel.
//! "I1" and the like are the invariants of ARCHITECTURE.md.

mod bad_input;
mod cli;
mod cli_commands;
mod commands;
mod documents;
mod encryption;
mod expiry;
mod fallback;
mod follows;
mod forks;
mod idempotency;
mod imports;
mod jobs;
mod kills;
mod legacy;
mod legacy_reads;
mod model;
mod multi;
mod nats_permissions;
mod orderly;
mod overlay;
mod pages;
mod partitions;
mod races;
mod read_replicas;
mod reads;
mod replicas;
mod roles;
mod scaling;
mod stream_faults;
mod subscriber;
mod surface;
mod telemetry;
mod upgrade;
mod watch;
