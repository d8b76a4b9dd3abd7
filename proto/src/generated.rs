//! The messages and services of the .proto files.

/// Shared kinds, reasons and states (`followgraph.graph.v1`).
pub mod graph {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("followgraph.graph.v1");
    }
}

/// The write side's service (`followgraph.command.v1`).
pub mod command {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("followgraph.command.v1");
    }
}

/// The read side's service (`followgraph.query.v1`).
pub mod query {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("followgraph.query.v1");
    }
}

/// What subscribers read, as it is on the wire (`followgraph.event.v1`). Our own
/// code uses the checked form in [`crate::event`].
pub mod event {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("followgraph.event.v1");
    }
}
