//! Batches: the net change of consecutive events. Pure.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use event_log::LogPosition;
use proto::{Revision, UserId};
use time::OffsetDateTime;

use crate::edge::{Change, Edge, Key};

/// Limit of the edge changes in one transaction of the read model.
pub const MAX_CHANGES: usize = 2_000;

/// A checked event, reduced to what the read model needs.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// Position of the event.
    pub position: LogPosition,
    /// Commit time in PostgreSQL.
    pub committed_at: OffsetDateTime,
    /// Edges that it changes.
    pub changes: Vec<Change>,
    /// Accounts whose erasing ended with it.
    pub erased: Vec<UserId>,
    /// W3C trace context; present only if traces are exported.
    pub traceparent: Option<String>,
}

/// The net change of one edge in a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Net {
    /// Values after the batch; `None` if the edge was removed.
    pub edge: Option<Edge>,
    /// The edge did not exist before the batch.
    pub fresh: bool,
}

/// Consecutive events that readers see together. A batch is applied in one transaction, unless it is one event with
/// more changes than the limit of a transaction.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// Position before the first event.
    pub from: LogPosition,
    /// Position of the last event.
    pub to: LogPosition,
    /// Number of changes before netting.
    pub size: usize,
    /// Net changes by edge.
    pub net: BTreeMap<Key, Net>,
    /// Accounts whose erasing ended in it.
    pub erased: BTreeSet<UserId>,
    /// Commit times of its events.
    pub committed_at: Vec<OffsetDateTime>,
    /// Trace contexts of its events.
    pub traces: Vec<String>,
}

impl Batch {
    /// An empty batch that continues after `from`.
    pub fn after(from: LogPosition) -> Self {
        Self {
            from,
            to: from,
            size: 0,
            net: BTreeMap::new(),
            erased: BTreeSet::new(),
            committed_at: Vec::new(),
            traces: Vec::new(),
        }
    }

    /// True if the event may be added: the batch stays within `most` changes and does not pass `until`. An empty batch
    /// accepts an event of any size, which is then applied in parts.
    pub fn takes(&self, item: &Item, until: Option<Revision>, most: usize) -> bool {
        let within = until.is_none_or(|until| item.position.revision <= until);
        within && (self.is_empty() || self.size + cost(item) <= most)
    }

    /// Adds the next event.
    pub fn add(&mut self, item: Item) {
        self.size += cost(&item);
        self.to = item.position;
        self.committed_at.push(item.committed_at);
        self.traces.extend(item.traceparent);
        self.erased.extend(item.erased);
        for change in item.changes {
            match self.net.entry(change.key) {
                Entry::Vacant(entry) => {
                    entry.insert(Net { edge: change.edge, fresh: change.added });
                }
                // Only the first change says whether the edge existed before the batch.
                Entry::Occupied(mut entry) => entry.get_mut().edge = change.edge,
            }
        }
    }

    /// True if it holds no event.
    pub fn is_empty(&self) -> bool {
        self.committed_at.is_empty()
    }

    /// Number of events.
    pub fn events(&self) -> usize {
        self.committed_at.len()
    }

    /// The next `most` changes after the first `written`; `None` if no more than `most` are left, which [`Self::rest`]
    /// returns.
    pub fn part(&self, written: usize, most: usize) -> Option<impl Iterator<Item = (&Key, &Net)>> {
        let left = self.net.len().saturating_sub(written);
        (left > most).then(|| self.net.iter().skip(written).take(most))
    }

    /// Net changes after the first `written`.
    pub fn rest(&self, written: usize) -> impl Iterator<Item = (&Key, &Net)> {
        self.net.iter().skip(written)
    }
}

