//! The limits of all calls of a process, and each caller's share.
//!
//! Every limit counts current use. Calls beyond it are refused and do not wait, so that a caller with many places
//! delays no other. One caller gets at most three quarters of the calls and of the request bytes, one connection a
//! quarter of the unsent bytes; the constants below limit the rest. All callers without a token count as one.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use metrics::{Gauge, gauge};
use parking_lot::Mutex;

use super::connections::Connection;
use crate::auth::Caller;
use crate::metrics::{GRPC_CALLS_IN_FLIGHT, GRPC_CALLS_REFUSED, GRPC_REQUEST_BYTES, GRPC_UNSENT_BYTES};
use crate::shares::{InUse, Taken};

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
    used: InUse,
    limit: usize,
    gauge: Gauge,
}

impl Shared {
    fn new(limit: usize, gauge: Gauge) -> Self {
        Self { used: InUse::default(), limit, gauge }
    }

    /// Takes an amount; `None` if the limit or the caller's share is reached.
    fn take(&self, of_caller: &InUse, amount: usize) -> Option<[Taken; 2]> {
        let (own, all) = (of_caller.add(amount), self.used.add(amount));
        let fits = all.sum <= self.limit && own.sum <= self.limit / 4 * 3;
        fits.then(|| [own, all.shown(&self.gauge)])
    }
}

/// The limits of a process.
#[derive(Debug)]
pub(super) struct Limits {
    calls: Shared,
    /// Calls of exempt methods without a token, which a busy server still answers, up to this limit.
    probes: InUse,
    max_probes: usize,
    /// Calls without a token whose requests are streams: each may hold a window of unread bytes, which no other limit
    /// covers.
    open_streams: InUse,
    request_bytes: Shared,
    unsent: InUse,
    max_unsent: usize,
    max_unsent_of_connection: usize,
    unsent_gauge: Gauge,
    /// All callers without a token.
    pub(super) tokenless: Caller,
}

crate::declare_settings! {
    /// Sizes of the limits.
    pub struct Sizes;
    /// Reads them.
    pub(super) fn read(env);

    /// Maximum number of calls in progress in this process. Further calls get RESOURCE_EXHAUSTED. One caller gets at
    /// most three quarters.
    calls: usize = env.number_or("MAX_CALLS_IN_FLIGHT", 4_096, 16..=1_000_000);
    /// Maximum number of bytes of request messages above 16 KiB in progress in this process. Further large requests get
    /// RESOURCE_EXHAUSTED. One caller gets at most three quarters.
    request_bytes: usize = env.number_or("MAX_REQUEST_BYTES_IN_FLIGHT", 32 << 20, 6 << 20..=8 << 30);
    /// Maximum number of response bytes in this process that clients have not read; one connection gets at most a
    /// quarter. Further responses are replaced by RESOURCE_EXHAUSTED.
    unsent: usize = env.number_or("MAX_UNSENT_BYTES", 64 << 20, 4 << 20..=8 << 30);
}

impl Limits {
    pub(super) fn new(sizes: &Sizes) -> Arc<Self> {
        Arc::new(Self {
            calls: Shared::new(sizes.calls, gauge!(GRPC_CALLS_IN_FLIGHT)),
            probes: InUse::default(),
            max_probes: sizes.calls / 4,
            open_streams: InUse::default(),
            request_bytes: Shared::new(sizes.request_bytes, gauge!(GRPC_REQUEST_BYTES)),
            unsent: InUse::default(),
            max_unsent: sizes.unsent,
            // A single client cannot exhaust the limit of the process.
            max_unsent_of_connection: sizes.unsent / 4,
            unsent_gauge: gauge!(GRPC_UNSENT_BYTES),
            tokenless: Caller::none(),
        })
    }

    /// A place for a call.
    pub(super) fn call(&self, caller: &Caller) -> Option<CallPlace> {
        let taken = self.calls.take(&caller.used().calls, 1);
        taken.map(CallPlace::from).or_else(|| refused("calls"))
    }

