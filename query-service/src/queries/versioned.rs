//! A value with the revisions between which it lies, and its origin.

use proto::Token;

use super::{Error, Generation, Statement};

/// The answer of a store, or its error.
pub type ReadResult<T> = Result<Versioned<T>, Error>;

/// A value, and the revisions between which it lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versioned<T> {
    pub value: T,
    /// The value includes all changes up to this revision, and possibly some up to `target`.
    pub as_of: Token,
    /// It includes no change after this revision. Equals `as_of` if the value is of one revision.
    pub target: Token,
    pub origin: Origin,
}

/// How a value came about, for explanations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// Its `as_of` before recent events were applied; `None` if none could be applied.
    pub store_as_of: Option<Token>,
    /// Number of recent events that changed it.
    pub overlaid_events: u32,
    /// The generation of repairs that it was read in; `None` if it is unknown, or changed meanwhile.
    pub generation: Option<Generation>,
    /// The statement that returned it, if other questions share it; the last one if there were several.
    pub statement: Option<Statement>,
}

impl<T> Versioned<T> {
    /// A value of exactly one revision.
    pub fn exact(value: T, as_of: Token) -> Self {
        Self::between(value, as_of, as_of)
    }

    /// A value that includes all changes up to `as_of`, and possibly some up to `target`.
    pub fn between(value: T, as_of: Token, target: Token) -> Self {
        Self { value, as_of, target, origin: Origin::default() }
    }

    /// The revisions between which the value lies.
    pub fn bounds(&self) -> (Token, Token) {
        (self.as_of, self.target)
    }

    /// Combines both values; the result lies between the older `as_of` and the newer `target`.
    pub fn with<U, V>(self, other: Versioned<U>, join: impl FnOnce(T, U) -> V) -> ReadResult<V> {
        let (as_of, target) = join_bounds(self.bounds(), other.bounds())?;
        let mut origin = self.origin;
        origin.generation = Generation::common(origin.generation, other.origin.generation);
        Ok(Versioned { value: join(self.value, other.value), as_of, target, origin })
    }

    /// Converts the value.
    pub fn try_map<U>(self, read: impl FnOnce(&T) -> Result<U, Error>) -> ReadResult<U> {
        let value = read(&self.value)?;
        Ok(self.map(|_| value))
    }

    /// The value, and its bounds and origin.
    pub fn split(self) -> (T, Versioned<()>) {
        let Self { value, as_of, target, origin } = self;
        (value, Versioned { value: (), as_of, target, origin })
    }

    /// Replaces the value.
    pub fn map<U>(self, value: impl FnOnce(T) -> U) -> Versioned<U> {
        let Self { value: old, as_of, target, origin } = self;
        Versioned { value: value(old), as_of, target, origin }
    }
}

impl Versioned<()> {
    /// Joins the bounds of a part to those of the parts before it.
    pub fn joined(before: Option<Self>, part: Self) -> ReadResult<()> {
        match before {
            Some(before) => before.with(part, |(), ()| ()),
            None => Ok(part),
        }
    }
}

/// Bounds of a whole: it includes what its oldest part includes, and nothing after the `target` of its newest part.
fn join_bounds(one: (Token, Token), other: (Token, Token)) -> Result<(Token, Token), Error> {
    if one.0.epoch != other.0.epoch {
        return Err(Error::failed("the epoch changed between two parts of an answer"));
    }
    Ok((one.0.min(other.0), one.1.max(other.1)))
}
