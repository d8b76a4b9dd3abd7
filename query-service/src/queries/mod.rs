//! What can be asked of a store, and what it answers.
//!
//! Plain data, and the traits of those who answer: a [`Question`] puts itself to any [`Reader`]. It must not know any store,
//! gRPC, or which reader is asked.

mod checkpoint;
mod checks;
mod counts;
mod error;
mod hops;
mod list_at;
mod lists;
mod question;
mod reader;
mod relations;
mod sets;
mod statement;
mod suggest;
mod versioned;

pub use self::checkpoint::{Checkpoint, FoundCheckpoint};
pub use self::checks::Check;
pub use self::counts::{Counts, CountsOf};
pub use self::error::Error;
pub use self::hops::Dependency;
pub use self::list_at::{ListAt, Part};
pub use self::lists::{ListKind, ListRow, Page, PublicList, SeenPage, SeenRow};
pub use self::question::{Question, Scope, places};
pub use self::reader::{MultiReader, Reader, Source};
pub use self::relations::{LINKS, Link, Relation, Relations, Side};
pub use self::sets::{FOLLOWS_LOOKED_THROUGH, Known, KnownRows, MetRow, Set, Sift, Sifted, Union, United};
pub use self::statement::{Begins, Statement};
pub use self::suggest::{FOLLOWS_OF_EACH, NAMED_BETWEEN, SUGGESTING_FOLLOWS, Suggest, Suggested, Suggestion};
pub use self::versioned::Versioned;
