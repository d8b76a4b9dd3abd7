//! A read model that is read while it changes.
//!
//! Owns: showing any mixture of the states that it is in the middle of. It must not know the overlay.
//! What can go wrong: nothing; it shows all that a real one could show, and more.

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use proto::event::{EdgeKey, EdgeKind};
use proto::{Position, UserId};

use super::history::{State, counts_at, list_at, relation_at, token};
use super::hops;
use crate::queries::{
    Counts, Error, Known, KnownRows, ListAt, ListKind, ListRow, MultiReader, Part, PublicList, Reader,
    Relation, SeenRow, Side, Sift, Sifted, Suggest, Suggested, Union, United, Versioned,
};

/// A read model in the middle of its changes from one revision to another: of each edge it shows the state at any
/// revision in between, in a list even two of them.
pub struct Torn {
    pub states: Vec<State>,
    pub from: usize,
    pub to: usize,
    pub dice: u64,
}

impl Torn {
    fn roll(&self, what: impl std::hash::Hash) -> u64 {
        use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
        BuildHasherDefault::<DefaultHasher>::default().hash_one((self.dice, what))
    }

    fn at(&self, what: impl std::hash::Hash) -> &State {
        let revisions = (self.to - self.from + 1) as u64;
        &self.states[self.from + usize::try_from(self.roll(what) % revisions).expect("small")]
    }

    /// Each edge as it was at some revision in between.
    fn state(&self, again: bool) -> State {
        let keys: BTreeSet<EdgeKey> =
            self.states[self.from..=self.to].iter().flat_map(|s| s.keys().copied()).collect();
        let shown = keys.into_iter().filter_map(|key| Some((key, *self.at((key, again)).get(&key)?)));
        shown.collect()
    }

    fn answer<T>(&self, value: T) -> Result<Versioned<T>, Error> {
        Ok(Versioned::between(value, token(self.from), token(self.to)))
    }
}

#[async_trait]
impl Reader for Torn {
    fn multi(&self) -> Option<&dyn MultiReader> {
        Some(self)
    }

    async fn check(
        &self,
        viewer: UserId,
        targets: &[UserId],
        _: Duration,
    ) -> Result<Versioned<Vec<bool>>, Error> {
        let state = self.state(false);
        let key = |target| EdgeKey { kind: EdgeKind::Follow, source: viewer, target };
        self.answer(targets.iter().map(|target| state.contains_key(&key(*target))).collect())
    }

    async fn relations(
        &self,
        viewer: UserId,
        targets: &[UserId],
        _: Duration,
    ) -> Result<Versioned<Vec<Relation>>, Error> {
        let state = self.state(false);
        self.answer(targets.iter().map(|target| relation_at(&state, viewer, *target)).collect())
    }

    async fn list(
        &self,
        kind: ListKind,
        user: UserId,
        before: Option<Position>,
        limit: usize,
        _: Duration,
    ) -> Result<Versioned<Vec<ListRow>>, Error> {
        let side = Side::from(kind.edges());
        let mut rows = list_at(&self.state(false), user, side);
        for row in list_at(&self.state(true), user, side) {
            if rows.iter().all(|other| other.position != row.position) {
                rows.push(row);
            }
        }
        rows.retain(|row| before.is_none_or(|before| row.position < before));
        rows.sort_by_key(|row| std::cmp::Reverse(row.position));
        rows.truncate(limit);
        self.answer(rows)
    }

    async fn list_seen(
        &self,
        list: PublicList,
        user: UserId,
        before: Option<Position>,
        limit: usize,
        viewer: UserId,
        within: Duration,
    ) -> Result<Versioned<Vec<SeenRow>>, Error> {
        let rows = self.list(list.kind(), user, before, limit, within).await?;
        let state = self.state(true);
        Ok(rows.map(|rows| {
            let seen = |row: ListRow| SeenRow { row, relation: relation_at(&state, viewer, row.user) };
            rows.into_iter().map(seen).collect()
        }))
    }

    async fn counts(&self, users: &[UserId], _: Duration) -> Result<Versioned<Vec<Counts>>, Error> {
        self.answer(users.iter().map(|user| counts_at(self.at(user), *user)).collect())
    }
}

#[async_trait]
impl MultiReader for Torn {
    async fn sift(&self, sift: &Sift, _: Duration) -> Result<Versioned<Sifted>, Error> {
        self.answer(hops::sift(&self.state(false), &self.state(true), sift))
    }

    async fn known(&self, known: &Known, _: Duration) -> Result<Versioned<KnownRows>, Error> {
        self.answer(hops::known(&self.state(false), &self.state(true), known))
    }

    async fn list_at(&self, at: &ListAt, _: Duration) -> Result<Versioned<Part>, Error> {
        self.answer(hops::part(&self.state(false), &self.state(true), at))
    }

    async fn union(&self, union: &Union, _: Duration) -> Result<Versioned<United>, Error> {
        self.answer(hops::union(&self.state(false), &self.state(true), union))
    }

    async fn suggest(&self, suggest: &Suggest, _: Duration) -> Result<Versioned<Suggested>, Error> {
        self.answer(hops::suggest(&self.state(false), &self.state(true), suggest))
    }
}
