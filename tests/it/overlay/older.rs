//! The older API's lists. Their answers name no revision: each must be the state at a revision between the position of
//! this query-service before the call and the head after it. The head before the call is not the lower bound: the older
//! API answers from the stream, and a write of CommandService is acknowledged before it is in the stream.

use std::collections::VecDeque;

use proto::legacy::v2 as wire;
use proto::legacy::v2::graph_service_client::GraphServiceClient;
use proto::{Revision, Token, UserId};
use rand::Rng as _;
use tests::LIMIT;
use tests::clients::consistent;
use tonic::Status;
use tonic::transport::Channel;

use super::ask::{List, Reader, in_time};
use super::hops;
use super::judge::State;

/// A client of the older API.
#[derive(Clone)]
pub struct Older(pub GraphServiceClient<Channel>);

#[derive(Clone, Copy, Debug)]
enum What {
    Single(List),
    Friends,
}

/// A part of a list.
#[derive(Clone, Debug, PartialEq)]
struct Part {
    ids: Vec<String>,
    total: i32,
    more: bool,
    users: Vec<wire::FollowUserInfo>,
}

/// A question and its answer, this process's position before it, and the head after it.
#[derive(Clone, Debug)]
pub struct Seen {
    what: What,
    user: UserId,
    viewer: Option<UserId>,
    offset: usize,
    limit: usize,
    given: Part,
    from: Revision,
    to: Revision,
}

macro_rules! part {
    ($answer:expr, $ids:ident, $users:expr) => {{
        let answer = $answer.await?.into_inner();
        let users = $users(&answer);
        Part { ids: answer.$ids, total: answer.total_count, more: answer.has_more, users }
    }};
}

impl Older {
    pub async fn ask(&self, reader: &mut Reader) -> Result<Seen, Status> {
        let (user, other) = (reader.user(), reader.user());
        let viewer = reader.rng.random::<bool>().then_some(other);
        let viewer_id = viewer.map(|viewer| viewer.to_string()).unwrap_or_default();
        let (offset, limit) = (reader.rng.random_range(0..4), reader.rng.random_range(1..20));
        let what = match reader.rng.random_range(0..4) {
            0 => What::Friends,
            1 => What::Single(List::Followers),
            2 => What::Single(List::Following),
            _ => What::Single(List::Blocks),
        };
        let from = head(reader, user, false).await?;
        let mut api = self.0.clone();
        let user_id = user.to_string();
        let (o, l) = (offset as i32, limit as i32);
        let given = match what {
            What::Friends => {
                let request = wire::GetMutualFollowersRequest { user_id, limit: l, offset: o };
                part!(api.get_mutual_followers(in_time(request)), user_ids, |_: &_| Vec::new())
            }
            What::Single(List::Followers) => {
                let request = wire::GetFollowersRequest { user_id, limit: l, offset: o, viewer_id };
                part!(api.get_followers(in_time(request)), user_ids, |answer: &wire::GetFollowersResponse| {
                    answer.users.clone()
                })
            }
            What::Single(List::Following) => {
                let request = wire::GetFollowingRequest { user_id, limit: l, offset: o, viewer_id };
                part!(api.get_following(in_time(request)), user_ids, |answer: &wire::GetFollowingResponse| {
                    answer.users.clone()
                })
            }
            What::Single(_) => {
                let request = wire::GetBlockedUsersRequest { user_id, limit: l, offset: o };
                part!(api.get_blocked_users(in_time(request)), blocked_user_ids, |_: &_| Vec::new())
            }
        };
        let known = async {
            loop {
                match head(reader, user, true).await {
                    Ok(to) => return to,
                    // The fallback budget is used up for a moment.
                    Err(_) => tokio::time::sleep(super::ask::REST).await,
                }
            }
        };
        let to = tokio::time::timeout(LIMIT, known).await.expect("the head after the call");
        Ok(Seen { what, user, viewer, offset, limit, given, from, to })
    }
}

/// The position of this query-service, or the head.
async fn head(reader: &mut Reader, user: UserId, truth: bool) -> Result<Revision, Status> {
    let consistency = if truth { consistent() } else { None };
    let id = user.to_string();
    let mut queries = reader.pods[0].clone();
    let answer = tests::clients::check(&mut queries, &id, &id, consistency).await?;
    Ok(Token::parse(&answer.as_of).expect("an answer has its token").revision)
}

impl Seen {
    fn wanted(&self, state: &State) -> Part {
        let rows: Vec<UserId> = match self.what {
            What::Single(list) => state.list(list, self.user).into_iter().map(|row| row.1).collect(),
            What::Friends => hops::known(state, self.user, self.user).into_iter().map(|row| row.1).collect(),
        };
        let shown: Vec<UserId> = rows.iter().skip(self.offset).take(self.limit).copied().collect();
        let listed = matches!(self.what, What::Single(List::Followers | List::Following));
        let users = match self.viewer.filter(|_| listed) {
            None => Vec::new(),
            Some(viewer) => {
                let seen = |user: &UserId| {
                    let pair = state.relationship(viewer, *user);
                    wire::FollowUserInfo {
                        user_id: user.to_string(),
                        you_are_following: pair.following,
                        follows_you: pair.followed_by,
                    }
                };
                shown.iter().map(seen).collect()
            }
        };
        Part {
            ids: shown.iter().map(ToString::to_string).collect(),
            total: i32::try_from(rows.len()).expect("few"),
            more: rows.len() > self.offset + self.limit && !shown.is_empty(),
            users,
        }
    }
}

/// Answers that match no revision yet.
pub struct Pending {
    /// By their lower bound.
    coming: VecDeque<Seen>,
    open: Vec<Seen>,
}

impl Pending {
    pub fn new(mut seen: Vec<Seen>) -> Self {
        seen.sort_by_key(|seen| seen.from);
        Self { coming: seen.into(), open: Vec::new() }
    }

    /// Removes those that are the state at this revision.
    pub fn judge(&mut self, state: &State) {
        let here = state.replay.revision;
        while let Some(seen) = self.coming.pop_front_if(|seen| seen.from <= here) {
            self.open.push(seen);
        }
        self.open.retain(|seen| {
            let explained = seen.wanted(state) == seen.given;
            let last = seen.to <= here;
            assert!(
                explained || !last,
                "of no revision: {seen:?}\nwanted at the end {:?}",
                seen.wanted(state)
            );
            !explained
        });
    }

    /// # Panics
    /// If one of them is left.
    pub fn finish(self) {
        assert!(self.open.is_empty() && self.coming.is_empty(), "{:?}", self.open.first());
    }
}
