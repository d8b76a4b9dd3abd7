//! The projectors heard of, for the status.
//!
//! Owns: the last announcement of each. It must not decide anything: names come from the network.
//! What can go wrong: a stranger announces many names; the roster has a limit.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use proto::events::v1::ProjectorAnnouncement;
use tokio::time::Instant;

/// A projector is forgotten after this time.
const MEMORY: Duration = Duration::from_secs(60);
/// Far above any number of replicas.
const LIMIT: usize = 64;

/// A projector's last word.
#[derive(Clone, Debug)]
pub struct Announcement {
    /// What it said.
    pub said: ProjectorAnnouncement,
    at: Instant,
}

/// The projectors heard of in the last minute.
#[derive(Debug, Default)]
pub struct Roster(Mutex<BTreeMap<String, Announcement>>);

impl Roster {
    /// A projector announced itself.
    pub fn heard(&self, said: ProjectorAnnouncement, now: Instant) {
        // Whole at any time: no code that could panic runs under the lock.
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, last| now.saturating_duration_since(last.at) < MEMORY);
        if known.len() < LIMIT || known.contains_key(&said.name) {
            known.insert(said.name.clone(), Announcement { said, at: now });
        }
    }

    /// The last word of each, by name.
    pub fn list(&self, now: Instant) -> Vec<Announcement> {
        // As above.
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.values().filter(|last| now.saturating_duration_since(last.at) < MEMORY).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> ProjectorAnnouncement {
        ProjectorAnnouncement { name: name.to_owned(), ..Default::default() }
    }

    #[test]
    fn projectors_are_forgotten_after_a_minute() {
        let now = Instant::now();
        let roster = Roster::default();
        roster.heard(named("projector-0"), now);
        roster.heard(named("projector-1"), now + MEMORY / 2);
        let names = |now| roster.list(now).into_iter().map(|a| a.said.name).collect::<Vec<_>>();
        assert_eq!(names(now + MEMORY / 2), ["projector-0", "projector-1"]);
        assert_eq!(names(now + MEMORY), ["projector-1"]);
    }

    #[test]
    fn strangers_cannot_fill_the_memory() {
        let now = Instant::now();
        let roster = Roster::default();
        for number in 0..1_000 {
            roster.heard(named(&format!("stranger-{number}")), now);
        }
        assert_eq!(roster.list(now).len(), LIMIT);
    }
}
