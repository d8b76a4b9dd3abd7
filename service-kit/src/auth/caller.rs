//! The verified caller of a call: a name for limits and metrics, never its token.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use metrics::Label;
use tonic::Code;

use crate::codes::CounterByCode;
use crate::metrics::CALLS_BY_CALLER;
use crate::shares::InUse;

/// Label of calls that carried no verified token.
pub(super) const NONE: &str = "none";

/// A caller. Tokens with the same name are one caller. Clones are cheap and share its counts.
#[derive(Clone)]
pub struct Caller(Arc<Inner>);

struct Inner {
    name: String,
    handled: CounterByCode,
    used: Used,
}

/// What a caller uses of the limits.
#[derive(Debug, Default)]
pub(crate) struct Used {
    /// Calls under way.
    pub(crate) calls: InUse,
    /// Calls under way of methods exempt from the limit on calls.
    pub(crate) exempt_calls: InUse,
    /// Calls under way whose requests are streams; `calls` includes them.
    pub(crate) request_streams: InUse,
    /// Bytes of large requests under way.
    pub(crate) request_bytes: InUse,
}

impl Caller {
    /// A caller of this name, with its own counts.
    pub fn new(name: impl Into<String>) -> Self {
        let name = name.into();
        let handled = CounterByCode::new(CALLS_BY_CALLER, vec![Label::new("caller", name.clone())]);
        Self(Arc::new(Inner { name, handled, used: Used::default() }))
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
        self.0.handled.count(code);
    }

    /// What it uses of the limits.
    pub(crate) fn used(&self) -> &Used {
        &self.0.used
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
