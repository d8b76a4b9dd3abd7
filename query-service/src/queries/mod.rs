//! What can be asked of a store, and what it answers.
//!
//! Plain data, and the traits of those who answer: a [`Question`] puts itself to any [`Reader`]. It must not know any store,
//! gRPC, or which reader is asked.

mod checkpoint;
mod multi;
mod question;
mod reader;
mod rows;

pub use self::checkpoint::{Checkpoint, FoundCheckpoint};
pub use self::multi::{
    Dependency, FOLLOWS_LOOKED_THROUGH, FOLLOWS_OF_EACH, Known, KnownRows, ListAt, MetRow, MultiReader,
    NAMED_BETWEEN, Part, SUGGESTING_FOLLOWS, Set, Sift, Sifted, Suggest, Suggested, Suggestion, Union,
    United,
};
pub use self::question::{Check, CountsOf, Page, Question, Relations, Scope, SeenPage, places};
pub use self::reader::{Begins, Error, Reader, Source, Statement};
pub use self::rows::{
    Counts, LINKS, Link, ListKind, ListRow, PublicList, Relation, SeenRow, Side, Versioned,
};
