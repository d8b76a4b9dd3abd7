//! Answers from this process's memory, before a store is chosen.

use std::sync::Arc;

use crate::queries::{
    Answer, Check, CountsOf, Known, ListAt, Page, Question, Relations, SeenPage, Sift, Suggest, Union,
};
use crate::recent::Recent;

/// The memory of this process.
#[derive(Clone, Debug)]
pub struct Memory {
    pub recent: Arc<Recent>,
}

/// A question that can be answered from memory.
pub trait FromMemory: Question {
    /// The exact answer at the position of the memory; `None` if the memory does not contain all of it. It must not
    /// block: it runs for every read, before a replica is chosen.
    fn answer_from_memory(&self, _: &Memory) -> Option<Answer<Self::Answer>> {
        None
    }
}

// Events contain changes only; none of these questions can be answered from changes alone.
impl FromMemory for Check {}
impl FromMemory for Relations {}
impl FromMemory for CountsOf {}
impl FromMemory for Page {}
impl FromMemory for SeenPage {}
impl FromMemory for ListAt {}
impl FromMemory for Sift {}
impl FromMemory for Known {}
impl FromMemory for Union {}
impl FromMemory for Suggest {}
