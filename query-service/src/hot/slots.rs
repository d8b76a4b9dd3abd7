//! Entries by key, within a limit of bytes. Eviction is CLOCK, with a second chance for each entry that was used
//! (Corbató, "A Paging Experiment with the Multics System", 1968).

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Entry, Key, Origin};

/// Slots that the hand passes over before it takes the next one in any case.
const MOST_STEPS: usize = 32;
/// An entry takes at most this fraction of the limit.
const LARGEST_FRACTION: usize = 8;
/// There is at most one entry for this number of bytes of the limit.
const BYTES_PER_ENTRY: usize = 1_024;

#[derive(Debug)]
struct Slot {
    key: Key,
    entry: Entry,
    origin: Origin,
    /// A reader used it. Readers share the lock, so they cannot do more than mark it.
    used: AtomicBool,
}

#[derive(Debug)]
pub struct Slots {
    limit: usize,
    places: HashMap<Key, u32>,
    slots: Vec<Slot>,
    hand: usize,
    bytes: usize,
    evicted: u64,
}

impl Slots {
    /// Reserves the table at once, at most half full: a table that grows moves all its keys while readers wait.
    pub fn new(limit: usize) -> Self {
        let places = HashMap::with_capacity(2 * (limit / BYTES_PER_ENTRY));
        let bytes = table_bytes(&places);
        let slots = Vec::with_capacity(limit / BYTES_PER_ENTRY);
        Self { limit, places, slots, hand: 0, bytes, evicted: 0 }
    }

    /// Replaces all entries by none, and returns them: freeing them takes long.
    pub fn clear(&mut self) -> Self {
        let empty = Self { evicted: self.evicted, ..Self::new(self.limit) };
        std::mem::replace(self, empty)
    }

    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Memory of the entries and of the table.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Entries that made room for others, since the start.
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Largest number of bytes on the heap of an entry.
    pub fn largest(&self) -> usize {
        (self.limit / LARGEST_FRACTION).saturating_sub(size_of::<Slot>())
    }

    /// The entry of a key, and where it was loaded from.
    pub fn peek(&self, key: Key) -> Option<(&Entry, Origin)> {
        let slot = self.slot(key)?;
        Some((&slot.entry, slot.origin))
    }

    /// Marks an entry as used.
    pub fn mark(&self, key: Key) {
        // Most uses find the mark set, and need not write to memory that other processors read.
        if let Some(slot) = self.slot(key).filter(|slot| !slot.used.load(Ordering::Relaxed)) {
            slot.used.store(true, Ordering::Relaxed);
        }
    }

    fn slot(&self, key: Key) -> Option<&Slot> {
        self.slots.get(*self.places.get(&key)? as usize)
    }

    /// Adds or replaces an entry; false if it is too large.
    pub fn put(&mut self, key: Key, entry: Entry, origin: Origin) -> bool {
        if entry.heap() > self.largest() {
            return false;
        }
        self.remove(key);
        let slot = Slot { key, entry, origin, used: AtomicBool::new(false) };
        let weight = weight(&slot);
        while self.bytes + weight > self.limit || self.len() >= self.limit / BYTES_PER_ENTRY {
            if !self.evict() {
                return false;
            }
        }
        self.bytes += weight;
        // Far below 2^32.
        self.places.insert(key, u32::try_from(self.slots.len()).unwrap_or(u32::MAX));
        self.slots.push(slot);
        true
    }

    /// Changes an entry, if there is one. Call [`Self::fit`] afterwards: it may have grown.
    pub fn edit<T>(&mut self, key: Key, edit: impl FnOnce(&mut Entry) -> T) -> Option<T> {
        let slot = self.slots.get_mut(*self.places.get(&key)? as usize)?;
        let before = weight(slot);
        let outcome = edit(&mut slot.entry);
        self.bytes = self.bytes - before + weight(slot);
        Some(outcome)
    }

    /// Removes entries until the rest is within the limit.
    pub fn fit(&mut self) {
        while self.bytes > self.limit && self.evict() {}
    }

