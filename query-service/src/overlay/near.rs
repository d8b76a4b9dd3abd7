//! Makes one exact answer of the first parts of a list, its length and the viewer's links with its accounts.
//!
//! The three are read one after the other, each between its own two revisions; recent events are applied to all of them
//! up to the same position.

use futures::future::OptionFuture;
use proto::UserId;
use tokio::time::Instant;

use super::apply::{self, Part as Rows};
use super::{Known, Overlaid, ROUNDS};
use crate::queries::{
    Context, Counts, CountsOf, ListAt, ListKind, ListRow, Page, Part, Read, ReadResult, Relations, Versioned,
};

impl<R: Read<Page> + Read<CountsOf> + Read<Relations>> Overlaid<R> {
    pub(super) async fn near(&self, at: &ListAt, cx: Context<'_>) -> ReadResult<Part> {
        let until = Instant::now() + cx.within;
        let (user, side) = (at.user, at.kind.side());
        let mut extra = self.likely_removals(user, side);
        for _ in 0..ROUNDS {
            // One more row shows whether the list ends here.
            let (limit, asked) = (at.end() + 1, at.end() + 1 + extra);
            let page = Page { kind: at.kind, user, before: None, limit: asked };
            let mut list = self.inner.read(&page, cx.until(until)?).await?;
            let rows = Rows { before: None, limit, more_below: list.value.len() >= asked };
            self.catch_up(list.bounds(), until).await;
            let since = list.as_of.revision;
            let first = self.over(list.as_of, list.target, |ring| {
                apply::list(ring, since, user, side, rows, &list.value)
            });
            let shown = match first {
                Some((_, Ok((shown, _)))) => shown,
                Some((_, Err(short))) => {
                    extra = self.more(extra, short)?;
                    continue;
                }
                None => {
                    list.value.truncate(limit);
                    list.value.clone()
                }
            };
            let users = part_of(&shown, at);
            let cx = cx.until(until)?;
            let account = CountsOf { users: vec![user] };
            let counts = (shown.len() > at.end()).then(|| self.inner.read(&account, cx));
            let viewer = at.viewer.filter(|_| !users.is_empty());
            let links = viewer.map(|viewer| Relations { viewer, targets: users.clone() });
            let links = links.as_ref().map(|links| self.inner.read(links, cx));
            let (counts, links) = tokio::join!(OptionFuture::from(counts), OptionFuture::from(links));
            let (counts, links) = (counts.transpose()?, links.transpose()?);
            let parts = [counts.as_ref().map(Versioned::bounds), links.as_ref().map(Versioned::bounds)];
            let bounds = parts.into_iter().chain([Some(list.bounds())]);
            let (as_of, target) = bounds
                .flatten()
                .reduce(|(a, b), (c, d)| (a.min(c), b.max(d)))
                .ok_or_else(|| self.not_exact())?;
            self.catch_up((as_of, target), until).await;
            let known = links.as_ref().map(|links| Known::new(&users, &links.value)).unwrap_or_default();
            let part = self.over(as_of, target, |ring| {
                let Ok((rows, touched)) = apply::list(ring, since, user, side, rows, &list.value)? else {
                    return Some(None);
                };
                let users = part_of(&rows, at);
                let mut known = known.clone();
                if let (Some(viewer), Some(links)) = (at.viewer, &links) {
                    known.apply(ring, links.as_of.revision, viewer)?;
                }
                let mut length = counts.as_ref().map(|counts| counts.value.clone());
                if let (Some(length), Some(counts)) = (&mut length, &counts) {
                    apply::counts(ring, counts.as_of.revision, &[user], length);
                }
                Some(
                    put_together(at, rows.len(), users, &known, length.as_deref())
                        .map(|part| (part, touched)),
                )
            });
            match part {
                Some((position, Some((part, touched)))) => {
                    return Ok(self.patched(list.map(|_| part), position, touched));
                }
                // Rows were added or removed while the rest was read: repeat.
                Some((_, None)) => {}
                None => {
                    let length = counts.as_ref().map(|counts| counts.value.as_slice());
                    let part = put_together(at, shown.len(), users, &known, length)
                        .ok_or_else(|| self.not_exact())?;
                    return self.raw(Versioned { as_of, target, ..list.map(|_| part) });
                }
            }
        }
        Err(self.not_exact())
    }
}

fn part_of(rows: &[ListRow], at: &ListAt) -> Vec<UserId> {
    rows.iter().skip(at.offset).take(at.limit).map(|row| row.user).collect()
}

/// The part; `None` if its length or an account's links were not read.
fn put_together(
    at: &ListAt,
    rows: usize,
    users: Vec<UserId>,
    known: &Known,
    counts: Option<&[Counts]>,
) -> Option<Part> {
    let relations = match at.viewer {
        None => Vec::new(),
        Some(_) => users.iter().map(|user| known.0.get(user).copied()).collect::<Option<_>>()?,
    };
    let total = if rows > at.end() { length(counts?.first()?, at.kind) } else { rows as u64 };
    Some(Part { users, total, relations })
}

fn length(counts: &Counts, kind: ListKind) -> u64 {
    match kind {
        ListKind::Followers => counts.followers,
        ListKind::Following => counts.following,
        ListKind::Mutes => counts.muting,
        ListKind::Blocks => counts.blocking,
        ListKind::RequestsReceived => counts.requests_received,
        ListKind::RequestsSent => counts.requests_sent,
    }
}
