//! Filters of watches.

use proto::UserId;
use proto::event::Verb;

/// The filter of a watch; an empty list matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    pub verbs: Vec<Verb>,
    /// Accounts that act.
    pub actors: Vec<UserId>,
    /// Accounts at the end of an edge.
    pub targets: Vec<UserId>,
}

impl Filter {
    /// Sorted, as [`Self::wants`] requires, and without duplicates.
    #[must_use]
    pub fn sorted(mut self) -> Self {
        self.verbs.sort_unstable();
        self.verbs.dedup();
        self.actors.sort_unstable();
        self.targets.sort_unstable();
        self
    }

    /// True if the filter matches an event.
    pub fn wants(
        &self,
        verb: Verb,
        actor: Option<UserId>,
        mut targets: impl Iterator<Item = UserId>,
    ) -> bool {
        (self.verbs.is_empty() || self.verbs.contains(&verb))
            && (self.actors.is_empty()
                || actor.is_some_and(|actor| self.actors.binary_search(&actor).is_ok()))
            && (self.targets.is_empty() || targets.any(|target| self.targets.binary_search(&target).is_ok()))
    }
}
