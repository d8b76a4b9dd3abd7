//! Answers from this process's memory, before a store is chosen.

use std::sync::Arc;

use proto::Token;

use crate::hot::HotSet;
use crate::queries::{
    Answer, Check, Counts, CountsOf, Known, ListAt, ListRow, Page, Question, Relations, SeenPage, Sift,
    Source, Suggest, Union,
};
use crate::recent::Recent;

/// The memory of this process.
#[derive(Clone, Debug)]
pub struct Memory {
    pub recent: Arc<Recent>,
}

impl Memory {
    /// An answer of the hot set, at its position. The lock is held meanwhile.
    fn hot<T>(&self, answer: impl FnOnce(&HotSet) -> Option<T>) -> Option<Answer<T>> {
        let world = self.recent.world();
        let (as_of, hot): (Token, _) = world.hot()?;
        Some(Answer { value: answer(hot)?, as_of, source: Source::Memory })
    }
}

/// A question that can be answered from memory.
pub trait FromMemory: Question {
    /// The exact answer at the position of the memory; `None` if the memory does not contain all of it. It must not
    /// block: it runs for every read, before a replica is chosen.
    fn answer_from_memory(&self, _: &Memory) -> Option<Answer<Self::Answer>> {
        None
    }
}

impl FromMemory for Check {
    fn answer_from_memory(&self, memory: &Memory) -> Option<Answer<Vec<bool>>> {
        memory.hot(|hot| hot.check(self.viewer, &self.targets))
    }
}

impl FromMemory for CountsOf {
    fn answer_from_memory(&self, memory: &Memory) -> Option<Answer<Vec<Counts>>> {
        memory.hot(|hot| hot.counts(&self.users))
    }
}

impl FromMemory for Page {
    fn answer_from_memory(&self, memory: &Memory) -> Option<Answer<Vec<ListRow>>> {
        let list = self.kind.public()?;
        memory.hot(|hot| hot.page(list, self.user, self.before, self.limit))
    }
}

// What these need is not kept.
impl FromMemory for Relations {}
impl FromMemory for SeenPage {}
impl FromMemory for ListAt {}
impl FromMemory for Sift {}
impl FromMemory for Known {}
impl FromMemory for Union {}
impl FromMemory for Suggest {}
