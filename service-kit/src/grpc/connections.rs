//! The open connections of a port, and which one makes room for a new one.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use metrics::{counter, gauge};
use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::auth::Caller;
use crate::metrics::{GRPC_CONNECTIONS, GRPC_CONNECTIONS_CLOSED};
use crate::shares::InUse;

/// Why the server closed or refused a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// The limit is reached and no connection can make room.
    Full,
    /// It made room for a new one, and never carried a call with a token.
    Room,
    /// It made room for a new one; its caller had the most connections.
    RoomOfCaller,
    /// It did not begin HTTP/2 in time.
    NoPreface,
    /// Its client takes no responses.
    NotTaken,
}

impl Cause {
    /// Counts the connection.
    pub(super) fn count(self) {
        let cause = match self {
            Self::Full => "full",
            Self::Room => "room",
            Self::RoomOfCaller => "room_of_caller",
            Self::NoPreface => "no_preface",
            Self::NotTaken => "not_taken",
        };
        counter!(GRPC_CONNECTIONS_CLOSED, "cause" => cause).increment(1);
    }
}

/// The open connections: at most `max`, plus those that make room.
#[derive(Debug)]
pub(super) struct Connections {
    max: usize,
    open: Mutex<Open>,
    /// Number of open connections, read by every response.
    count: AtomicUsize,
}

#[derive(Debug, Default)]
struct Open {
    by_id: HashMap<u64, Arc<Connection>>,
    last_id: u64,
}

/// State of a connection.
#[derive(Debug)]
pub(super) struct Connection {
    id: u64,
    activity: Mutex<Activity>,
    /// Its calls of exempt methods without a token.
    pub(super) probes: InUse,
    /// Its calls without a token whose requests are streams.
    pub(super) open_streams: InUse,
    /// Response bytes in memory that its client has not taken.
    pub(super) unsent: InUse,
    /// Last time that response bytes left or began to wait.
    progress: Mutex<Instant>,
    /// Cancelled when it must make room.
    pub(super) make_room: CancellationToken,
    /// Makes room although calls are under way.
    interrupted: AtomicBool,
}

#[derive(Debug)]
struct Activity {
    calls: usize,
    carried_a_call: bool,
    /// Carried an admitted call of a method with a scope.
    served: bool,
    /// Caller of the last call with a token; `None` before the first.
    caller: Option<Caller>,
    last: Instant,
}

impl Connections {
    pub(super) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { max, open: Mutex::default(), count: AtomicUsize::new(0) })
    }

    /// Admits a connection, or `None`. Above the limit, the longest idle connection that never served a caller makes
    /// room. If there is none, a connection without calls of the caller with the most connections does, so that one
    /// token cannot take all connections. Callers without a token count as one, and their connections make room even
    /// with calls under way, so that they cannot shut out callers with a token.
    pub(super) fn admit(self: &Arc<Self>) -> Option<Admitted> {
        let mut open = self.open.lock();
        if open.by_id.len() >= self.max {
            let unserved = open.longest_idle_unserved().map(|leaving| (leaving, Cause::Room));
            let Some((leaving, cause)) = unserved.or_else(|| open.longest_idle_of_a_caller()) else {
                Cause::Full.count();
                return None;
            };
            open.by_id.remove(&leaving.id);
            leaving.make_room.cancel();
            cause.count();
        }
        open.last_id += 1;
        let connection = Arc::new(Connection::new(open.last_id));
        open.by_id.insert(connection.id, Arc::clone(&connection));
        self.counted(&open);
        Some(Admitted { connections: Arc::clone(self), connection })
    }

    /// Number of open connections.
    pub(super) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    fn counted(&self, open: &Open) {
        self.count.store(open.by_id.len(), Ordering::Relaxed);
        gauge!(GRPC_CONNECTIONS).set(open.by_id.len() as f64);
    }
}

impl Open {
    /// Of those that never served a caller: one without calls under way first, else the one whose last call began
    /// longest ago.
    fn longest_idle_unserved(&self) -> Option<Arc<Connection>> {
        let candidates = self.by_id.values().filter_map(|connection| {
            let activity = connection.activity.lock();
            (!activity.served).then_some(((activity.calls > 0, activity.last, connection.id), connection))
        });
        candidates.min_by_key(|(key, _)| *key).map(|(_, connection)| Arc::clone(connection))
    }

