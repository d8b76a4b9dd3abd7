//! Who may call: bearer tokens and their scopes.
//!
//! Owns: the format of `AUTH_TOKENS` and of lists of bare secrets, the comparison in constant time, and the two refusals.
//! Must not know: which call needs which scope.
//! What can go wrong: no token, an unknown one, or one without the scope. Tokens are kept as hashes only and never
//! logged; a caller is named by its token's place in the list.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use ring::digest::{SHA256, digest};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};
use tonic::metadata::MetadataMap;
use tonic::{Code, Status};

use crate::config::Env;
use crate::grpc::errors;

/// The variable that holds the tokens.
const VARIABLE: &str = "AUTH_TOKENS";
/// What a value of the variable looks like.
const EXAMPLE: &str = "read+write:a-long-random-text,admin:another-one";

/// What a token allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Reading.
    Read,
    /// Writing.
    Write,
    /// Operating: jobs over whole accounts, recovery.
    Admin,
}

impl Scope {
    fn bit(self) -> u8 {
        match self {
            Self::Read => 1,
            Self::Write => 2,
            Self::Admin => 4,
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        })
    }
}

impl FromStr for Scope {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "read" => Ok(Self::Read),
            "write" => Ok(Self::Write),
            "admin" => Ok(Self::Admin),
            _ => Err(ParseError::Scope),
        }
    }
}

/// What is wrong with a list of tokens. Never repeats any part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// An entry without a colon.
    #[error("an entry is not of the form scopes:secret")]
    Form,
    /// A word before the colon that is no scope.
    #[error("a scope is none of read, write, admin")]
    Scope,
    /// Nothing after the colon.
    #[error("a secret is empty")]
    EmptySecret,
    /// A value, and nothing in it.
    #[error("it holds no entry")]
    Empty,
    /// The same secret twice.
    #[error("a secret appears twice")]
    Duplicate,
}

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Caller {
    /// Place of its token in the list, from 0. Names a caller in logs and limits without naming the token.
    pub token: usize,
}

/// Why a caller is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// No token was sent.
    #[error("a bearer token is needed")]
    Missing,
    /// The token is not in the list.
    #[error("the token is not known")]
    Unknown,
    /// The token is known and lacks a scope.
    #[error("the token lacks the scope {0}")]
    ScopeMissing(Scope),
}

impl From<AuthError> for Status {
    fn from(error: AuthError) -> Self {
        let (code, reason) = match error {
            AuthError::Missing | AuthError::Unknown => (Code::Unauthenticated, errors::UNAUTHENTICATED),
            AuthError::ScopeMissing(_) => (Code::PermissionDenied, errors::SCOPE_MISSING),
        };
        errors::status(code, reason, &error.to_string())
    }
}

#[derive(Clone)]
struct Token {
    scopes: u8,
    hash: [u8; 32],
}

/// The accepted tokens. Clones share them.
#[derive(Clone, Default)]
pub struct Tokens(Arc<[Token]>);

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tokens({})", self.0.len())
    }
}

impl FromStr for Tokens {
    type Err = ParseError;

    /// Comma-separated `scopes:secret` with the scopes joined by `+`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut tokens: Vec<Token> = Vec::new();
        for entry in text.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            let (scopes, secret) = entry.split_once(':').ok_or(ParseError::Form)?;
            if secret.is_empty() {
                return Err(ParseError::EmptySecret);
            }
            let mut bits = 0;
            for scope in scopes.split('+') {
                bits |= scope.trim().parse::<Scope>()?.bit();
            }
            add(&mut tokens, bits, secret)?;
        }
        // Meant to close something, it would leave reads open.
        if tokens.is_empty() { Err(ParseError::Empty) } else { Ok(Self(tokens.into())) }
    }
}

impl Tokens {
    /// Reads `AUTH_TOKENS`; absent means that no token is accepted.
    pub fn read(env: &mut Env) -> Self {
        env.about("Accepted bearer tokens: comma-separated scopes:secret, scopes joined by + from read, write, admin. Several at a time allow rotation.")
            .example(EXAMPLE);
        let Some(text) = env.optional_secret(VARIABLE) else {
            return Self::default();
        };
        text.expose().parse().unwrap_or_else(|error: ParseError| {
            env.reject(VARIABLE, error.to_string());
            Self::default()
        })
    }

    /// Reads a variable that holds secrets alone, comma-separated, each of which grants `scope`; absent means that none
    /// is accepted. Describe the variable first.
    pub fn read_secrets(env: &mut Env, variable: &str, scope: Scope) -> Self {
        let Some(text) = env.optional_secret(variable) else {
            return Self::default();
        };
        Self::of_secrets(text.expose(), scope).unwrap_or_else(|error| {
            env.reject(variable, error.to_string());
            Self::default()
        })
    }

    /// Comma-separated secrets that grant one scope.
    fn of_secrets(text: &str, scope: Scope) -> Result<Self, ParseError> {
        let mut tokens = Vec::new();
        for secret in text.split(',').map(str::trim).filter(|secret| !secret.is_empty()) {
            add(&mut tokens, scope.bit(), secret)?;
        }
        Ok(Self(tokens.into()))
    }

    /// True if no token is configured.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// True if some token has this scope.
    pub fn grant(&self, scope: Scope) -> bool {
        self.0.iter().any(|token| token.scopes & scope.bit() != 0)
    }

    /// Checks `authorization: Bearer <token>`.
    pub fn authorize(&self, metadata: &MetadataMap, scope: Scope) -> Result<Caller, AuthError> {
        let token = metadata
            .get("authorization")
            .and_then(|value| value.to_str().ok())
            .and_then(bearer)
            .ok_or_else(|| refused(AuthError::Missing))?;
        self.authorize_token(token, scope)
    }

