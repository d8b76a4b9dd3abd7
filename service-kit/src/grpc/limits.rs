//! The limits of all calls of a process, and each caller's share.
//!
//! Every limit counts current use. Calls beyond it are refused and do not wait, so that a caller with many places
//! delays no other. One caller gets at most three quarters of the calls and of the request bytes, one connection a
//! quarter of the unsent bytes; the constants below limit the rest. All callers without a token count as one.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use metrics::{Gauge, gauge};
use parking_lot::Mutex;

use super::connections::Connection;
use crate::auth::Caller;
use crate::metrics::{GRPC_CALLS_IN_FLIGHT, GRPC_CALLS_REFUSED, GRPC_REQUEST_BYTES, GRPC_UNSENT_BYTES};

/// Bytes of a request that are not charged, so that ordinary calls are not limited.
pub(super) const FREE_REQUEST_BYTES: usize = 16 << 10;
/// Unsent bytes that a connection may have even if the process is at its limit.
const FREE_UNSENT_BYTES: usize = 64 << 10;

/// Messages of a request stream that its handler may hold in memory: an import works on four chunks and reads a fifth.
const MESSAGES_OF_A_STREAM: usize = 5;
/// Limit of concurrent reflection calls, which need no token.
const MAX_OPEN_STREAMS: usize = 64;
/// The same per connection.
const MAX_OPEN_STREAMS_OF_CONNECTION: usize = 4;
/// Limit of concurrent calls with request streams per caller with a token. Each may leave 4 MiB unread in the windows
/// of a connection, which no other limit covers.
const MAX_REQUEST_STREAMS_OF_CALLER: usize = 16;
/// Limit of concurrent calls of exempt methods per caller with a token.
const MAX_EXEMPT_OF_CALLER: usize = 64;
/// Limit of concurrent calls of exempt methods without a token per connection.
const MAX_PROBES_OF_CONNECTION: usize = 16;

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

    /// Takes an amount; false if the limit or the caller's share is reached.
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
    /// Calls of exempt methods without a token, which a busy server still answers, up to this limit.
    probes: AtomicUsize,
    max_probes: usize,
    /// Calls without a token whose requests are streams: each may hold a window of unread bytes, which no other limit
    /// covers.
    open_streams: AtomicUsize,
    request_bytes: Shared,
    unsent: AtomicUsize,
    max_unsent: usize,
    max_unsent_of_connection: usize,
    unsent_gauge: Gauge,
    /// All callers without a token.
    pub(super) tokenless: Caller,
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
            open_streams: AtomicUsize::new(0),
            request_bytes: Shared::new(sizes.request_bytes, gauge!(GRPC_REQUEST_BYTES)),
            unsent: AtomicUsize::new(0),
            max_unsent: sizes.unsent,
            // A single client cannot exhaust the limit of the process.
            max_unsent_of_connection: sizes.unsent / 4,
            unsent_gauge: gauge!(GRPC_UNSENT_BYTES),
            tokenless: Caller::none(),
        })
    }

    /// A place for a call.
    pub(super) fn call(self: &Arc<Self>, caller: &Caller) -> Option<CallPlace> {
        if !self.calls.take(caller.calls(), 1) {
            refused("calls");
            return None;
        }
        Some(CallPlace { limits: Arc::clone(self), of: Of::Caller(caller.clone()) })
    }

    /// A place for a call whose request is a stream.
    pub(super) fn request_stream(self: &Arc<Self>, caller: &Caller) -> Option<CallPlace> {
        let mut place = self.call(caller)?;
        let own = caller.request_streams().fetch_add(1, Ordering::Relaxed) + 1;
        place.of = Of::RequestStream(caller.clone());
        if own > MAX_REQUEST_STREAMS_OF_CALLER {
            refused("open_streams");
            return None;
        }
        Some(place)
    }

    /// A place for a call of an exempt method with a token.
    pub(super) fn exempt(self: &Arc<Self>, caller: &Caller) -> Option<CallPlace> {
        let own = caller.exempt_calls().fetch_add(1, Ordering::Relaxed) + 1;
        let place = CallPlace { limits: Arc::clone(self), of: Of::Exempt(caller.clone()) };
        if own > MAX_EXEMPT_OF_CALLER {
            refused("calls");
            return None;
        }
        Some(place)
    }

    /// A place for a call of an exempt method without a token. The first of a connection is always admitted: an
    /// orchestrator opens a connection for each probe, and must not be refused because others hold their calls open.
    pub(super) fn probe(self: &Arc<Self>, connection: &Arc<Connection>) -> Option<CallPlace> {
        let own = connection.probes().fetch_add(1, Ordering::Relaxed) + 1;
        let all = self.probes.fetch_add(1, Ordering::Relaxed) + 1;
        let place = CallPlace { limits: Arc::clone(self), of: Of::Probes(Arc::clone(connection)) };
        if own > MAX_PROBES_OF_CONNECTION || (own > 1 && all > self.max_probes) {
            refused("probes");
            return None;
        }
        Some(place)
    }

    /// A place for a call without a token whose request is a stream: reflection.
    pub(super) fn open_stream(self: &Arc<Self>, connection: &Arc<Connection>) -> Option<CallPlace> {
        let own = connection.open_streams().fetch_add(1, Ordering::Relaxed) + 1;
        let all = self.open_streams.fetch_add(1, Ordering::Relaxed) + 1;
        let place = CallPlace { limits: Arc::clone(self), of: Of::OpenStreams(Arc::clone(connection)) };
        if own > MAX_OPEN_STREAMS_OF_CONNECTION || all > MAX_OPEN_STREAMS {
            refused("open_streams");
            return None;
        }
        Some(place)
    }

    /// Room for a message of the response; `None` if the client must first take earlier messages.
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

