//! The write side: executes commands from gRPC in PostgreSQL, and publishes their events to the stream.
//!
//! Reading order, from the lowest layer up: `domain` (the rules), `store` (the SQL), `committer` (many commands in one
//! transaction) and `relay` (outbox to stream), `jobs` (changes that one event cannot hold, and expiries) and `grpc`
//! (the API), `app` (wires the parts).

pub mod app;
mod beacon;
mod clock;
mod committer;
pub mod config;
mod domain;
mod grpc;
mod health;
mod jobs;
mod leadership;
mod maintenance;
pub mod metrics;
mod projectors;
mod relay;
mod responses;
mod store;