    /// Checks a token that came in another way, such as a header of its own.
    pub fn authorize_token(&self, token: &str, scope: Scope) -> Result<Caller, AuthError> {
        let hash = sha256(token);
        // Every entry is compared, so that the time tells nothing about which one matched.
        let mut place = u64::MAX;
        let mut scopes = 0;
        for (candidate, index) in self.0.iter().zip(0..) {
            let same: Choice = candidate.hash.ct_eq(&hash);
            place.conditional_assign(&index, same);
            scopes.conditional_assign(&candidate.scopes, same);
        }
        let token = usize::try_from(place).ok().filter(|place| *place < self.0.len());
        match token {
            None => Err(refused(AuthError::Unknown)),
            Some(_) if scopes & scope.bit() == 0 => Err(refused(AuthError::ScopeMissing(scope))),
            Some(token) => Ok(Caller { token }),
        }
    }
}

fn add(tokens: &mut Vec<Token>, scopes: u8, secret: &str) -> Result<(), ParseError> {
    let hash = sha256(secret);
    if tokens.iter().any(|token| token.hash == hash) {
        return Err(ParseError::Duplicate);
    }
    tokens.push(Token { scopes, hash });
    Ok(())
}

fn refused(error: AuthError) -> AuthError {
    let cause = match error {
        AuthError::Missing => "missing",
        AuthError::Unknown => "unknown",
        AuthError::ScopeMissing(_) => "scope",
    };
    metrics::counter!(crate::metrics::AUTH_REFUSED, "cause" => cause).increment(1);
    error
}

/// The token of a `Bearer` header; the scheme is case-insensitive.
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

fn sha256(text: &str) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str) -> Tokens {
        text.parse().expect("a valid list")
    }

    fn header(value: &'static str) -> MetadataMap {
        let mut metadata = MetadataMap::new();
        metadata.insert("authorization", value.parse().expect("ASCII"));
        metadata
    }

    #[test]
    fn a_token_opens_its_scopes_and_no_others() {
        let tokens = tokens("read+write:old, read:new, admin:root");
        let caller = tokens.authorize(&header("Bearer old"), Scope::Write).expect("in scope");
        assert_eq!(caller.token, 0);
        assert_eq!(tokens.authorize(&header("bearer new"), Scope::Read).expect("in scope").token, 1);
        assert_eq!(
            tokens.authorize(&header("Bearer new"), Scope::Write),
            Err(AuthError::ScopeMissing(Scope::Write))
        );
        assert_eq!(
            tokens.authorize(&header("Bearer root"), Scope::Read),
            Err(AuthError::ScopeMissing(Scope::Read))
        );
        assert!(tokens.grant(Scope::Admin));
    }

    #[test]
    fn missing_and_unknown_tokens_are_refused() {
        let tokens = tokens("read:one");
        for metadata in [MetadataMap::new(), header("Basic one"), header("Bearer "), header("one")] {
            assert_eq!(tokens.authorize(&metadata, Scope::Read), Err(AuthError::Missing));
        }
        for token in ["Bearer on", "Bearer oneone", "Bearer ONE", "Bearer read:one"] {
            assert_eq!(tokens.authorize(&header(token), Scope::Read), Err(AuthError::Unknown));
        }
        assert_eq!(Tokens::default().authorize(&header("Bearer one"), Scope::Read), Err(AuthError::Unknown));
    }

    #[test]
    fn malformed_lists_are_mistakes_and_never_shown() {
        for (text, error) in [
            ("hunter2", ParseError::Form),
            ("reed:hunter2", ParseError::Scope),
            ("read+:hunter2", ParseError::Scope),
            ("read:", ParseError::EmptySecret),
            ("read:hunter2,write:hunter2", ParseError::Duplicate),
            (" , ", ParseError::Empty),
        ] {
            assert_eq!(text.parse::<Tokens>().map(|_| ()), Err(error));
            let mut env = Env::from_pairs([(VARIABLE, text)]);
            let tokens = Tokens::read(&mut env);
            assert!(!env.redacted().contains("hunter2"));
            let report = env.finish(tokens).expect_err("a mistake").to_string();
            assert!(!report.contains("hunter2"), "{report}");
        }
    }

    #[test]
    fn bare_secrets_grant_one_scope_and_several_count_at_a_time() {
        let mut env = Env::from_pairs([("INTERNAL", "old:1, new, ")]);
        let tokens = Tokens::read_secrets(&mut env, "INTERNAL", Scope::Write);
        assert_eq!(tokens.authorize_token("old:1", Scope::Write), Ok(Caller { token: 0 }));
        assert_eq!(tokens.authorize_token("new", Scope::Write), Ok(Caller { token: 1 }));
        assert_eq!(tokens.authorize_token("", Scope::Write), Err(AuthError::Unknown));
        assert_eq!(tokens.authorize_token("old:1, new, ", Scope::Write), Err(AuthError::Unknown));
        assert_eq!(tokens.authorize_token("new", Scope::Read), Err(AuthError::ScopeMissing(Scope::Read)));
        assert_eq!(env.redacted(), "INTERNAL=[redacted]");
        assert!(Tokens::read_secrets(&mut Env::from_pairs([("", "")]), "INTERNAL", Scope::Write).is_empty());

        let mut env = Env::from_pairs([("INTERNAL", "hunter2,hunter2")]);
        let tokens = Tokens::read_secrets(&mut env, "INTERNAL", Scope::Write);
        let report = env.finish(tokens).expect_err("a mistake").to_string();
        assert!(report.contains("twice") && !report.contains("hunter2"), "{report}");
    }

    #[test]
    fn a_secret_may_hold_colons() {
        assert!(tokens("read:a:b").authorize(&header("Bearer a:b"), Scope::Read).is_ok());
    }
}
