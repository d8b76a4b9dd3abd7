//! The set of all entries: look-ups, installation, events.

use std::collections::HashMap;

use proto::event::{EdgeChange, EdgeKind, EdgeOp, Event};
use proto::{Position, UserId, timestamp};

use super::edit::{Differs, Edited};
use super::slots::Slots;
use super::{Entry, Generations, Ids, Key, Newest, Origin};
use crate::queries::{Counts, ListRow, PublicList};

/// An event that changes one entry more often than this drops it instead.
const MOST_CHANGES: usize = 64;
/// Bytes of entries that one event may move; after that, the entries that it changes are dropped. Readers wait
/// meanwhile.
const MOST_MOVED: usize = 1 << 20;

/// Figures for metrics: sizes, and counts since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    pub entries: usize,
    /// Memory of the entries and of their table.
    pub bytes: usize,
    /// Entries that made room for others.
    pub evicted: u64,
    /// Entries that an event contradicted.
    pub differences: u64,
}

/// Why an entry was not installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Its replica was repaired meanwhile, or a valid entry reaches down as far.
    Outdated,
    TooLarge,
}

#[derive(Debug)]
pub struct HotSet {
    /// False while the set is being changed: after a panic half-way it answers nothing.
    whole: bool,
    slots: Slots,
    generations: Generations,
    differences: u64,
}

impl HotSet {
    /// Holds up to `limit` bytes; with 0 it stays empty.
    pub fn new(limit: usize, generations: Generations) -> Self {
        Self { whole: true, slots: Slots::new(limit), generations, differences: 0 }
    }

    /// Removes all entries, and returns them: free them after the lock is released.
    pub fn clear(&mut self) -> Slots {
        self.whole = false;
        let gone = self.slots.clear();
        self.whole = true;
        gone
    }

    pub fn figures(&self) -> Figures {
        let (entries, bytes, evicted) = (self.slots.len(), self.slots.bytes(), self.slots.evicted());
        Figures { entries, bytes, evicted, differences: self.differences }
    }

    /// True if the key has a valid entry.
    pub fn has(&self, key: Key) -> bool {
        self.peek(key).is_some()
    }

    /// Maximum number of ids of a set.
    pub fn max_ids(&self) -> usize {
        Ids::most(self.slots.largest())
    }

    /// Whether the viewer follows each target.
    pub fn check(&self, viewer: UserId, targets: &[UserId]) -> Option<Vec<bool>> {
        let Entry::Ids(ids) = self.get(Key::Ids(viewer))? else { return None };
        Some(targets.iter().map(|target| ids.contains(*target)).collect())
    }

    /// The counts of each account.
    pub fn counts(&self, users: &[UserId]) -> Option<Vec<Counts>> {
        let counts = |user: &UserId| match self.get(Key::Counts(*user))? {
            Entry::Counts(counts) => Some(**counts),
            Entry::Ids(_) | Entry::Newest(_) => None,
        };
        users.iter().map(counts).collect()
    }

    /// The next `limit` rows of a list below a position.
    pub fn page(
        &self,
        list: PublicList,
        user: UserId,
        before: Option<Position>,
        limit: usize,
    ) -> Option<Vec<ListRow>> {
        self.newest(list, user)?.page(before, limit)
    }

    fn newest(&self, list: PublicList, user: UserId) -> Option<&Newest> {
        match self.get(Key::Newest(user, list))? {
            Entry::Newest(newest) => Some(newest),
            Entry::Ids(_) | Entry::Counts(_) => None,
        }
    }

    fn get(&self, key: Key) -> Option<&Entry> {
        let entry = self.peek(key)?;
        self.slots.mark(key);
        Some(entry)
    }

    fn peek(&self, key: Key) -> Option<&Entry> {
        let (entry, origin) = self.slots.peek(key).filter(|_| self.whole)?;
        self.is_valid(origin).then_some(entry)
    }

    fn is_valid(&self, origin: Origin) -> bool {
        self.generations.get(origin.replica) == Some(origin.generation)
    }

