//! What all calls of a process may use together, and each caller's share of it.
//!
//! Every limit is a count of what is there now. Nothing waits for a place: what finds none is refused, so that a caller
//! who holds many places delays no one. One caller gets at most three quarters of a limit; all callers without a token
//! count as one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use metrics::{Gauge, gauge};

use super::connections::Connection;
use crate::auth::Caller;
use crate::metrics::{GRPC_CALLS_IN_FLIGHT, GRPC_CALLS_REFUSED, GRPC_REQUEST_BYTES, GRPC_UNSENT_BYTES};

/// Bytes of a request that count for nothing: ordinary calls need no room.
pub(super) const FREE_REQUEST_BYTES: usize = 16 << 10;
/// Unsent bytes that a connection may always have, also when the process is at its limit.
const FREE_UNSENT_BYTES: usize = 64 << 10;

/// A limit that callers share.
#[derive(Debug)]
struct Shared {
    used: AtomicUsize,
    limit: usize,
    gauge: Gauge,
}

impl Shared {
    fn new(limit: usize, gauge: Gauge) -> Self {
        Self { used: AtomicUsize::new(0), limit, gauge }
    }

    /// Takes an amount, unless the limit or the caller's share of it is reached.
    fn take(&self, of_caller: &AtomicUsize, amount: usize) -> bool {
        let own = of_caller.fetch_add(amount, Ordering::Relaxed) + amount;
        let all = self.used.fetch_add(amount, Ordering::Relaxed) + amount;
        let fits = all <= self.limit && own <= self.limit / 4 * 3;
        if fits {
            self.gauge.increment(amount as f64);
        } else {
            self.subtract(of_caller, amount);
        }
        fits
    }

    fn give_back(&self, of_caller: &AtomicUsize, amount: usize) {
        self.subtract(of_caller, amount);
        self.gauge.decrement(amount as f64);
    }

    fn subtract(&self, of_caller: &AtomicUsize, amount: usize) {
        of_caller.fetch_sub(amount, Ordering::Relaxed);
        self.used.fetch_sub(amount, Ordering::Relaxed);
    }
}

/// The limits of a process.
#[derive(Debug)]
pub(super) struct Limits {
    calls: Shared,
    /// Of exempt methods called without a token: they are answered on a busy server, but not without end.
    probes: AtomicUsize,
    max_probes: usize,
    request_bytes: Shared,
    unsent: AtomicUsize,
    max_unsent: usize,
    max_unsent_of_connection: usize,
    unsent_gauge: Gauge,
    /// Stands for all callers without a token.
    pub(super) nobody: Caller,
}

/// Sizes of the limits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    pub(super) calls: usize,
    pub(super) request_bytes: usize,
    pub(super) unsent: usize,
}

impl Limits {
    pub(super) fn new(sizes: Sizes) -> Arc<Self> {
        Arc::new(Self {
            calls: Shared::new(sizes.calls, gauge!(GRPC_CALLS_IN_FLIGHT)),
            probes: AtomicUsize::new(0),
            max_probes: sizes.calls / 4,
            request_bytes: Shared::new(sizes.request_bytes, gauge!(GRPC_REQUEST_BYTES)),
            unsent: AtomicUsize::new(0),
            max_unsent: sizes.unsent,
            // One client alone cannot bring the process to its limit.
            max_unsent_of_connection: sizes.unsent / 4,
            unsent_gauge: gauge!(GRPC_UNSENT_BYTES),
            nobody: Caller::none(),
        })
    }

    /// A place for a call.
    pub(super) fn call(self: &Arc<Self>, caller: &Caller) -> Option<CallPlace> {
        if !self.calls.take(caller.calls(), 1) {
            refused("calls");
            return None;
        }
        Some(CallPlace { limits: Arc::clone(self), caller: Some(caller.clone()) })
    }

    /// A place for a call of an exempt method without a token.
    pub(super) fn probe(self: &Arc<Self>) -> Option<CallPlace> {
        let all = self.probes.fetch_add(1, Ordering::Relaxed) + 1;
        let place = CallPlace { limits: Arc::clone(self), caller: None };
        if all > self.max_probes {
            refused("calls");
            return None;
        }
        Some(place)
    }

    /// Room for a message of the response; with none, the client has to read what it has first.
    pub(super) fn unsent(
        self: &Arc<Self>,
        connection: &Arc<Connection>,
        bytes: usize,
        connections: usize,
    ) -> Option<Unsent> {
        let own = connection.unsent().fetch_add(bytes, Ordering::Relaxed) + bytes;
        let all = self.unsent.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let share = (self.max_unsent / 2 / connections.max(1)).max(FREE_UNSENT_BYTES);
        // A message alone on its connection may be larger than the connection's limit.
        let cause = if own > self.max_unsent_of_connection && own > bytes {
            "unsent_connection"
        } else if all > self.max_unsent && own > share {
            "unsent_process"
        } else {
            self.unsent_gauge.increment(bytes as f64);
            connection.begin_unsent(own == bytes);
            return Some(Unsent { limits: Arc::clone(self), connection: Arc::clone(connection), bytes });
        };
        connection.unsent().fetch_sub(bytes, Ordering::Relaxed);
        self.unsent.fetch_sub(bytes, Ordering::Relaxed);
        refused(cause);
        None
    }
}

