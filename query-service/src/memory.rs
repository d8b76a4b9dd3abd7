//! Answers from what this process remembers, before any store is chosen.

use std::sync::Arc;

use crate::queries::{
    Answer, Check, CountsOf, Known, ListAt, Page, Question, Relations, SeenPage, Sift, Suggest, Union,
};
use crate::recent::Recent;

/// What this process remembers.
#[derive(Clone, Debug)]
pub struct Memory {
    /// The recent events, and how far they were read.
    pub recent: Arc<Recent>,
}

/// A question that memory may answer.
pub trait FromMemory: Question {
    /// The exact answer at the position of the memory; `None` if that does not hold all of it. It must not wait: it runs
    /// for every read, before a replica is chosen.
    fn answer_from_memory(&self, _: &Memory) -> Option<Answer<Self::Answer>> {
        None
    }
}

// Events tell what has changed; none of these can be answered from changes alone.
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