    /// Of those without calls under way or without a token: one of the caller that has the most connections, calls
    /// under way or not. One with calls under way is interrupted.
    fn longest_idle_of_a_caller(&self) -> Option<(Arc<Connection>, Cause)> {
        let served: Vec<_> = self
            .by_id
            .values()
            .filter_map(|connection| {
                let activity = connection.activity.lock();
                let idle = (connection.is_busy(&activity), activity.last, connection.id);
                activity.served.then(|| (activity.caller.clone(), idle, connection))
            })
            .collect();
        // `None` is the group of callers without a token.
        let mut of_caller: HashMap<Option<&str>, usize> = HashMap::new();
        for (caller, ..) in &served {
            *of_caller.entry(caller.as_ref().map(Caller::name)).or_default() += 1;
        }
        let candidates = served.iter().filter(|(caller, (is_busy, ..), _)| !is_busy || caller.is_none());
        let (_, (is_busy, ..), leaving) = candidates.min_by_key(|(caller, idle, _)| {
            let connections = of_caller.get(&caller.as_ref().map(Caller::name)).copied();
            (Reverse(connections), *idle)
        })?;
        leaving.interrupted.store(*is_busy, Ordering::Relaxed);
        Some((Arc::clone(leaving), if *is_busy { Cause::Room } else { Cause::RoomOfCaller }))
    }
}

impl Connection {
    fn new(id: u64) -> Self {
        let now = Instant::now();
        Self {
            id,
            activity: Mutex::new(Activity {
                calls: 0,
                carried_a_call: false,
                served: false,
                caller: None,
                last: now,
            }),
            probes: InUse::default(),
            open_streams: InUse::default(),
            unsent: InUse::default(),
            progress: Mutex::new(now),
            make_room: CancellationToken::new(),
            interrupted: AtomicBool::new(false),
        }
    }

    #[cfg(test)]
    pub(super) fn test(id: u64) -> Arc<Self> {
        Arc::new(Self::new(id))
    }

    /// A call begins; it ends when the answer is dropped.
    pub(super) fn call(self: &Arc<Self>) -> OpenCall {
        let mut activity = self.activity.lock();
        activity.calls += 1;
        activity.carried_a_call = true;
        activity.last = Instant::now();
        OpenCall(Arc::clone(self))
    }

    /// Notes an admitted call of a method with a scope; `None` is a caller without a token. Connections without such a
    /// call make room first.
    pub(super) fn served(&self, caller: Option<&Caller>) {
        let mut activity = self.activity.lock();
        activity.served = true;
        if caller.is_some() {
            activity.caller = caller.cloned();
        }
    }

    /// True if calls under way have a grace while the connection makes room: a caller used it, and had no call under
    /// way when it was chosen.
    pub(super) fn has_grace(&self) -> bool {
        let activity = self.activity.lock();
        activity.caller.is_some() || (activity.served && !self.interrupted.load(Ordering::Relaxed))
    }

    /// True if calls are under way, or the rest of a response waits for its client.
    pub(super) fn has_calls(&self) -> bool {
        self.is_busy(&self.activity.lock())
    }

    fn is_busy(&self, activity: &Activity) -> bool {
        activity.calls > 0 || self.unsent.amount() > 0
    }

    /// True if it carried a call; then the server sends GOAWAY before it closes the connection.
    pub(super) fn carried_a_call(&self) -> bool {
        self.activity.lock().carried_a_call
    }

    /// Notes that response bytes have left, or begin to wait while none waited.
    pub(super) fn progressed(&self) {
        *self.progress.lock() = Instant::now();
    }

    /// True if response bytes wait, and none has left for this long.
    pub(super) fn takes_nothing_for(&self, time: Duration) -> bool {
        self.unsent.amount() > 0 && self.progress.lock().elapsed() >= time
    }
}

/// An open connection; its place is free when this is dropped.
#[derive(Debug)]
pub(super) struct Admitted {
    connections: Arc<Connections>,
    pub(super) connection: Arc<Connection>,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut open = self.connections.open.lock();
        open.by_id.remove(&self.connection.id);
        self.connections.counted(&open);
    }
}

/// A call under way on a connection.
#[derive(Debug)]
pub(super) struct OpenCall(Arc<Connection>);

impl Drop for OpenCall {
    fn drop(&mut self) {
        let mut activity = self.0.activity.lock();
        activity.calls -= 1;
        activity.last = Instant::now();
    }
}

#[cfg(test)]
mod tests;
