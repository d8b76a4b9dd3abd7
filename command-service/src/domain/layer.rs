//! A set of edges with the differences from what was loaded.

use std::collections::{BTreeMap, BTreeSet};

use proto::event::EdgeKey;

use super::change::Edge;

/// Live or archived edges: as loaded, and as they are now.
#[derive(Clone, Debug, Default)]
pub struct Layer {
    now: BTreeMap<EdgeKey, Edge>,
    loaded: BTreeMap<EdgeKey, Edge>,
    changed: BTreeSet<EdgeKey>,
}

impl Layer {
    /// The loaded edges, without changes.
    pub fn new(loaded: BTreeMap<EdgeKey, Edge>) -> Self {
        Self { now: loaded.clone(), loaded, changed: BTreeSet::new() }
    }

    pub(super) fn part(&self, keys: &BTreeSet<EdgeKey>) -> Self {
        Self::new(keys.iter().filter_map(|key| Some((*key, *self.now.get(key)?))).collect())
    }

    /// An edge as it is now.
    pub fn get(&self, key: &EdgeKey) -> Option<&Edge> {
        self.now.get(key)
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &EdgeKey> {
        self.now.keys()
    }

    pub(super) fn put(&mut self, key: EdgeKey, edge: Edge) {
        self.now.insert(key, edge);
        self.changed.insert(key);
    }

    pub(super) fn take(&mut self, key: &EdgeKey) -> Option<Edge> {
        self.changed.insert(*key);
        self.now.remove(key)
    }

    /// An edge as it was loaded.
    pub(super) fn before(&self, key: &EdgeKey) -> Option<&Edge> {
        self.loaded.get(key)
    }

    /// Edges to insert.
    pub fn to_insert(&self) -> impl Iterator<Item = (&EdgeKey, &Edge)> {
        self.changed
            .iter()
            .filter_map(|key| self.now.get_key_value(key))
            .filter(|(key, _)| !self.loaded.contains_key(*key))
    }

    /// Existing edges to update.
    pub fn to_update(&self) -> impl Iterator<Item = (&EdgeKey, &Edge)> {
        self.changed
            .iter()
            .filter_map(|key| self.now.get_key_value(key))
            .filter(|(key, edge)| self.loaded.get(*key).is_some_and(|before| before != *edge))
    }

    /// Edges to delete.
    pub fn to_delete(&self) -> impl Iterator<Item = &EdgeKey> {
        self.changed.iter().filter(|key| !self.now.contains_key(*key) && self.loaded.contains_key(*key))
    }
}
