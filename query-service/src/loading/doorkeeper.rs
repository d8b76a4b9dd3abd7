//! Lets in what was missed twice among the last 16,384 to 32,768 misses: most accounts are read once, and would displace
//! those that are read often (the doorkeeper of TinyLFU: Einziger, Friedman and Manes, ACM Transactions on Storage 13,
//! 2017).

use std::hash::{BuildHasher as _, RandomState};

use parking_lot::Mutex;

use crate::hot::Key;

/// Places for keys, directly mapped.
const PLACES: usize = 1 << 15;
/// After this number of misses the older half of what is remembered is forgotten.
const WINDOW: usize = 1 << 14;

/// Remembers the keys of the last misses: between one and two windows of them.
#[derive(Debug, Default)]
pub struct Doorkeeper {
    hasher: RandomState,
    seen: Mutex<Seen>,
}

#[derive(Debug)]
struct Seen {
    newer: Vec<u64>,
    older: Vec<u64>,
    misses: usize,
}

impl Default for Seen {
    fn default() -> Self {
        Self { newer: vec![0; PLACES], older: vec![0; PLACES], misses: 0 }
    }
}

impl Doorkeeper {
    /// Records a miss; true unless it is the first one of the key lately.
    pub fn lets_in(&self, key: Key) -> bool {
        // Zero marks an empty place.
        let hash = self.hasher.hash_one(key).max(1);
        let place = usize::try_from(hash % PLACES as u64).unwrap_or(0);
        let mut seen = self.seen.lock();
        seen.misses += 1;
        if seen.misses > WINDOW {
            seen.misses = 0;
            let Seen { newer, older, .. } = &mut *seen;
            std::mem::swap(newer, older);
            newer.fill(0);
        }
        let is_known = seen.newer[place] == hash || seen.older[place] == hash;
        seen.newer[place] = hash;
        is_known
    }
}

#[cfg(test)]
mod tests {
    use proto::UserId;
    use uuid::Uuid;

    use super::*;

    fn key(number: u128) -> Key {
        Key::Counts(UserId::new(Uuid::from_u128(number + 1)).expect("not nil"))
    }

    #[test]
    fn the_second_miss_is_let_in() {
        let doorkeeper = Doorkeeper::default();
        assert!(!doorkeeper.lets_in(key(1)));
        assert!(doorkeeper.lets_in(key(1)));
    }

    #[test]
    fn a_scan_is_kept_out_and_what_is_rare_is_forgotten() {
        let doorkeeper = Doorkeeper::default();
        assert!(!doorkeeper.lets_in(key(0)));
        let scan = 1..=2 * WINDOW as u128 + 1;
        assert_eq!(scan.filter(|number| doorkeeper.lets_in(key(*number))).count(), 0);
        assert!(!doorkeeper.lets_in(key(0)));
    }
}
