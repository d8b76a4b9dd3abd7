//! Access to reads.

use std::str::FromStr;

use http::HeaderMap;
use proto::error::{Reason, ServiceError};
use service_kit::auth::{self, AuthError, Caller, Scope, Tokens};
use service_kit::grpc::Gate;
use tonic::Status;

use crate::metrics::LEGACY_ANONYMOUS;

/// The metadata key of the token of older clients.
const HEADER: &str = "x-internal-token";

/// Access to the current API; without configured tokens, every caller may read.
#[derive(Clone, Debug)]
pub struct Access(Tokens);

impl Access {
    pub fn new(tokens: Tokens) -> Self {
        tokens.begin_metrics();
        Self(tokens)
    }
}

impl Gate for Access {
    fn admit(&self, headers: &HeaderMap, scope: Scope) -> Result<Option<Caller>, Status> {
        if self.0.is_empty() { Ok(None) } else { Ok(Some(self.0.authorize(headers, scope)?)) }
    }
}

/// Access to reads through the older API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LegacyReads {
    /// Every caller: its clients have no token for reads.
    Open,
    /// Callers with a token.
    Token,
    /// No caller.
    Off,
}

/// An unknown value of `LEGACY_READS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be open, token or off")]
pub struct UnknownLegacyReads;

impl FromStr for LegacyReads {
    type Err = UnknownLegacyReads;

    fn from_str(text: &str) -> Result<Self, UnknownLegacyReads> {
        match text {
            "open" => Ok(Self::Open),
            "token" => Ok(Self::Token),
            "off" => Ok(Self::Off),
            _ => Err(UnknownLegacyReads),
        }
    }
}

/// Access to the older API.
#[derive(Clone, Debug)]
pub struct LegacyAccess {
    reads: LegacyReads,
    bearer: Tokens,
    internal: Tokens,
}

impl LegacyAccess {
    pub fn new(reads: LegacyReads, bearer: Tokens, internal: Tokens) -> Self {
        internal.begin_metrics();
        Self { reads, bearer, internal }
    }

    /// The caller's name, if the call has a token that `LEGACY_READS=token` accepts.
    fn recognize(&self, headers: &HeaderMap, scope: Scope) -> Option<Caller> {
        let by_header = || self.internal.recognize_token(internal_token(headers)?, scope);
        self.bearer.recognize(headers, scope).or_else(by_header)
    }

    fn refusal(&self, headers: &HeaderMap, scope: Scope) -> Status {
        let unauthenticated = |error: AuthError, message: &str| {
            let _ = error.counted();
            ServiceError::new(Reason::Unauthenticated, message).into()
        };
        if headers.contains_key("authorization") {
            // The token was not recognized; this determines the error.
            return match self.bearer.authorize(headers, scope) {
                Err(error) => error.into(),
                Ok(_) => AuthError::Unknown.into(),
            };
        }
        if internal_token(headers).is_some() {
            return unauthenticated(AuthError::Unknown, "x-internal-token is not known");
        }
        let message = "x-internal-token, or a bearer token with the scope read, is needed";
        unauthenticated(AuthError::Missing, message)
    }
}

impl Gate for LegacyAccess {
    fn admit(&self, headers: &HeaderMap, scope: Scope) -> Result<Option<Caller>, Status> {
        match self.reads {
            LegacyReads::Open => {
                let caller = self.recognize(headers, scope);
                if caller.is_none() {
                    metrics::counter!(LEGACY_ANONYMOUS).increment(1);
                }
                Ok(caller)
            }
            LegacyReads::Token => match self.recognize(headers, scope) {
                Some(caller) => Ok(Some(caller)),
                None => Err(self.refusal(headers, scope)),
            },
            LegacyReads::Off => {
                auth::count_disabled();
                let message = "reads of this API are off (LEGACY_READS): use followgraph.query.v1";
                Err(ServiceError::new(Reason::LegacyReadsDisabled, message).into())
            }
        }
    }
}

/// Older clients may append a line break from a token file.
fn internal_token(headers: &HeaderMap) -> Option<&str> {
    Some(headers.get(HEADER)?.to_str().ok()?.trim())
}

#[cfg(test)]
mod tests {
    use proto::error::reason_of;
    use service_kit::Env;
    use tonic::Code;

    use super::*;

    fn access(reads: LegacyReads) -> LegacyAccess {
        let mut env = Env::from_pairs([("INTERNAL", "old,new"), ("AUTH_TOKENS", "feed=read:r,write:w")]);
        let internal = Tokens::read_secrets(&mut env, "INTERNAL", Scope::Read);
        LegacyAccess::new(reads, Tokens::read(&mut env), internal)
    }

    fn sent(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.parse().expect("a name"), value.parse().expect("ASCII")))
            .collect()
    }

    /// The caller's name, or the code and reason of the error.
    fn outcome(
        reads: LegacyReads,
        pairs: &[(&'static str, &str)],
    ) -> Result<Option<String>, (Code, Option<Reason>)> {
        let admitted = access(reads).admit(&sent(pairs), Scope::Read);
        let name = |caller: Option<Caller>| caller.map(|caller| caller.name().to_owned());
        admitted.map(name).map_err(|status| (status.code(), reason_of(&status)))
    }

    #[test]
    fn open_reads_need_no_token_and_know_one() {
        let open = |pairs| outcome(LegacyReads::Open, pairs);
        assert_eq!(open(&[("authorization", "Bearer r")]), Ok(Some("feed".to_owned())));
        assert_eq!(open(&[("x-internal-token", "old")]), Ok(Some("internal".to_owned())));
        for pairs in [&[][..], &[("authorization", "Bearer x")], &[("x-internal-token", "x")]] {
            assert_eq!(open(pairs), Ok(None), "{pairs:?}");
        }
    }

    #[test]
    fn either_token_opens_reads_that_need_one() {
        let token = |pairs| outcome(LegacyReads::Token, pairs);
        assert_eq!(token(&[("authorization", "Bearer r")]), Ok(Some("feed".to_owned())));
        assert_eq!(token(&[("x-internal-token", "new")]), Ok(Some("internal".to_owned())));
        let both = [("authorization", "Bearer x"), ("x-internal-token", " old ")];
        assert_eq!(token(&both), Ok(Some("internal".to_owned())));
        let unauthenticated = Err((Code::Unauthenticated, Some(Reason::Unauthenticated)));
        for pairs in [
            &[][..],
            &[("authorization", "Bearer x")],
            &[("authorization", "Bearer old")],
            &[("x-internal-token", "")],
            &[("x-internal-token", "old,new")],
            &[("x-internal-token", "r")],
        ] {
            assert_eq!(token(pairs), unauthenticated, "{pairs:?}");
        }
        let lacks = Err((Code::PermissionDenied, Some(Reason::ScopeMissing)));
        assert_eq!(token(&[("authorization", "Bearer w")]), lacks);
    }

    #[test]
    fn no_token_opens_reads_that_are_off() {
        let off = Err((Code::PermissionDenied, Some(Reason::LegacyReadsDisabled)));
        for pairs in [&[][..], &[("authorization", "Bearer r")], &[("x-internal-token", "old")]] {
            assert_eq!(outcome(LegacyReads::Off, pairs), off, "{pairs:?}");
        }
    }
}
