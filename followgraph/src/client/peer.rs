//! The two services and their addresses.

use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// command-service, for writes.
    Command,
    /// query-service, for reads.
    Query,
}

impl Service {
    /// First word of its arguments.
    pub(super) fn short(self) -> &'static str {
        match self {
            Self::Command => "command",
            Self::Query => "query",
        }
    }

    /// The variable with its address.
    pub fn variable(self) -> &'static str {
        match self {
            Self::Command => "FOLLOWGRAPH_COMMAND_ADDR",
            Self::Query => "FOLLOWGRAPH_QUERY_ADDR",
        }
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-service", self.short())
    }
}

#[derive(Clone, Debug)]
pub struct Peer {
    pub service: Service,
    /// HOST:PORT.
    pub addr: String,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.service, host_of(&self.addr))
    }
}

/// An address without user info, which may be a secret and is never sent.
pub fn host_of(addr: &str) -> &str {
    addr.rsplit_once('@').map_or(addr, |(_, host)| host)
}