    pub fn remove(&mut self, key: Key) {
        if let Some(place) = self.places.get(&key) {
            self.vacate(*place as usize);
        }
    }

    /// Removes an entry that was not used lately; false if there is none.
    fn evict(&mut self) -> bool {
        for step in 1..=MOST_STEPS {
            self.hand = if self.hand + 1 < self.slots.len() { self.hand + 1 } else { 0 };
            let Some(slot) = self.slots.get(self.hand) else { return false };
            if step == MOST_STEPS || !slot.used.swap(false, Ordering::Relaxed) {
                break;
            }
        }
        self.vacate(self.hand);
        self.evicted += 1;
        true
    }

    /// Removes the entry at a place; the last one takes the place.
    fn vacate(&mut self, place: usize) {
        let gone = self.slots.swap_remove(place);
        self.bytes -= weight(&gone);
        self.places.remove(&gone.key);
        if let Some(moved) = self.slots.get(place) {
            self.places.insert(moved.key, u32::try_from(place).unwrap_or(u32::MAX));
        }
    }
}

/// An empty slot is used again for the next entry, so its memory counts with the entry.
fn weight(slot: &Slot) -> usize {
    size_of::<Slot>() + slot.entry.heap()
}

/// Memory of a table that is never fuller than seven eighths, with one byte more for each place.
fn table_bytes(places: &HashMap<Key, u32>) -> usize {
    places.capacity() * 8 / 7 * (size_of::<(Key, u32)>() + 1)
}

#[cfg(test)]
mod tests {
    use proto::UserId;
    use uuid::Uuid;

    use super::super::Ids;
    use super::*;
    use crate::queries::Generation;

    const LIMIT: usize = 64 << 10;

    fn key(number: u128) -> Key {
        Key::Ids(UserId::new(Uuid::from_u128(number + 1)).expect("not nil"))
    }

    fn entry(ids: u128) -> Entry {
        let ids = (0..ids).map(|n| UserId::new(Uuid::from_u128(n + 1)).expect("not nil"));
        Entry::Ids(Ids::new(ids.collect()).expect("it fits"))
    }

    fn put(slots: &mut Slots, number: u128, ids: u128) -> bool {
        let origin = Origin { replica: 0, generation: Generation::new(0).expect("not negative") };
        let is_in = slots.put(key(number), entry(ids), origin);
        assert!(slots.bytes() <= LIMIT, "{}", slots.bytes());
        is_in
    }

    #[test]
    fn what_is_used_stays_and_the_limit_holds() {
        let mut slots = Slots::new(LIMIT);
        for number in 0..1_000 {
            slots.mark(key(0));
            assert!(put(&mut slots, number, 30));
        }
        assert!(slots.peek(key(0)).is_some());
        assert!(slots.peek(key(1)).is_none());
        assert_eq!(slots.len() as u64 + slots.evicted(), 1_000);
    }

    #[test]
    fn if_everything_is_used_something_goes() {
        let mut slots = Slots::new(LIMIT);
        for number in 0..1_000 {
            assert!(put(&mut slots, number, 30));
            for used in 0..=number {
                slots.mark(key(used));
            }
        }
    }

    #[test]
    fn an_entry_that_grows_makes_others_go() {
        let mut slots = Slots::new(LIMIT);
        (0..100).for_each(|number| assert!(put(&mut slots, number, 30)));
        slots.edit(key(99), |grown| *grown = entry(2_000));
        slots.fit();
        assert!(slots.bytes() <= LIMIT, "{}", slots.bytes());
        let empty = Slots::new(LIMIT).bytes();
        assert!(empty < LIMIT / 4, "{empty}");
        let gone = slots.clear();
        assert!(gone.len() > 0);
        assert_eq!((slots.len(), slots.bytes()), (0, empty));
    }

    #[test]
    fn a_large_entry_and_any_without_a_limit_are_refused() {
        assert!(!put(&mut Slots::new(LIMIT), 0, 2_000));
        assert!(!put(&mut Slots::new(0), 0, 1));
    }
}
