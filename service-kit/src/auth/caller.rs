//! The verified caller of a call: a name for limits and metrics, never its token.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, OnceLock};

use metrics::{Counter, counter};
use tonic::Code;

use crate::codes::{CODES, code_name};
use crate::metrics::CALLS_BY_CALLER;

/// Label of calls that carried no verified token.
pub(super) const NONE: &str = "none";

/// A caller. Tokens with the same name are one caller. Clones are cheap and share its counts.
#[derive(Clone)]
pub struct Caller(Arc<Inner>);

struct Inner {
    name: String,
    handled: [OnceLock<Counter>; CODES.len()],
    calls: AtomicUsize,
    exempt_calls: AtomicUsize,
    request_streams: AtomicUsize,
    request_bytes: AtomicUsize,
}

impl Caller {
    /// A caller of this name, with its own counts.
    pub fn new(name: impl Into<String>) -> Self {
        Self(Arc::new(Inner {
            name: name.into(),
            handled: [const { OnceLock::new() }; CODES.len()],
            calls: AtomicUsize::new(0),
            exempt_calls: AtomicUsize::new(0),
            request_streams: AtomicUsize::new(0),
            request_bytes: AtomicUsize::new(0),
        }))
    }

    /// All callers without a token: they share one share of every limit.
    pub(crate) fn none() -> Self {
        Self::new(NONE)
    }

    /// The verified caller of a request; `None` if the method or the service needs no token.
    pub fn of<T>(request: &tonic::Request<T>) -> Option<&Self> {
        request.extensions().get()
    }

    /// Its name in `AUTH_TOKENS`, or `token-N` for the token at place N of the list.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Counts a call that has ended.
    pub(crate) fn handled(&self, code: Code) {
        // A code is a number from 0 to 16.
        let place = code as usize;
        self.0.handled[place]
            .get_or_init(
                || counter!(CALLS_BY_CALLER, "caller" => self.0.name.clone(), "grpc_code" => code_name(code)),
            )
            .increment(1);
    }

    /// Number of its calls under way.
    pub(crate) fn calls(&self) -> &AtomicUsize {
        &self.0.calls
    }

    /// Number of its calls under way of methods exempt from the limit on calls.
    pub(crate) fn exempt_calls(&self) -> &AtomicUsize {
        &self.0.exempt_calls
    }

    /// Number of its calls under way whose requests are streams; [`Self::calls`] includes them.
    pub(crate) fn request_streams(&self) -> &AtomicUsize {
        &self.0.request_streams
    }

    /// Bytes of its large requests under way.
    pub(crate) fn request_bytes(&self) -> &AtomicUsize {
        &self.0.request_bytes
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Caller({})", self.0.name)
    }
}

impl PartialEq for Caller {
    fn eq(&self, other: &Self) -> bool {
        self.0.name == other.0.name
    }
}

impl Eq for Caller {}

impl Hash for Caller {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.name.hash(state);
    }
}
