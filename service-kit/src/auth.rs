//! Bearer tokens, their scopes and the names of their callers.
//!
//! Tokens are kept as hashes, compared in constant time, and never logged.

mod caller;

use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, OnceLock};

use http::HeaderMap;
use metrics::{Counter, counter};
use ring::digest::{SHA256, digest};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};
use tonic::{Code, Status};

pub use self::caller::Caller;
use crate::config::Env;
use crate::errors;

/// The variable that holds the tokens.
const VARIABLE: &str = "AUTH_TOKENS";
/// Example of its value.
const EXAMPLE: &str = "backend=read+write:a-long-random-text,admin:another-one";
/// Limit of the length of a name.
const MAX_NAME: usize = 40;
/// Callers of [`Tokens::read_secrets`] share this name.
const INTERNAL: &str = "internal";
/// Prefix of the names of callers whose token has none; the token's index follows.
const UNNAMED: &str = "token-";

/// A right of a token. The numbers are bits of a set of rights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Scope {
    /// Queries.
    Read = 1,
    /// Commands.
    Write = 2,
    /// Operations: jobs on whole accounts, recovery.
    Admin = 4,
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
        let mut all = [Self::Read, Self::Write, Self::Admin].into_iter();
        all.find(|scope| scope.to_string() == text).ok_or(ParseError::Scope)
    }
}

/// A mistake in a list of tokens. It never quotes the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// An entry without a colon.
    #[error("an entry is not of the form scopes:secret or name=scopes:secret")]
    Form,
    /// A name that cannot be a label, or is reserved.
    #[error("a name has other characters than a-z, 0-9, '-' and '_', more than 40 of them, or is reserved")]
    Name,
    /// An unknown scope.
    #[error("a scope is none of read, write, admin")]
    Scope,
    /// No secret after the colon.
    #[error("a secret is empty")]
    EmptySecret,
    /// A secret that the header of a call cannot carry.
    #[error("a secret has other characters than printable ASCII, which no client can send")]
    Unsendable,
    /// A value without an entry.
    #[error("it holds no entry")]
    Empty,
    /// The same secret twice.
    #[error("a secret appears twice")]
    Duplicate,
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
    /// The token is known, but lacks the scope.
    #[error("the token lacks the scope {0}")]
    ScopeMissing(Scope),
}

impl AuthError {
    /// Counts the refusal. [`Tokens`] counts its own.
    #[must_use]
    pub fn counted(self) -> Self {
        let cause = match self {
            Self::Missing => "missing",
            Self::Unknown => "unknown",
            Self::ScopeMissing(_) => "scope",
        };
        counter!(crate::metrics::AUTH_REFUSED, "cause" => cause).increment(1);
        self
    }
}

/// Counts a call that a setting disables, with any token.
pub fn count_disabled() {
    counter!(crate::metrics::AUTH_REFUSED, "cause" => "disabled").increment(1);
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

struct Token {
    scopes: u8,
    hash: [u8; 32],
    caller: Caller,
    /// Created at first use, because settings are read before metrics are set up.
    accepted: OnceLock<Counter>,
}

/// The accepted tokens. Clones share them.
#[derive(Clone, Default)]
pub struct Tokens(Arc<List>);

#[derive(Default)]
struct List {
    /// Their variable, a label of their counters.
    variable: String,
    tokens: Vec<Token>,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tokens({})", self.0.tokens.len())
    }
}

impl FromStr for Tokens {
    type Err = ParseError;

    /// Comma-separated `scopes:secret` or `name=scopes:secret` with the scopes joined by `+`. A name ends before the
    /// first `:`, because a secret may contain `=` and `:`. Blanks around a secret are ignored, as in the header of a
    /// call.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut tokens: Vec<Token> = Vec::new();
        for entry in text.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            let (rights, secret) = entry.split_once(':').ok_or(ParseError::Form)?;
            let (name, scopes) = match rights.split_once('=') {
                Some((name, scopes)) => (Some(check_name(name.trim())?), scopes),
                None => (None, rights),
            };
            let secret = secret.trim();
            if secret.is_empty() {
                return Err(ParseError::EmptySecret);
            }
            let mut bits = 0;
            for scope in scopes.split('+') {
                bits |= scope.trim().parse::<Scope>()? as u8;
            }
            let named = name.and_then(|name| tokens.iter().find(|token| token.caller.name() == name));
            let caller = match (named, name) {
                (Some(token), _) => token.caller.clone(),
                (None, Some(name)) => Caller::new(name),
                (None, None) => Caller::new(format!("{UNNAMED}{}", tokens.len())),
            };
            add(&mut tokens, bits, secret, caller)?;
        }
        // An empty list would leave reads open, although the operator meant to restrict them.
        if tokens.is_empty() { Err(ParseError::Empty) } else { Ok(Self::of(VARIABLE, tokens)) }
    }
}

impl Tokens {
    fn of(variable: &str, tokens: Vec<Token>) -> Self {
        Self(Arc::new(List { variable: variable.to_owned(), tokens }))
    }

