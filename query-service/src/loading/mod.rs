//! Fills the hot set: hands answers of a replica on as loads, and has the sets of frequent viewers loaded.
//!
//! A layer around each replica, below the overlay: it sees answers as the replica gave them, with the revisions between
//! which they lie. Reads do not wait for loads. While too many wait, further ones are dropped; the next miss tries again.

mod doorkeeper;
mod loader;

use proto::UserId;
use tokio::sync::mpsc;

use self::doorkeeper::Doorkeeper;
pub use self::loader::Loader;
use crate::hot::load::{Content, Load};
use crate::hot::{Key, Origin};
use crate::metrics::HOT_LOADS;
use crate::queries::{
    Check, Context, Counts, CountsOf, Known, ListAt, ListRow, Page, PublicList, Question, Read, ReadResult,
    Relations, SeenPage, Sift, Suggest, Union, Versioned,
};

/// Limit of the loads that wait to be installed, and of the viewers whose sets wait to be loaded.
pub const MOST_WAITING: usize = 64;

/// A replica whose answers fill the hot set.
pub struct Loading<R> {
    inner: R,
    /// `None` without a hot set.
    filling: Option<Filling>,
}

/// Where the answers of one replica go.
pub struct Filling {
    /// Number of the replica.
    pub replica: usize,
    pub loads: mpsc::Sender<Load>,
    /// Viewers whose sets of followed accounts the loader loads.
    pub wanted: mpsc::Sender<UserId>,
    doorkeeper: Doorkeeper,
}

impl Filling {
    pub fn new(replica: usize, loads: mpsc::Sender<Load>, wanted: mpsc::Sender<UserId>) -> Self {
        Self { replica, loads, wanted, doorkeeper: Doorkeeper::default() }
    }

    fn page(&self, page: &Page, list: PublicList, answer: &Versioned<Vec<ListRow>>) {
        if page.before.is_none() && self.doorkeeper.lets_in(Key::Newest(page.user, list)) {
            let (rows, is_whole) = (answer.value.clone(), answer.value.len() < page.limit);
            self.send(answer, Content::Newest { user: page.user, list, rows, is_whole });
        }
    }

    fn counts(&self, users: &[UserId], answer: &Versioned<Vec<Counts>>) {
        let counts = users.iter().copied().zip(answer.value.iter().copied());
        let frequent: Vec<_> =
            counts.filter(|(user, _)| self.doorkeeper.lets_in(Key::Counts(*user))).collect();
        if !frequent.is_empty() {
            self.send(answer, Content::Counts(frequent));
        }
    }

    fn check<T>(&self, viewer: UserId, answer: &Versioned<T>) {
        if !self.doorkeeper.lets_in(Key::Ids(viewer)) {
            return;
        }
        match answer.origin.generation {
            None => not_loaded("no_generation"),
            Some(_) if self.wanted.try_send(viewer).is_err() => not_loaded("queue_full"),
            Some(_) => {}
        }
    }

    fn send<T>(&self, answer: &Versioned<T>, content: Content) {
        let Some(generation) = answer.origin.generation else { return not_loaded("no_generation") };
        let origin = Origin { replica: self.replica, generation };
        let load = Load { content, as_of: answer.as_of, target: answer.target, origin };
        if self.loads.try_send(load).is_err() {
            not_loaded("queue_full");
        }
    }
}

/// Counts a load that ends before it is installed.
fn not_loaded(outcome: &'static str) {
    metrics::counter!(HOT_LOADS, "outcome" => outcome).increment(1);
}

impl<R> Loading<R> {
    /// Answers from `inner`.
    pub fn new(inner: R, filling: Option<Filling>) -> Self {
        Self { inner, filling }
    }
}

impl<R: Read<Check>> Read<Check> for Loading<R> {
    async fn read(&self, check: &Check, cx: Context<'_>) -> ReadResult<Vec<bool>> {
        let answer = self.inner.read(check, cx).await?;
        if let Some(filling) = &self.filling {
            filling.check(check.viewer, &answer);
        }
        Ok(answer)
    }
}

impl<R: Read<CountsOf>> Read<CountsOf> for Loading<R> {
    async fn read(&self, asked: &CountsOf, cx: Context<'_>) -> ReadResult<Vec<Counts>> {
        let answer = self.inner.read(asked, cx).await?;
        if let Some(filling) = &self.filling {
            filling.counts(&asked.users, &answer);
        }
        Ok(answer)
    }
}

impl<R: Read<Page>> Read<Page> for Loading<R> {
    async fn read(&self, page: &Page, cx: Context<'_>) -> ReadResult<Vec<ListRow>> {
        let answer = self.inner.read(page, cx).await?;
        if let (Some(filling), Some(list)) = (&self.filling, page.kind.public()) {
            filling.page(page, list, &answer);
        }
        Ok(answer)
    }
}

/// Questions whose answers fill nothing.
pub trait Passed: Question {}
impl Passed for Relations {}
impl Passed for SeenPage {}
impl Passed for ListAt {}
impl Passed for Sift {}
impl Passed for Known {}
impl Passed for Union {}
impl Passed for Suggest {}

impl<Q: Passed, R: Read<Q>> Read<Q> for Loading<R> {
    fn read(&self, question: &Q, cx: Context<'_>) -> impl Future<Output = ReadResult<Q::Answer>> + Send {
        self.inner.read(question, cx)
    }
}
