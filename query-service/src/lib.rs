//! The read side of the follow graph: answers checks, lists and counts from the read model or, within a budget, from
//! PostgreSQL; exports edges, streams events and reports the state of the pipeline as seen from this process.
//!
//! A query passes through these modules in this order; none uses an earlier one:
//!
//! 1. `grpc` parses the request and builds a query (`queries`, plain data that all others use);
//! 2. `router` asks `memory`, then chooses the store: a replica of the read model, or PostgreSQL within its budget;
//! 3. `overlay` applies recent events, so that the answer of a replica is of one revision;
//! 4. `loading` hands answers on to the hot set, from which `memory` answers;
//! 5. `batching` combines concurrent queries into one statement;
//! 6. `neo4j` and `postgres` have the statements.
//!
//! The layers below `router` implement `queries::Read` for the questions that they pass on or answer. Two more modules
//! are used by several layers. `replicas` tracks the health and the checkpoint of each read model; `router`, `overlay`
//! and `loading` use it, and its probes use the stores. `recent` holds the head of the log, and behind one lock the
//! recent events and the hot set (`hot`, which knows no locks and no stores).

// The future of a read spans all layers from the router to the store, without a box in between.
#![recursion_limit = "256"]

pub mod app;
mod batching;
pub mod config;
mod grpc;
mod health;
mod hot;
mod loading;
mod memory;
pub mod metrics;
mod neo4j;
mod overlay;
mod page_token;
mod postgres;
mod queries;
mod recent;
mod replicas;
mod router;
