//! Access to the older system's API. Every refusal is PERMISSION_DENIED, as in the older system.

use http::HeaderMap;
use proto::error::{Reason, ServiceError};
use service_kit::auth::{self, AuthError, Caller, Scope, Tokens};
use service_kit::grpc::Gate;
use tonic::Status;

/// Metadata key of older clients.
const HEADER: &str = "x-internal-token";

/// Accepts an internal token, or a bearer token with the scope write.
#[derive(Clone, Debug)]
pub struct LegacyAccess {
    internal: Tokens,
    bearer: Tokens,
}

impl LegacyAccess {
    /// Accepts these tokens.
    pub fn new(internal: Tokens, bearer: Tokens) -> Self {
        internal.begin_metrics();
        Self { internal, bearer }
    }

    fn check(&self, headers: &HeaderMap) -> Result<Caller, ServiceError> {
        // If not, the other header may have a valid token.
        if let Some(caller) = self.bearer.recognize(headers, Scope::Write) {
            return Ok(caller);
        }
        if self.internal.is_empty() {
            auth::count_disabled();
            let message = "the server rejects writes of this API: no internal token is configured";
            return Err(ServiceError::new(Reason::WritesDisabled, message));
        }
        let token = headers.get(HEADER).and_then(|value| value.to_str().ok());
        let refused = |what| ServiceError::new(Reason::ScopeMissing, format!("{HEADER} {what}"));
        let token = token.ok_or_else(|| {
            let _ = AuthError::Missing.counted();
            refused("is required")
        })?;
        // Older clients may send the line break of a token file.
        let known = self.internal.authorize_token(token.trim(), Scope::Write);
        known.map_err(|_| refused("is not known"))
    }
}

impl Gate for LegacyAccess {
    fn admit(&self, headers: &HeaderMap, _: Scope) -> Result<Option<Caller>, Status> {
        Ok(Some(self.check(headers)?))
    }
}

#[cfg(test)]
mod tests {
    use service_kit::Env;

    use super::*;

    fn access(internal: &str, bearer: &str) -> LegacyAccess {
        let mut env = Env::from_pairs([("INTERNAL", internal), ("AUTH_TOKENS", bearer)]);
        LegacyAccess::new(Tokens::read_secrets(&mut env, "INTERNAL", Scope::Write), Tokens::read(&mut env))
    }

    fn sent(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.parse().expect("a name"), value.parse().expect("ASCII")))
            .collect()
    }

    fn reason(access: &LegacyAccess, pairs: &[(&'static str, &str)]) -> Option<Reason> {
        access.check(&sent(pairs)).err().map(|error| error.reason)
    }

    #[test]
    fn internal_tokens_and_bearer_tokens_with_write_are_accepted() {
        let access = access("old,new", "write:w,read:r");
        for good in [
            [("x-internal-token", "old")],
            [("x-internal-token", "new")],
            [("x-internal-token", " new ")],
            [("authorization", "Bearer w")],
        ] {
            assert_eq!(reason(&access, &good), None, "{good:?}");
        }
        assert_eq!(reason(&access, &[("authorization", "Bearer wrong"), ("x-internal-token", "old")]), None);
    }

    #[test]
    fn every_refusal_is_permission_denied() {
        let access = access("old,new", "write:w,read:r");
        let refused: [&[_]; 6] = [
            &[],
            &[("x-internal-token", "")],
            &[("x-internal-token", "old,new")],
            &[("x-internal-token", "w")],
            &[("authorization", "Bearer r")],
            &[("authorization", "Bearer old")],
        ];
        for pairs in refused {
            assert_eq!(reason(&access, pairs), Some(Reason::ScopeMissing), "{pairs:?}");
        }
        assert_eq!(proto::error::code(Reason::ScopeMissing), tonic::Code::PermissionDenied);
    }

    #[test]
    fn without_an_internal_token_only_a_bearer_token_writes() {
        let access = access("", "write:w");
        assert_eq!(reason(&access, &[]), Some(Reason::WritesDisabled));
        assert_eq!(reason(&access, &[("x-internal-token", "w")]), Some(Reason::WritesDisabled));
        assert_eq!(reason(&access, &[("authorization", "Bearer w")]), None);
    }
}
