//! The read side of the follow graph: answers checks, lists and counts from the read model, and within a budget from the
//! source of truth; exports edges, streams events and reports the state of the pipeline as this process sees it.
//!
//! A query goes down through these modules, in the order in which to read them; none uses one before it:
//!
//! 1. `grpc` parses the request and builds a query (`queries`, plain data that all others use);
//! 2. `router` asks `memory`, then chooses the store: a replica of the read model, or PostgreSQL within its budget;
//! 3. `overlay` brings the answer of a replica to one revision by the recent events;
//! 4. `batching` runs queries that are in flight at the same time as one statement;
//! 5. `neo4j` and `postgres` have the statements.
//!
//! The layers below `router` implement `queries::Read` for the questions that they pass on or answer. Two more modules
//! are used by several layers. `replicas` knows the health and the checkpoint of each read model; `router` and
//! `overlay` use it, and its probes use the stores. `recent` has the head of the log and the recent events; it uses
//! only `queries` and `metrics`.

// A read is one future from the router down to the store, with no box in between.
#![recursion_limit = "256"]

pub mod app;
mod batching;
pub mod config;
mod grpc;
mod health;
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