fn refused(cause: &'static str) {
    metrics::counter!(GRPC_CALLS_REFUSED, "cause" => cause).increment(1);
}

/// The place of a call; given back when dropped.
#[derive(Debug)]
pub(super) struct CallPlace {
    limits: Arc<Limits>,
    /// None: that of a probe.
    caller: Option<Caller>,
}

impl Drop for CallPlace {
    fn drop(&mut self) {
        match &self.caller {
            Some(caller) => self.limits.calls.give_back(caller.calls(), 1),
            None => {
                self.limits.probes.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }
}

/// Room for the request of one call, from the beginning of a large message to the beginning of the next one, or to the
/// end of the call: the handler has the message in memory until then.
#[derive(Debug)]
pub(super) struct RequestCharge {
    limits: Arc<Limits>,
    caller: Caller,
    charged: AtomicUsize,
}

impl RequestCharge {
    pub(super) fn new(limits: Arc<Limits>, caller: Caller) -> Arc<Self> {
        Arc::new(Self { limits, caller, charged: AtomicUsize::new(0) })
    }

    /// Replaces the room of the message before by that of one of this size; false if there is none.
    #[must_use]
    pub(super) fn begin_message(&self, bytes: usize) -> bool {
        self.give_back();
        let charged = bytes.saturating_sub(FREE_REQUEST_BYTES);
        if charged == 0 {
            return true;
        }
        if !self.limits.request_bytes.take(self.caller.request_bytes(), charged) {
            refused("request_bytes");
            return false;
        }
        self.charged.store(charged, Ordering::Relaxed);
        true
    }

    fn give_back(&self) {
        let charged = self.charged.swap(0, Ordering::Relaxed);
        if charged > 0 {
            self.limits.request_bytes.give_back(self.caller.request_bytes(), charged);
        }
    }
}

impl Drop for RequestCharge {
    fn drop(&mut self) {
        self.give_back();
    }
}

/// Response bytes that are in memory until their client takes them; given back when dropped.
#[derive(Debug)]
pub(super) struct Unsent {
    limits: Arc<Limits>,
    connection: Arc<Connection>,
    bytes: usize,
}

impl Unsent {
    /// A part of them has left.
    pub(super) fn progressed(&self) {
        self.connection.progressed();
    }
}

impl Drop for Unsent {
    fn drop(&mut self) {
        self.connection.unsent().fetch_sub(self.bytes, Ordering::Relaxed);
        self.limits.unsent.fetch_sub(self.bytes, Ordering::Relaxed);
        self.limits.unsent_gauge.decrement(self.bytes as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Arc<Limits> {
        Limits::new(Sizes { calls: 4, request_bytes: 400_000, unsent: 800_000 })
    }

    #[test]
    fn one_caller_leaves_a_quarter_to_others() {
        let (limits, one, other) = (limits(), Caller::none(), Caller::none());
        let held: Vec<_> = (0..3).map(|_| limits.call(&one).expect("a place")).collect();
        assert!(limits.call(&one).is_none());
        let last = limits.call(&other).expect("the others' place");
        assert!(limits.call(&other).is_none());
        drop((held, last));
        assert!(limits.call(&one).is_some());
    }

    #[test]
    fn small_requests_need_no_room_and_large_ones_give_theirs_back() {
        let (limits, caller) = (limits(), Caller::none());
        let large = RequestCharge::new(Arc::clone(&limits), caller.clone());
        assert!(large.begin_message(300_000));
        let second = RequestCharge::new(Arc::clone(&limits), caller.clone());
        assert!(!second.begin_message(100_000));
        assert!(second.begin_message(FREE_REQUEST_BYTES));
        // The next message of a stream takes the place of the one before.
        assert!(large.begin_message(200_000));
        assert!(second.begin_message(100_000));
        drop((large, second));
        assert_eq!(limits.request_bytes.used.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_connection_that_takes_nothing_is_refused_before_the_others() {
        let limits = limits();
        let [hog, honest] = [1, 2].map(Connection::test);
        let first = limits.unsent(&hog, 300_000, 10).expect("alone on its connection");
        assert!(limits.unsent(&hog, 1, 10).is_none(), "above a quarter of the limit");
        let mut rest: Vec<_> = (3..6).map(|id| limits.unsent(&Connection::test(id), 190_000, 10)).collect();
        assert!(rest.pop().expect("three").is_none(), "above the limit and its share");
        let full = limits.unsent(&Connection::test(6), 120_000, 10).expect("up to the limit");
        let small = limits.unsent(&honest, FREE_UNSENT_BYTES, 10).expect("always room");
        drop((first, rest, full, small));
        assert_eq!(limits.unsent.load(Ordering::Relaxed), 0);
        assert_eq!(hog.unsent().load(Ordering::Relaxed), 0);
    }
}
