//! Sets of accounts as arguments: an account and a side, such as `88.followers`.

use std::str::FromStr;

use clap::ValueEnum;
use proto::query::v1::{AccountSet, SetKind, SetOperation};

use crate::ids::{Id, InvalidText};
use crate::text;

/// Operation on two sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Operation {
    /// Accounts in either set
    Union,
    /// Accounts in both sets
    Intersection,
    /// Accounts in the first set and not in the second
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
pub struct SetArg {
    id: Id,
    kind: SetKind,
}

/// Why a text is not a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSet {
    /// Neither `.followers` nor `.following` at the end.
    #[error("must end in .followers or .following")]
    Side,
    /// No id before it.
    #[error("{0} before the dot")]
    Id(InvalidText),
}

impl FromStr for SetArg {
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

impl From<SetArg> for AccountSet {
    fn from(set: SetArg) -> Self {
        Self { user_id: set.id.user().to_string(), kind: set.kind.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_an_account_and_a_side() {
        let set: SetArg = "88.followers".parse().unwrap();
        assert_eq!(set, SetArg { id: "88".parse().unwrap(), kind: SetKind::Followers });
        let wire = AccountSet::from("88.following".parse::<SetArg>().unwrap());
        assert_eq!(wire.kind(), SetKind::Following);
        for text in ["88", "88.fans", "followers", ""] {
            assert_eq!(text.parse::<SetArg>(), Err(InvalidSet::Side), "{text}");
        }
        assert_eq!("x.followers".parse::<SetArg>(), Err(InvalidSet::Id(InvalidText::Neither)));
        assert_eq!(".followers".parse::<SetArg>(), Err(InvalidSet::Id(InvalidText::Empty)));
    }
}
