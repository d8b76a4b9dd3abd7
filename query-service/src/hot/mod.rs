//! The hot set: answers to frequent questions in this process's memory, kept exact by the events.
//!
//! Each entry is the whole truth about one thing at the position of the recent events: whom an account follows
//! ([`Ids`]), the newest rows of a list ([`Newest`]), or an account's counts. An answer needs one entry, or for counts
//! all of them; it never mixes memory with a store.
//!
//! One task writes: it applies each event, and installs what was loaded. Readers hold a shared lock, and copy what they
//! need of an entry.
//!
//! An entry knows the replica that it was loaded from, and the generation of that replica's repairs. It is valid only
//! while the replica is still of that generation: a repair proves that what was loaded before may be wrong.

mod edit;
mod entry;
mod generation;
mod ids;
pub mod load;
mod newest;
mod set;
mod slots;

pub use self::entry::{Entry, Key, Origin};
pub use self::generation::Generations;
pub use self::ids::Ids;
pub use self::newest::Newest;
pub use self::set::{Figures, HotSet, Refused};
