//! The write side: executes commands from gRPC in PostgreSQL, and publishes their events to the stream.
//!
//! Reading order, which is also the order of the layers: `domain` (the rules), `store` (the SQL), `committer` (many commands
//! in one transaction), `jobs` (changes that one event cannot hold, and expiries), `relay` (outbox to stream), `grpc` (the
//! API), `app` (wires the parts).

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