    /// Reads `AUTH_TOKENS`; absent means that no token is accepted.
    pub fn read(env: &mut Env) -> Self {
        env.about("Accepted bearer tokens: comma-separated scopes:secret or name=scopes:secret, with scopes read, write and admin \
             joined by +. Several tokens, also with the same name, are valid at the same time, for rotation. The name \
             identifies the caller in metrics and limits.")
            .example(EXAMPLE);
        let text = env.optional_secret(VARIABLE);
        text.and_then(|text| env.accept(VARIABLE, text.expose().parse())).unwrap_or_default()
    }

    /// Reads a variable of comma-separated secrets, each of which grants `scope`; absent means that none is accepted.
    /// Describe the variable first.
    pub fn read_secrets(env: &mut Env, variable: &str, scope: Scope) -> Self {
        let text = env.optional_secret(variable);
        let tokens = text.map(|text| Self::of_secrets(text.expose(), variable, scope));
        tokens.and_then(|tokens| env.accept(variable, tokens)).unwrap_or_default()
    }

    /// Comma-separated secrets that grant one scope.
    fn of_secrets(text: &str, variable: &str, scope: Scope) -> Result<Self, ParseError> {
        let mut tokens = Vec::new();
        let caller = Caller::new(INTERNAL);
        for secret in text.split(',').map(str::trim).filter(|secret| !secret.is_empty()) {
            add(&mut tokens, scope as u8, secret, caller.clone())?;
        }
        Ok(Self::of(variable, tokens))
    }

    /// Creates the counter of each token with 0, so that unused tokens are visible.
    pub fn begin_metrics(&self) {
        for place in 0..self.0.tokens.len() {
            self.0.accepted(place).increment(0);
        }
    }

    /// True if no token is configured.
    pub fn is_empty(&self) -> bool {
        self.0.tokens.is_empty()
    }

    /// True if some token has this scope.
    pub fn grant(&self, scope: Scope) -> bool {
        self.0.tokens.iter().any(|token| token.scopes & scope as u8 != 0)
    }

    /// Checks `authorization: Bearer <token>`.
    pub fn authorize(&self, headers: &HeaderMap, scope: Scope) -> Result<Caller, AuthError> {
        let token = of_headers(headers).ok_or_else(|| AuthError::Missing.counted())?;
        self.authorize_token(token, scope)
    }

    /// Checks a token from elsewhere, such as another header.
    pub fn authorize_token(&self, token: &str, scope: Scope) -> Result<Caller, AuthError> {
        self.check(token, scope).map_err(AuthError::counted)
    }

    /// The caller, if the call has `authorization: Bearer <token>` with this scope. For methods with other accepted
    /// tokens, or without any: it counts no refusal.
    pub fn recognize(&self, headers: &HeaderMap, scope: Scope) -> Option<Caller> {
        self.recognize_token(of_headers(headers)?, scope)
    }

    /// The same for a token from elsewhere.
    pub fn recognize_token(&self, token: &str, scope: Scope) -> Option<Caller> {
        self.check(token, scope).ok()
    }

    fn check(&self, token: &str, scope: Scope) -> Result<Caller, AuthError> {
        let hash = sha256(token);
        // Every entry is compared, so that the time does not depend on the match.
        let mut place = u64::MAX;
        let mut scopes = 0;
        for (candidate, index) in self.0.tokens.iter().zip(0..) {
            let same: Choice = candidate.hash.ct_eq(&hash);
            place.conditional_assign(&index, same);
            scopes.conditional_assign(&candidate.scopes, same);
        }
        let found = usize::try_from(place).ok();
        match found.and_then(|place| Some((place, self.0.tokens.get(place)?))) {
            None => Err(AuthError::Unknown),
            Some(_) if scopes & scope as u8 == 0 => Err(AuthError::ScopeMissing(scope)),
            Some((place, token)) => {
                self.0.accepted(place).increment(1);
                Ok(token.caller.clone())
            }
        }
    }
}

impl List {
    /// The counter of the calls accepted with the token at this index.
    fn accepted(&self, place: usize) -> &Counter {
        self.tokens[place].accepted.get_or_init(|| {
            counter!(
                crate::metrics::AUTH_ACCEPTED,
                "setting" => self.variable.clone(),
                "position" => place.to_string()
            )
        })
    }
}

/// The token of `authorization: Bearer <token>`.
fn of_headers(headers: &HeaderMap) -> Option<&str> {
    headers.get("authorization").and_then(|value| value.to_str().ok()).and_then(bearer)
}

/// A name is a label of metrics, so it must be short, plain and not reserved.
fn check_name(name: &str) -> Result<&str, ParseError> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
    let reserved = name == caller::NONE || name == INTERNAL || name.starts_with(UNNAMED);
    let good = (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(plain) && !reserved;
    if good { Ok(name) } else { Err(ParseError::Name) }
}

fn add(tokens: &mut Vec<Token>, scopes: u8, secret: &str, caller: Caller) -> Result<(), ParseError> {
    if !secret.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) {
        return Err(ParseError::Unsendable);
    }
    let hash = sha256(secret);
    if tokens.iter().any(|token| token.hash == hash) {
        return Err(ParseError::Duplicate);
    }
    tokens.push(Token { scopes, hash, caller, accepted: OnceLock::new() });
    Ok(())
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
mod tests;