fn give_back(taken: &AtomicUsize) {
    taken.fetch_sub(1, Ordering::Relaxed);
}

/// The place of a call; given back when dropped.
#[derive(Debug)]
pub(super) struct CallPlace {
    limits: Arc<Limits>,
    of: Of,
}

/// The limit that a place counts against.
#[derive(Debug)]
enum Of {
    Caller(Caller),
    RequestStream(Caller),
    Exempt(Caller),
    Probes(Arc<Connection>),
    OpenStreams(Arc<Connection>),
}

impl Drop for CallPlace {
    fn drop(&mut self) {
        let limits = &self.limits;
        match &self.of {
            Of::Caller(caller) => limits.calls.give_back(caller.calls(), 1),
            Of::RequestStream(caller) => {
                give_back(caller.request_streams());
                limits.calls.give_back(caller.calls(), 1);
            }
            Of::Exempt(caller) => give_back(caller.exempt_calls()),
            Of::Probes(connection) => {
                give_back(connection.probes());
                give_back(&limits.probes);
            }
            Of::OpenStreams(connection) => {
                give_back(connection.open_streams());
                give_back(&limits.open_streams);
            }
        }
    }
}

/// Room for the large messages of one call that its handler may hold in memory: a single message until the end of the
/// call, a message of a stream until [`MESSAGES_OF_A_STREAM`] later ones have begun.
#[derive(Debug)]
pub(super) struct RequestCharge {
    limits: Arc<Limits>,
    caller: Caller,
    kept: usize,
    charged: Mutex<VecDeque<usize>>,
    /// True while the server waits for bytes of a message, and if the request broke off.
    owed: AtomicBool,
}

impl RequestCharge {
    pub(super) fn new(limits: Arc<Limits>, caller: Caller, streaming: bool) -> Arc<Self> {
        let kept = if streaming { MESSAGES_OF_A_STREAM } else { 1 };
        Arc::new(Self { limits, caller, kept, charged: Mutex::default(), owed: AtomicBool::new(false) })
    }

    /// Sets whether the server waits for bytes of a message.
    pub(super) fn set_owed(&self, owed: bool) {
        self.owed.store(owed, Ordering::Relaxed);
    }

    /// True if the client has not sent the whole request, or the whole message of a stream.
    pub(super) fn is_owed(&self) -> bool {
        self.owed.load(Ordering::Relaxed)
    }

    /// Takes room for a message of this size, releasing the oldest one's; false if the limit is reached.
    #[must_use]
    pub(super) fn begin_message(&self, bytes: usize) -> bool {
        let mut messages = self.charged.lock();
        while messages.len() >= self.kept {
            self.give_back(messages.pop_front());
        }
        let charged = bytes.saturating_sub(FREE_REQUEST_BYTES);
        if charged > 0 && !self.limits.request_bytes.take(self.caller.request_bytes(), charged) {
            refused("request_bytes");
            return false;
        }
        messages.push_back(charged);
        true
    }

    fn give_back(&self, charged: Option<usize>) {
        if let Some(charged @ 1..) = charged {
            self.limits.request_bytes.give_back(self.caller.request_bytes(), charged);
        }
    }
}

impl Drop for RequestCharge {
    fn drop(&mut self) {
        let charged = self.charged.get_mut().drain(..).sum();
        self.give_back(Some(charged));
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
    /// Notes that a part has left.
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
mod tests;
