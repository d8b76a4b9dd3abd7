//! `READ_SOURCE`: the stores that an operator allows for reads.

use std::str::FromStr;

use crate::queries::Source;

/// The stores that reads may use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReadSource {
    /// The read model, and PostgreSQL as a fallback within the budget.
    #[default]
    Auto,
    /// The read model alone.
    Neo4j,
    /// PostgreSQL alone. The budget per second does not apply, because the operator wants this; the limit of concurrent
    /// reads does.
    Postgres,
}

/// An unknown value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be auto, neo4j or postgres")]
pub struct UnknownReadSource;

impl ReadSource {
    /// Name in the setting and in errors.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Neo4j => "neo4j",
            Self::Postgres => "postgres",
        }
    }

    /// True if reads may use the store. Memory is allowed with `auto` only: the others promise a store.
    pub fn allows(self, store: Source) -> bool {
        match self {
            Self::Auto => true,
            Self::Neo4j => store == Source::Neo4j,
            Self::Postgres => store == Source::Postgres,
        }
    }
}

impl FromStr for ReadSource {
    type Err = UnknownReadSource;

    fn from_str(text: &str) -> Result<Self, UnknownReadSource> {
        match text {
            "auto" => Ok(Self::Auto),
            "neo4j" => Ok(Self::Neo4j),
            "postgres" => Ok(Self::Postgres),
            _ => Err(UnknownReadSource),
        }
    }
}
