//! Free ports for one set of servers and services.
//!
//! A set claims a port with a lock on a file in the cache, for as long as its `Ports` exist. So a server can restart on
//! its port although another set started meanwhile. A program that ignores these locks can still take the port before
//! the server starts. The range is below the kernel's ephemeral ports, so no outgoing connection takes one.

use std::{
    fs::File,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener},
    process,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use anyhow::{Result, bail};

use crate::{fetch::cache_folder, lock_file};

/// Range of the search for free ports.
const FIRST: u16 = 20_000;
const LAST: u16 = 31_999;

/// The ports of one set. Clones share the claim.
#[derive(Debug, Clone)]
pub struct Ports {
    /// PostgreSQL.
    pub postgres: u16,
    /// NATS, for clients.
    pub nats: u16,
    /// NATS, HTTP monitoring.
    pub nats_monitor: u16,
    /// Neo4j, Bolt.
    pub bolt: u16,
    /// command-service, gRPC.
    pub command: u16,
    /// query-service, gRPC.
    pub query: u16,
    /// command-service, admin.
    pub command_admin: u16,
    /// query-service, admin.
    pub query_admin: u16,
    /// projector, admin.
    pub projector_admin: u16,
    /// Of read replicas beyond the first.
    pub further: Vec<ReplicaPorts>,
    _claims: Arc<Vec<Claim>>,
}

/// The ports of a further read replica. Clones share the claim.
#[derive(Debug, Clone)]
pub struct ReplicaPorts {
    /// Neo4j, Bolt.
    pub bolt: u16,
    /// projector, admin.
    pub projector_admin: u16,
    _claims: Arc<[Claim; 2]>,
}

impl Ports {
    /// Nine free ports, for sets that run side by side.
    pub fn free() -> Result<Self> {
        Self::choose(|_| Claim::any())
    }

    /// The default ports; free ones instead of those in use.
    pub fn default_or_free() -> Result<Self> {
        Self::choose(|default| Claim::of(default)?.map_or_else(Claim::any, Ok))
    }

    /// Adds ports for this number of read replicas, including the first.
    pub fn with_read_replicas(mut self, replicas: usize) -> Result<Self> {
        while self.further.len() + 1 < replicas {
            let claims = [Claim::any()?, Claim::any()?];
            self.further.push(ReplicaPorts {
                bolt: claims[0].port,
                projector_admin: claims[1].port,
                _claims: Arc::new(claims),
            });
        }
        Ok(self)
    }

    /// Claims a port for each default one.
    fn choose(claim: impl Fn(u16) -> Result<Claim>) -> Result<Self> {
        let mut claims = Vec::new();
        let mut port_for = |default| -> Result<u16> {
            claims.push(claim(default)?);
            Ok(claims[claims.len() - 1].port)
        };
        Ok(Self {
            postgres: port_for(5432)?,
            nats: port_for(4222)?,
            nats_monitor: port_for(8222)?,
            bolt: port_for(7687)?,
            command: port_for(9080)?,
            query: port_for(9081)?,
            command_admin: port_for(9180)?,
            query_admin: port_for(9181)?,
            projector_admin: port_for(9182)?,
            further: Vec::new(),
            _claims: Arc::new(claims),
        })
    }
}

/// A claimed port.
#[derive(Debug)]
pub struct Claim {
    /// The port.
    pub port: u16,
    lock: File,
}

impl Claim {
    /// Claims some free port.
    pub fn any() -> Result<Self> {
        /// Number of ports that this process has tried. Claims may last as long as the process, so none is tried twice.
        static TRIED: AtomicU32 = AtomicU32::new(0);
        let range = u32::from(LAST - FIRST) + 1;
        // Processes start at different offsets, so that they rarely collide.
        let start = process::id().wrapping_mul(7_919) % range;
        for _ in 0..range {
            let step = TRIED.fetch_add(1, Ordering::Relaxed) % range;
            let offset = u16::try_from((start + step) % range).unwrap_or_default();
            if let Some(claim) = Self::of(FIRST + offset)? {
                return Ok(claim);
            }
        }
        bail!("no free port between {FIRST} and {LAST}\nwhat to do: stop programs that listen there")
    }

    /// Claims `port`; `None` if a program listens there or another set has claimed it.
    pub fn of(port: u16) -> Result<Option<Self>> {
        let lock = lock_file::open(&cache_folder()?.join("ports").join(port.to_string()))?;
        let free = lock.try_lock().is_ok() && is_free(port);
        Ok(free.then_some(Self { port, lock }))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // Closing is not enough: between fork and exec, a child has a copy of the file. Unlocking releases the lock
        // for all copies. If it fails, the file is closed next.
        let _ = self.lock.unlock();
    }
}

/// The loopback address with this port.
pub fn loopback(port: u16) -> SocketAddr {
    SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))
}

/// Whether `port` is free, on the loopback interface and on all of them.
fn is_free(port: u16) -> bool {
    TcpListener::bind(loopback(port)).is_ok() && TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn all(ports: &Ports) -> [u16; 9] {
        [
            ports.postgres,
            ports.nats,
            ports.nats_monitor,
            ports.bolt,
            ports.command,
            ports.query,
            ports.command_admin,
            ports.query_admin,
            ports.projector_admin,
        ]
    }

    #[test]
    fn two_sets_share_no_port_before_they_listen() {
        let first = Ports::free().unwrap();
        let second = Ports::free().unwrap();
        let distinct: BTreeSet<u16> = all(&first).into_iter().chain(all(&second)).collect();
        assert_eq!(distinct.len(), 18);
    }

    #[test]
    fn further_replicas_have_ports_of_their_own() {
        let ports = Ports::free().unwrap().with_read_replicas(3).unwrap();
        let further = ports.further.iter().flat_map(|further| [further.bolt, further.projector_admin]);
        let distinct: BTreeSet<u16> = all(&ports).into_iter().chain(further).collect();
        assert_eq!(distinct.len(), 9 + 4);
    }

    #[test]
    fn a_port_in_use_is_not_claimed() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(Claim::of(port).unwrap().is_none());
    }

    #[test]
    fn a_claim_ends_with_its_owner() {
        let claim = Claim::any().unwrap();
        let port = claim.port;
        assert!(Claim::of(port).unwrap().is_none());
        drop(claim);
        assert!(Claim::of(port).unwrap().is_some());
    }

    #[test]
    fn a_default_port_that_is_taken_is_replaced() {
        let held = Ports::default_or_free().unwrap();
        let other = Ports::default_or_free().unwrap();
        for (taken, chosen) in all(&held).into_iter().zip(all(&other)) {
            assert_ne!(taken, chosen);
        }
    }
}