/// Size of an event in a batch. It is at least 1, or a batch of events without edges would never be full.
fn cost(item: &Item) -> usize {
    item.changes.len().max(1)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;
    use proto::{Epoch, UserId};
    use uuid::Uuid;

    use super::*;
    use crate::edge::Kind;

    fn position(revision: u64) -> LogPosition {
        let event_id = (revision > 0).then(|| Uuid::from_u128(u128::from(revision)));
        LogPosition { epoch: Epoch(1), revision: Revision(revision), event_id }
    }

    fn key(pair: u8) -> Key {
        let user = |n: u8| UserId::new(Uuid::from_u128(u128::from(n) + 1)).unwrap();
        Key { kind: Kind::ALL[usize::from(pair % 4)], source: user(pair / 4), target: user(pair / 4 + 1) }
    }

    fn edge(position: i64) -> Edge {
        Edge { position, created_at: position * 7, expires_at: None, changed_at: None }
    }

    /// A history that obeys the rules: added only what is absent, updated and removed only what is there.
    fn history(picks: &[Vec<(u8, bool)>]) -> Vec<Item> {
        let mut present: HashMap<Key, i64> = HashMap::new();
        let mut items = Vec::new();
        for (i, picks) in picks.iter().enumerate() {
            let mut changes: Vec<Change> = Vec::new();
            for (pair, update) in picks {
                let key = key(*pair);
                if changes.iter().any(|c| c.key == key) {
                    continue;
                }
                let position = i as i64 * 1_024 + changes.len() as i64;
                let change = match (present.contains_key(&key), update) {
                    (false, _) => Change { key, edge: Some(edge(position)), added: true },
                    (true, true) => Change { key, edge: Some(edge(position)), added: false },
                    (true, false) => Change { key, edge: None, added: false },
                };
                match change.edge {
                    Some(_) => present.insert(key, position),
                    None => present.remove(&key),
                };
                changes.push(change);
            }
            items.push(Item {
                position: position(i as u64 + 1),
                committed_at: OffsetDateTime::UNIX_EPOCH,
                changes,
                erased: Vec::new(),
                traceparent: None,
            });
        }
        items
    }

    fn apply(graph: &mut HashMap<Key, Edge>, net: &BTreeMap<Key, Net>) {
        for (key, net) in net {
            assert!(!net.fresh || !graph.contains_key(key), "an edge said to be new exists");
            match net.edge {
                Some(edge) => graph.insert(*key, edge),
                None => graph.remove(key),
            };
        }
    }

    proptest! {
        #[test]
        fn any_batching_gives_the_same_graph(
            picks in prop::collection::vec(prop::collection::vec((0u8..24, any::<bool>()), 0..6), 0..40),
            cuts in prop::collection::vec(1u64..7, 1..40),
        ) {
            let items = history(&picks);
            let mut one_by_one = HashMap::new();
            for item in &items {
                let mut batch = Batch::after(position(item.position.revision.0 - 1));
                batch.add(item.clone());
                apply(&mut one_by_one, &batch.net);
            }

            let mut batched = HashMap::new();
            let mut cuts = cuts.iter().cycle();
            let mut at = position(0);
            let mut rest = items.as_slice();
            while !rest.is_empty() {
                let until = Revision(at.revision.0 + cuts.next().copied().unwrap_or(1));
                let mut batch = Batch::after(at);
                while let Some((item, others)) = rest.split_first() {
                    if !batch.takes(item, Some(until), MAX_CHANGES) {
                        break;
                    }
                    batch.add(item.clone());
                    rest = others;
                }
                prop_assert_eq!(batch.from, at);
                prop_assert!(batch.to.revision <= until);
                at = batch.to;
                apply(&mut batched, &batch.net);
            }
            prop_assert_eq!(at, items.last().map_or(position(0), |item| item.position));
            prop_assert_eq!(batched, one_by_one);
        }
    }

    #[test]
    fn a_batch_stays_within_its_size_and_always_takes_one_event() {
        let items = |n: usize| Item {
            position: position(1),
            committed_at: OffsetDateTime::UNIX_EPOCH,
            changes: vec![Change { key: key(0), edge: None, added: false }; n],
            erased: Vec::new(),
            traceparent: None,
        };
        let mut batch = Batch::after(position(0));
        assert!(batch.takes(&items(MAX_CHANGES + 1), None, MAX_CHANGES));
        batch.add(items(MAX_CHANGES - 1));
        assert!(batch.takes(&items(1), None, MAX_CHANGES));
        assert!(!batch.takes(&items(2), None, MAX_CHANGES));
        assert!(!batch.takes(&items(1), Some(Revision(0)), MAX_CHANGES));
        assert!(!batch.takes(&items(1), None, 1_000), "a smaller limit counts at once");
    }

    #[test]
    fn a_large_event_is_divided_into_parts_within_the_limit() {
        let change = |n: usize| Change {
            key: Key { target: UserId::new(Uuid::from_u128(n as u128 + 100)).expect("not nil"), ..key(0) },
            edge: Some(edge(n as i64)),
            added: true,
        };
        let mut batch = Batch::after(position(0));
        batch.add(Item {
            position: position(1),
            committed_at: OffsetDateTime::UNIX_EPOCH,
            changes: (0..1_000).map(change).collect(),
            erased: Vec::new(),
            traceparent: None,
        });
        assert!(batch.part(0, 1_000).is_none(), "an event within the limit is one transaction");
        // The limit grows while the parts are written.
        let mut limits = [1, 7, 300, 375].into_iter().chain(std::iter::repeat(450));
        let (mut written, mut sizes) = (Vec::new(), Vec::new());
        while let Some(part) = batch.part(written.len(), limits.next().expect("no end")) {
            let part: Vec<_> = part.collect();
            sizes.push(part.len());
            written.extend(part);
        }
        let rest: Vec<_> = batch.rest(written.len()).collect();
        sizes.push(rest.len());
        written.extend(rest);
        assert_eq!(sizes, [1, 7, 300, 375, 317]);
        assert!(written.into_iter().eq(&batch.net), "each change is in one part");
    }

    #[test]
    fn an_edge_that_came_and_went_is_still_removed() {
        let change = |edge, added| Item {
            position: position(1),
            committed_at: OffsetDateTime::UNIX_EPOCH,
            changes: vec![Change { key: key(0), edge, added }],
            erased: Vec::new(),
            traceparent: None,
        };
        let mut batch = Batch::after(position(0));
        batch.add(change(Some(edge(1)), true));
        batch.add(change(None, false));
        assert_eq!(batch.net[&key(0)], Net { edge: None, fresh: true });
    }
}