    /// A place for a call whose request is a stream.
    pub(super) fn request_stream(&self, caller: &Caller) -> Option<CallPlace> {
        let mut place = self.call(caller)?;
        let own = caller.used().request_streams.add(1);
        if own.sum > MAX_REQUEST_STREAMS_OF_CALLER {
            return refused("open_streams");
        }
        place.push(own);
        Some(place)
    }

    /// A place for a call of an exempt method with a token.
    pub(super) fn exempt(&self, caller: &Caller) -> Option<CallPlace> {
        let own = caller.used().exempt_calls.add(1);
        if own.sum > MAX_EXEMPT_OF_CALLER { refused("calls") } else { Some(vec![own]) }
    }

    /// A place for a call of an exempt method without a token. The first of a connection is always admitted: an
    /// orchestrator opens a connection for each probe, and must not be refused because others hold their calls open.
    pub(super) fn probe(&self, connection: &Connection) -> Option<CallPlace> {
        let (own, all) = (connection.probes.add(1), self.probes.add(1));
        if own.sum > MAX_PROBES_OF_CONNECTION || (own.sum > 1 && all.sum > self.max_probes) {
            return refused("probes");
        }
        Some(vec![own, all])
    }

    /// A place for a call without a token whose request is a stream: reflection.
    pub(super) fn open_stream(&self, connection: &Connection) -> Option<CallPlace> {
        let (own, all) = (connection.open_streams.add(1), self.open_streams.add(1));
        if own.sum > MAX_OPEN_STREAMS_OF_CONNECTION || all.sum > MAX_OPEN_STREAMS {
            return refused("open_streams");
        }
        Some(vec![own, all])
    }

    /// Room for a message of the response; `None` if the client must first take earlier messages.
    pub(super) fn unsent(
        &self,
        connection: &Arc<Connection>,
        bytes: usize,
        connections: usize,
    ) -> Option<Unsent> {
        let (own, all) = (connection.unsent.add(bytes), self.unsent.add(bytes));
        let share = (self.max_unsent / 2 / connections.max(1)).max(FREE_UNSENT_BYTES);
        // A message alone on its connection may be larger than the connection's limit.
        let is_first = own.sum == bytes;
        if own.sum > self.max_unsent_of_connection && !is_first {
            return refused("unsent_connection");
        }
        if all.sum > self.max_unsent && own.sum > share {
            return refused("unsent_process");
        }
        if is_first {
            connection.progressed();
        }
        Some(Unsent { connection: Arc::clone(connection), _taken: [own, all.shown(&self.unsent_gauge)] })
    }
}

fn refused<T>(cause: &'static str) -> Option<T> {
    metrics::counter!(GRPC_CALLS_REFUSED, "cause" => cause).increment(1);
    None
}

/// The place of a call in each limit that it counts against; given back when dropped.
pub(super) type CallPlace = Vec<Taken>;

/// Room for the large messages of one call that its handler may hold in memory: a single message until the end of the
/// call, a message of a stream until [`MESSAGES_OF_A_STREAM`] later ones have begun.
#[derive(Debug)]
pub(super) struct RequestCharge {
    limits: Arc<Limits>,
    caller: Caller,
    kept: usize,
    /// The room of each message; none for a small one.
    charged: Mutex<VecDeque<Option<[Taken; 2]>>>,
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
            messages.pop_front();
        }
        let charged = bytes.saturating_sub(FREE_REQUEST_BYTES);
        if charged == 0 {
            messages.push_back(None);
            return true;
        }
        let taken = self.limits.request_bytes.take(&self.caller.used().request_bytes, charged);
        let taken = taken.or_else(|| refused("request_bytes"));
        let fits = taken.is_some();
        messages.extend(taken.map(Some));
        fits
    }
}

/// Response bytes that are in memory until their client takes them; given back when dropped.
#[derive(Debug)]
pub(super) struct Unsent {
    connection: Arc<Connection>,
    _taken: [Taken; 2],
}

impl Unsent {
    /// Notes that a part has left.
    pub(super) fn progressed(&self) {
        self.connection.progressed();
    }
}

#[cfg(test)]
mod tests;
