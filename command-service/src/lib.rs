//! The write side: commands in over gRPC, PostgreSQL as the truth, events out to the
//! stream through the outbox.
//!
//! Reading order: `domain` (the rules), `committer` (many commands, one
//! transaction), `journal` (changes become events), `store` (the SQL), `jobs` (what one
//! event cannot hold, and what runs out), `relay` (outbox to stream), `grpc` (the
//! door), `app` (how the parts are wired).

pub mod app;
pub mod beacon;
pub mod clock;
pub mod committer;
pub mod config;
pub mod domain;
pub mod grpc;
pub mod health;
pub mod jobs;
pub mod leadership;
pub mod maintenance;
pub mod metrics;
pub mod projectors;
pub mod relay;
pub mod responses;
pub mod store;
