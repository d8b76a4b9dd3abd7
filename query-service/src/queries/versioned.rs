//! A value, the revisions that it lies between, and how it came about.

use proto::Token;

use super::{Error, Statement};

/// What a store gave, or why it gave nothing.
pub type ReadResult<T> = Result<Versioned<T>, Error>;

/// A value, and the revisions that it lies between.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versioned<T> {
    /// The value.
    pub value: T,
    /// Every change up to here is in it. Single later changes may be, up to `target`.
    pub as_of: Token,
    /// No later change is in it. The same as `as_of` where the value is of one revision.
    pub target: Token,
    /// How it came about.
    pub origin: Origin,
}

/// How a value came about, for those who ask.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// Its `as_of` before recent events were applied to it; none if none could be.
    pub store_as_of: Option<Token>,
    /// How many recent events changed it.
    pub overlaid_events: u32,
    /// The statement that gave it, if other questions share that; the last one if there were several.
    pub statement: Option<Statement>,
}

impl<T> Versioned<T> {
    /// A value of exactly one revision.
    pub fn exact(value: T, as_of: Token) -> Self {
        Self::between(value, as_of, as_of)
    }

    /// A value that holds all up to `as_of`, and perhaps something up to `target`.
    pub fn between(value: T, as_of: Token, target: Token) -> Self {
        Self { value, as_of, target, origin: Origin::default() }
    }

    /// The revisions that the value lies between.
    pub fn bounds(&self) -> (Token, Token) {
        (self.as_of, self.target)
    }

    /// Both values in one, between the revisions that either lies between.
    pub fn with<U, V>(self, other: Versioned<U>, join: impl FnOnce(T, U) -> V) -> ReadResult<V> {
        let (as_of, target) = join_bounds(self.bounds(), other.bounds())?;
        Ok(Versioned { value: join(self.value, other.value), as_of, target, origin: self.origin })
    }

    /// The same with what is read from the value.
    pub fn try_map<U>(self, read: impl FnOnce(&T) -> Result<U, Error>) -> ReadResult<U> {
        let value = read(&self.value)?;
        Ok(self.map(|_| value))
    }

    /// The same with another value.
    pub fn map<U>(self, value: impl FnOnce(T) -> U) -> Versioned<U> {
        let Self { value: old, as_of, target, origin } = self;
        Versioned { value: value(old), as_of, target, origin }
    }
}

/// The revisions that a whole lies between: it holds what its oldest part holds, and nothing beyond what its newest part
/// may hold.
pub fn join_bounds(one: (Token, Token), other: (Token, Token)) -> Result<(Token, Token), Error> {
    if one.0.epoch != other.0.epoch {
        return Err(Error::failed("the epoch changed between two parts of an answer"));
    }
    Ok((one.0.min(other.0), one.1.max(other.1)))
}
