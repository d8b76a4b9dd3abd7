//! The table of methods: the scope and the message limit of each.
//!
//! A service passes its rows; the server checks them against the descriptors, authorizes each call before its body is
//! read, and limits its messages. Handlers check neither tokens nor sizes.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::Arc;

use http::HeaderMap;
use prost::Message as _;
use prost_types::FileDescriptorSet;
use tonic::Status;

use crate::auth::{Caller, Scope};

/// Decides who may call a method. Returns `None` for a caller without a token if the service needs none.
pub trait Gate: Debug + Send + Sync {
    /// Admits or refuses a call of a method with this scope, by its headers.
    fn admit(&self, headers: &HeaderMap, scope: Scope) -> Result<Option<Caller>, Status>;
}

/// The rules of one method. Its deadline class and the kind of its streams follow from its descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MethodRule {
    /// Name without the service.
    pub method: &'static str,
    /// Required scope; `None` if everyone may call.
    pub scope: Option<Scope>,
    /// Largest request message in bytes, counted after decompression.
    pub max_message: usize,
    /// False for methods that a busy server must answer: health, status.
    pub limited: bool,
}

impl MethodRule {
    /// A method for callers with this scope.
    pub const fn scoped(method: &'static str, scope: Scope, max_message: usize) -> Self {
        Self { method, scope: Some(scope), max_message, limited: true }
    }

    /// A method that everyone may call.
    pub const fn open(method: &'static str, max_message: usize) -> Self {
        Self { method, scope: None, max_message, limited: true }
    }

    /// Exempts the method from the limit on calls in flight. Exempt methods have a small limit per caller or
    /// connection.
    #[must_use]
    pub const fn exempt_from_limits(self) -> Self {
        Self { limited: false, ..self }
    }
}

/// The rules of all methods of one service.
#[derive(Debug, Clone)]
pub struct Rules {
    pub(super) rows: &'static [MethodRule],
    pub(super) gate: Arc<dyn Gate>,
}

impl Rules {
    /// Rows whose tokens this gate verifies.
    pub fn new(rows: &'static [MethodRule], gate: impl Gate + 'static) -> Self {
        Self { rows, gate: Arc::new(gate) }
    }

    /// Rows that everyone may call.
    pub(super) fn open(rows: &'static [MethodRule]) -> Self {
        Self::new(rows, NoScope)
    }
}

/// A gate for services whose methods need no scope; it refuses every scope.
#[derive(Debug)]
struct NoScope;

impl Gate for NoScope {
    fn admit(&self, _: &HeaderMap, scope: Scope) -> Result<Option<Caller>, Status> {
        Err(crate::auth::AuthError::ScopeMissing(scope).into())
    }
}

/// Lists the mistakes in the rows of a service: methods without a row, rows without a method.
pub fn mismatches(
    descriptors: &[u8],
    service: &str,
    rows: &[MethodRule],
) -> Result<Vec<String>, prost::DecodeError> {
    let mut methods = BTreeSet::new();
    for file in FileDescriptorSet::decode(descriptors)?.file {
        let of_it = |name: &str| format!("{}.{name}", file.package()) == service;
        for described in file.service.iter().filter(|described| of_it(described.name())) {
            methods.extend(described.method.iter().map(|method| method.name().to_owned()));
        }
    }
    let mut wrong = Vec::new();
    let mut seen = BTreeSet::new();
    for row in rows {
        if !seen.insert(row.method) {
            wrong.push(format!("{service}/{} has two rows", row.method));
        }
        if !methods.remove(row.method) {
            wrong.push(format!("{service}/{} is no method", row.method));
        }
    }
    wrong.extend(methods.into_iter().map(|method| format!("{service}/{method} has no row")));
    Ok(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEALTH: &str = "grpc.health.v1.Health";

    fn wrong(rows: &[MethodRule]) -> Vec<String> {
        mismatches(tonic_health::pb::FILE_DESCRIPTOR_SET, HEALTH, rows).expect("valid descriptors")
    }

    #[test]
    fn a_method_without_a_row_is_a_mistake_and_so_is_the_reverse() {
        let check = MethodRule::open("Check", 1);
        let watch = MethodRule::open("Watch", 1);
        let nope = MethodRule::open("Nope", 1);
        assert!(wrong(&[check, watch]).is_empty());
        assert_eq!(wrong(&[watch]), [format!("{HEALTH}/Check has no row")]);
        assert_eq!(wrong(&[check, nope, watch]), [format!("{HEALTH}/Nope is no method")]);
        assert!(wrong(&[check, watch, check]).contains(&format!("{HEALTH}/Check has two rows")));
    }
}
