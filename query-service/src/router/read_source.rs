//! `READ_SOURCE`: which stores an operator lets reads come from.

use std::str::FromStr;

use crate::queries::Source;

/// Which stores reads may come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReadSource {
    /// The read model, and the source of truth where it cannot answer, within the budget.
    #[default]
    Auto,
    /// The read model alone.
    Neo4j,
    /// The source of truth alone. It is what the operator wants, so the budget per second does not count; the limit of
    /// reads at a time does.
    Postgres,
}

/// A name that is none of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be auto, neo4j or postgres")]
pub struct UnknownReadSource;

impl ReadSource {
    /// Its name in the setting and in errors.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Neo4j => "neo4j",
            Self::Postgres => "postgres",
        }
    }

    /// Whether reads may come from there.
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
