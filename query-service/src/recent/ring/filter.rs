//! Which events a watch wants.

use proto::UserId;
use proto::event::Verb;

/// Which events a watch wants; an empty list wants all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Commands.
    pub verbs: Vec<Verb>,
    /// Who caused it.
    pub actors: Vec<UserId>,
    /// Where an edge ends.
    pub targets: Vec<UserId>,
}

impl Filter {
    /// Sorted, as [`Self::wants`] needs it, and each verb once: there are few, however often one is named.
    #[must_use]
    pub fn sorted(mut self) -> Self {
        self.verbs.sort_unstable();
        self.verbs.dedup();
        self.actors.sort_unstable();
        self.targets.sort_unstable();
        self
    }

    /// True if such an event is wanted.
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