    /// Adds an entry that is the truth at the position of the recent events.
    pub fn install(&mut self, key: Key, entry: Entry, origin: Origin) -> Result<(), Refused> {
        let is_narrower = match (self.peek(key), &entry) {
            (Some(Entry::Newest(old)), Entry::Newest(new)) => old.is_as_wide_as(new),
            _ => false,
        };
        if is_narrower || !self.is_valid(origin) {
            return Err(Refused::Outdated);
        }
        self.whole = false;
        let is_in = self.slots.put(key, entry, origin);
        self.whole = true;
        if is_in { Ok(()) } else { Err(Refused::TooLarge) }
    }

    /// Applies the next event. Returns the number of valid entries that it contradicted; they are removed.
    pub fn apply(&mut self, event: &Event) -> usize {
        if self.slots.len() == 0 {
            return 0;
        }
        self.whole = false;
        let crowded = self.crowded(event);
        let (mut moved, mut differences) = (0, 0);
        for change in follows(event) {
            for (key, row) in entries_of(change) {
                let drop = moved > MOST_MOVED || crowded.get(&key).is_some_and(|n| *n > MOST_CHANGES);
                match self.edit(key, change.op, row, drop) {
                    Ok(bytes) => moved += bytes,
                    Err(Differs) => {
                        // One from before a repair is expected to differ.
                        let origin = self.slots.peek(key).map(|(_, origin)| origin);
                        differences += usize::from(origin.is_some_and(|origin| self.is_valid(origin)));
                        self.slots.remove(key);
                    }
                }
            }
        }
        for told in &event.counts {
            self.slots.edit(Key::Counts(told.user), |entry| {
                if let Entry::Counts(counts) = entry {
                    **counts = Counts::from(told);
                }
            });
        }
        self.slots.fit();
        self.differences += differences as u64;
        self.whole = true;
        differences
    }

    /// Number of changes of each entry, if the event may have too many of one.
    fn crowded(&self, event: &Event) -> HashMap<Key, usize> {
        let mut changes = HashMap::new();
        if event.edges.len() > MOST_CHANGES {
            let keys = follows(event).flat_map(entries_of).map(|(key, _)| key);
            for key in keys.filter(|key| self.slots.peek(*key).is_some()) {
                *changes.entry(key).or_default() += 1;
            }
        }
        changes
    }

    /// Applies one change to the entry of a key, if there is one. Returns the bytes that it moved.
    fn edit(&mut self, key: Key, op: EdgeOp, row: ListRow, drop: bool) -> Result<usize, Differs> {
        if drop {
            self.slots.remove(key);
            return Ok(0);
        }
        let outcome = self.slots.edit(key, |entry| match (entry, op) {
            (Entry::Ids(ids), EdgeOp::Added) => ids.put(row.user),
            (Entry::Ids(ids), EdgeOp::Removed) => ids.take(row.user),
            (Entry::Newest(newest), EdgeOp::Added) => newest.put(row),
            (Entry::Newest(newest), EdgeOp::Removed) => newest.take(row.user),
            // A follow has no expiry that could change, and counts do not come here.
            (_, EdgeOp::Updated | EdgeOp::Unspecified) | (Entry::Counts(_), _) => Ok(Edited::moved(0)),
        });
        match outcome {
            None => Ok(0),
            Some(Ok(Edited { moved, is_full: false })) => Ok(moved),
            Some(Ok(Edited { is_full: true, .. })) => {
                self.slots.remove(key);
                Ok(0)
            }
            Some(Err(differs)) => Err(differs),
        }
    }
}

fn follows(event: &Event) -> impl Iterator<Item = &EdgeChange> {
    event.edges.iter().filter(|change| change.key.kind == EdgeKind::Follow)
}

/// The entries that the change of a follow belongs to, and its row in each.
fn entries_of(change: &EdgeChange) -> [(Key, ListRow); 3] {
    let (source, target) = (change.key.source, change.key.target);
    let row = |user| ListRow {
        user,
        position: change.position,
        created_at_millis: timestamp::to_millis(change.created_at),
        expires_at_millis: None,
    };
    [
        (Key::Ids(source), row(target)),
        (Key::Newest(source, PublicList::Following), row(target)),
        (Key::Newest(target, PublicList::Followers), row(source)),
    ]
}
