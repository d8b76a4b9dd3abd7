//! The complete set of accounts that one account follows.

use proto::UserId;

use super::edit::{Differs, Edited, capacity_for};

/// A larger set is not kept: an insert in its middle would move too much.
const MAX_IDS: usize = 16_384;

/// Sorted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ids(Vec<UserId>);

impl Ids {
    /// From ids in any order; `None` if they are too many.
    pub fn new(mut ids: Vec<UserId>) -> Option<Self> {
        ids.sort_unstable();
        ids.dedup();
        if ids.len() > MAX_IDS {
            return None;
        }
        let mut sorted = Vec::with_capacity(capacity_for(ids.len()));
        sorted.append(&mut ids);
        Some(Self(sorted))
    }

    /// Maximum number of ids of a set that takes at most this number of bytes.
    pub fn most(bytes: usize) -> usize {
        MAX_IDS.min((bytes / size_of::<UserId>() * 8 / 9).saturating_sub(8))
    }

    pub(super) fn contains(&self, user: UserId) -> bool {
        self.0.binary_search(&user).is_ok()
    }

    pub(super) fn put(&mut self, user: UserId) -> Result<Edited, Differs> {
        let Err(place) = self.0.binary_search(&user) else { return Err(Differs) };
        if self.0.len() == MAX_IDS {
            return Ok(Edited::full());
        }
        if self.0.len() == self.0.capacity() {
            self.0.reserve_exact(capacity_for(self.0.len()) - self.0.len());
        }
        self.0.insert(place, user);
        Ok(self.moved(place))
    }

    pub(super) fn take(&mut self, user: UserId) -> Result<Edited, Differs> {
        let Ok(place) = self.0.binary_search(&user) else { return Err(Differs) };
        self.0.remove(place);
        Ok(self.moved(place))
    }

    fn moved(&self, place: usize) -> Edited {
        Edited::moved((self.0.len() - place) * size_of::<UserId>())
    }

    pub(super) fn heap(&self) -> usize {
        self.0.capacity() * size_of::<UserId>()
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn ids(numbers: std::ops::Range<usize>) -> Vec<UserId> {
        numbers.map(|n| UserId::new(Uuid::from_u128(n as u128 + 1)).expect("not nil")).collect()
    }

    #[test]
    fn a_set_that_is_too_large_is_not_kept() {
        assert_eq!(Ids::new(ids(0..MAX_IDS + 1)), None);
        let mut largest = Ids::new(ids(0..MAX_IDS)).expect("it fits");
        assert_eq!(largest.put(ids(MAX_IDS..MAX_IDS + 1)[0]), Ok(Edited::full()));
    }

    #[test]
    fn a_set_that_should_fit_does() {
        for bytes in [0, 16, 128, 1_000, 8_000, 200_000] {
            let set = Ids::new(ids(0..Ids::most(bytes))).expect("not too large");
            assert!(Ids::most(bytes) == 0 || set.heap() <= bytes, "{} of {bytes}", set.heap());
        }
    }

    #[test]
    fn an_id_that_is_there_twice_counts_once() {
        let mut set = Ids::new([ids(0..3), ids(1..2)].concat()).expect("it fits");
        set.take(ids(1..2)[0]).expect("it is there");
        assert!(!set.contains(ids(1..2)[0]));
    }

    #[test]
    fn ids_are_small_while_the_set_grows() {
        let mut set = Ids::new(ids(0..1_000)).expect("it fits");
        for (number, user) in ids(1_000..4_000).into_iter().enumerate() {
            set.put(user).expect("a new one");
            let held = 1_001 + number;
            assert!(set.heap() < 20 * held, "{} for {held}", set.heap());
        }
    }

    #[test]
    fn an_event_that_does_not_fit_differs() {
        let mut set = Ids::new(ids(0..9)).expect("it fits");
        assert_eq!(set.put(ids(3..4)[0]), Err(Differs));
        assert_eq!(set.take(ids(9..10)[0]), Err(Differs));
    }
}
