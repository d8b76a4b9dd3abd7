//! Signs and checks tokens: base64url of `version byte | body | HMAC-SHA256 over both`.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use metrics::{Counter, counter};
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use service_kit::Secret;

use super::body::Body;
use crate::metrics::PAGE_TOKENS;

pub(super) const VERSION: u8 = 1;
pub(super) const TAG_BYTES: usize = 32;
/// Upper bound of the bytes of a token. An export token is the largest, with three UUID-sized fields and two numbers.
const MAX_BODY_BYTES: usize = 128;
/// Base64 of the largest token.
pub(super) const MAX_TEXT_BYTES: usize = (1 + MAX_BODY_BYTES + TAG_BYTES).div_ceil(3) * 4;
/// Shorter keys can be guessed.
pub const MIN_KEY_BYTES: usize = 16;

/// A token that this service did not create, or created for another purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not a token of this list")]
pub struct Invalid;

/// The system returned no random bytes for a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the system gives no random bytes")]
pub struct NoRandomness;

/// Signs and checks tokens.
pub struct Codec {
    /// The first key signs, all verify. Never empty.
    pub(super) keys: Vec<Key>,
}

pub(super) struct Key {
    pub(super) secret: hmac::Key,
    /// Counts the tokens that this key verified.
    read: Counter,
}

impl Key {
    fn new(position: usize, secret: &[u8]) -> Self {
        let secret = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let read = counter!(PAGE_TOKENS, "position" => position.to_string());
        // An absent counter would look like an unused key.
        read.increment(0);
        Self { secret, read }
    }
}

impl std::fmt::Debug for Codec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Codec({} keys)", self.keys.len())
    }
}

impl Codec {
    /// A codec with shared keys; `None` without any.
    pub fn new(keys: &[Secret]) -> Option<Self> {
        let keys: Vec<_> = keys
            .iter()
            .enumerate()
            .map(|(position, key)| Key::new(position, key.expose().as_bytes()))
            .collect();
        (!keys.is_empty()).then_some(Self { keys })
    }

    /// A codec with a random key: its tokens are valid in this process only.
    pub fn random() -> Result<Self, NoRandomness> {
        let mut key = [0; 32];
        SystemRandom::new().fill(&mut key).map_err(|_| NoRandomness)?;
        Ok(Self { keys: vec![Key::new(0, &key)] })
    }

    pub(super) fn sign(&self, body: &Body) -> String {
        let mut bytes = vec![VERSION];
        // Cannot fail: the body is far below the limit and has no type that the format rejects. An empty body would be
        // rejected by `verify`, never misread.
        bytes.extend(bincode::serde::encode_to_vec(body, format()).unwrap_or_default());
        let tag = hmac::sign(&self.keys[0].secret, &bytes); // `keys` is never empty.
        bytes.extend_from_slice(tag.as_ref());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    pub(super) fn verify(&self, text: &str) -> Result<Body, Invalid> {
        if text.len() > MAX_TEXT_BYTES {
            return Err(Invalid);
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| Invalid)?;
        let signed = bytes.len().checked_sub(TAG_BYTES).ok_or(Invalid)?;
        let (signed, tag) = bytes.split_at(signed);
        let key = self.keys.iter().find(|key| hmac::verify(&key.secret, signed, tag).is_ok());
        let (&VERSION, body) = signed.split_first().ok_or(Invalid)? else {
            return Err(Invalid);
        };
        let Some(key) = key else { return Err(Invalid) };
        let (decoded, read) = bincode::serde::decode_from_slice(body, format()).map_err(|_| Invalid)?;
        // With bytes after the body, a second text would be the same token.
        if read != body.len() {
            return Err(Invalid);
        }
        key.read.increment(1);
        Ok(decoded)
    }
}

fn format() -> impl bincode::config::Config {
    bincode::config::standard().with_limit::<MAX_BODY_BYTES>()
}
