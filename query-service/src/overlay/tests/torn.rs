//! A read model that changes while it is read: it shows any mixture of the states in between, more than a real one
//! could.

use std::collections::BTreeSet;

use proto::UserId;
use proto::event::{EdgeKey, EdgeKind};

use super::history::{State, counts_at, list_at, relation_at, token};
use super::hops;
use crate::queries::{
    Check, Context, Counts, CountsOf, Known, KnownRows, ListAt, ListRow, Page, Part, Read, ReadResult,
    Relation, Relations, SeenPage, SeenRow, Sift, Sifted, Suggest, Suggested, Union, United, Versioned,
};

/// A read model in the middle of its changes from one revision to another: for each edge it shows the state at any
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

    fn answer<T>(&self, value: T) -> ReadResult<T> {
        Ok(Versioned::between(value, token(self.from), token(self.to)))
    }
}

impl Read<Check> for Torn {
    async fn read(&self, check: &Check, _: Context<'_>) -> ReadResult<Vec<bool>> {
        let state = self.state(false);
        let key = |target| EdgeKey { kind: EdgeKind::Follow, source: check.viewer, target };
        self.answer(check.targets.iter().map(|target| state.contains_key(&key(*target))).collect())
    }
}

impl Read<Relations> for Torn {
    async fn read(&self, asked: &Relations, _: Context<'_>) -> ReadResult<Vec<Relation>> {
        let state = self.state(false);
        let relation = |target: &UserId| relation_at(&state, asked.viewer, *target);
        self.answer(asked.targets.iter().map(relation).collect())
    }
}

impl Read<CountsOf> for Torn {
    async fn read(&self, asked: &CountsOf, _: Context<'_>) -> ReadResult<Vec<Counts>> {
        self.answer(asked.users.iter().map(|user| counts_at(self.at(user), *user)).collect())
    }
}

impl Read<Page> for Torn {
    async fn read(&self, page: &Page, _: Context<'_>) -> ReadResult<Vec<ListRow>> {
        let side = page.kind.side();
        let mut rows = list_at(&self.state(false), page.user, side);
        for row in list_at(&self.state(true), page.user, side) {
            if rows.iter().all(|other| other.position != row.position) {
                rows.push(row);
            }
        }
        rows.retain(|row| page.before.is_none_or(|before| row.position < before));
        rows.sort_by_key(|row| std::cmp::Reverse(row.position));
        rows.truncate(page.limit);
        self.answer(rows)
    }
}

impl Read<SeenPage> for Torn {
    async fn read(&self, page: &SeenPage, cx: Context<'_>) -> ReadResult<Vec<SeenRow>> {
        let SeenPage { list, user, before, limit, viewer } = *page;
        let rows = self.read(&Page { kind: list.kind(), user, before, limit }, cx).await?;
        let state = self.state(true);
        Ok(rows.map(|rows| {
            let seen = |row: ListRow| SeenRow { row, relation: relation_at(&state, viewer, row.user) };
            rows.into_iter().map(seen).collect()
        }))
    }
}

/// The reference implementation of each answer, over two mixtures of the states.
macro_rules! over_hops {
    ($($question:ident -> $answer:ident = $of:path;)+) => {
        $(impl Read<$question> for Torn {
            async fn read(&self, question: &$question, _: Context<'_>) -> ReadResult<$answer> {
                self.answer($of(&self.state(false), &self.state(true), question))
            }
        })+
    };
}

over_hops! {
    Sift -> Sifted = hops::sift;
    Known -> KnownRows = hops::known;
    ListAt -> Part = hops::part;
    Union -> United = hops::union;
    Suggest -> Suggested = hops::suggest;
}
