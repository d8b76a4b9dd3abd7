//! Questions and answers as plain data, and the trait of their readers. Independent of stores and of the API.

mod checkpoint;
mod counts;
mod error;
mod hops;
mod list_at;
mod lists;
mod outcome;
mod question;
mod read;
mod relations;
mod sets;
mod statement;
mod suggest;
mod versioned;

pub use self::checkpoint::{Checkpoint, FoundCheckpoint, Generation};
pub use self::counts::{Counts, CountsOf};
pub use self::error::Error;
pub use self::hops::{Dependency, MultiHop};
pub use self::list_at::{ListAt, Part};
pub use self::lists::{ListKind, ListRow, Page, PublicList, SeenPage, SeenRow};
pub use self::outcome::Outcome;
pub use self::question::{Question, QuestionName, Scope, places};
pub use self::read::{Answer, Context, Read, ReadItems, Room, Shared, Source};
pub use self::relations::{Check, LINKS, Link, Pair, Relation, Relations, Side};
pub use self::sets::{FOLLOWS_LOOKED_THROUGH, Known, KnownRows, MetRow, Set, Sift, Sifted, Union, United};
pub use self::statement::{Begins, Statement};
pub use self::suggest::{FOLLOWS_OF_EACH, NAMED_BETWEEN, SUGGESTING_FOLLOWS, Suggest, Suggested, Suggestion};
pub use self::versioned::{ReadResult, Versioned};
