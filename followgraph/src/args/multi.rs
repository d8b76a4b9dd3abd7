//! Arguments of the commands that look over more than one hop.
//!
//! Owns their flags, and the form of a set: an account and a side, as in `88.followers`. It must not know what is done
//! with them. What can go wrong: a text that is not of that form.

use std::str::FromStr;

use clap::{Args as Group, ValueEnum};
use proto::query::v1::{AccountSet, SetKind, SetOperation};

use super::FreshArgs;
use crate::ids::{Id, InvalidText};
use crate::text;

/// How much of a list.
#[derive(Debug, Group)]
pub struct PartArgs {
    /// How many rows
    #[arg(long, value_name = "ROWS", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: u64,
    /// The whole list
    #[arg(long, conflicts_with = "limit")]
    pub all: bool,
    /// Rows a call, 1 to 1,000; by default as many as are wanted
    #[arg(long, value_name = "ROWS", value_parser = clap::value_parser!(i32).range(1..=1000))]
    pub page_size: Option<i32>,
    /// Go on behind an earlier answer of the same list, which told this token
    #[arg(long, value_name = "TOKEN", default_value = "", hide_default_value = true,
          allow_hyphen_values = true, value_parser = text::argument)]
    pub page_token: String,
    /// How fresh the answer must be, and whether it is explained.
    #[command(flatten)]
    pub fresh: FreshArgs,
}

/// Whose known followers.
#[derive(Debug, Group)]
pub struct KnownArgs {
    /// Who looks
    pub viewer: Id,
    /// Whose followers
    pub target: Id,
    /// How much of the list.
    #[command(flatten)]
    pub part: PartArgs,
}

/// How two sets are put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Operation {
    /// Those in either
    Union,
    /// Those in both
    Intersection,
    /// Those in the first and not in the second
    Difference,
}

impl From<Operation> for SetOperation {
    fn from(operation: Operation) -> Self {
        match operation {
            Operation::Union => Self::Union,
            Operation::Intersection => Self::Intersection,
            Operation::Difference => Self::Difference,
        }
    }
}

/// A set of accounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetOf {
    id: Id,
    kind: SetKind,
}

/// Why a text is not a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSet {
    /// No side.
    #[error("must end in .followers or .following")]
    Side,
    /// No account before it.
    #[error("{0} before the dot")]
    Id(InvalidText),
}

impl FromStr for SetOf {
    type Err = InvalidSet;

    fn from_str(text: &str) -> Result<Self, InvalidSet> {
        let (id, side) = text::trimmed(text).rsplit_once('.').ok_or(InvalidSet::Side)?;
        let kind = match side {
            "followers" => SetKind::Followers,
            "following" => SetKind::Following,
            _ => return Err(InvalidSet::Side),
        };
        Ok(Self { id: id.parse().map_err(InvalidSet::Id)?, kind })
    }
}

impl From<SetOf> for AccountSet {
    fn from(set: SetOf) -> Self {
        Self { user_id: set.id.user().to_string(), kind: set.kind.into() }
    }
}

/// Which sets, put together how.
#[derive(Debug, Group)]
pub struct SetArgs {
    /// How
    #[arg(value_enum)]
    pub operation: Operation,
    /// The first set, such as 88.followers
    pub first: SetOf,
    /// The second set, such as 99.following
    pub second: SetOf,
    /// How much of the list.
    #[command(flatten)]
    pub part: PartArgs,
}

/// For whom.
#[derive(Debug, Group)]
pub struct SuggestArgs {
    /// For whom
    pub viewer: Id,
    /// How many, at most 100
    #[arg(long, value_name = "ROWS", default_value_t = 20, value_parser = clap::value_parser!(i32).range(1..=100))]
    pub limit: i32,
    /// How fresh the answer must be, and whether it is explained.
    #[command(flatten)]
    pub fresh: FreshArgs,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_an_account_and_a_side() {
        let set: SetOf = "88.followers".parse().unwrap();
        assert_eq!(set, SetOf { id: "88".parse().unwrap(), kind: SetKind::Followers });
        let wire = AccountSet::from("88.following".parse::<SetOf>().unwrap());
        assert_eq!(wire.kind(), SetKind::Following);
        for text in ["88", "88.fans", "followers", ""] {
            assert_eq!(text.parse::<SetOf>(), Err(InvalidSet::Side), "{text}");
        }
        assert_eq!("x.followers".parse::<SetOf>(), Err(InvalidSet::Id(InvalidText::Neither)));
        assert_eq!(".followers".parse::<SetOf>(), Err(InvalidSet::Id(InvalidText::Empty)));
    }
}
