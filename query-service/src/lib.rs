//! The read side of the follow graph.
//!
//! Owns: answering checks, lists and counts from the read model, and within a budget from the source of truth; exports;
//! the state of the pipeline as this process sees it. It must not know how edges are written or projected.
//! What can go wrong: a store is away, slow or behind. Each answer says where it came from and how fresh it is, and a
//! refusal says why and when to try again.

pub mod app;
pub mod config;
mod grpc;
mod health;
pub mod metrics;
mod page_token;
mod pipeline;
mod reader;
