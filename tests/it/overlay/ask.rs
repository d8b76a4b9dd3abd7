//! Readers: every single-hop read, with every consistency. They record the answers.

use std::time::Duration;

use proto::graph::v1::Relationship;
use proto::query::v1 as wire;
use proto::query::v1::{Consistency, Counts, Explanation, ListedEdge, RequestDirection, Source};
use proto::{Token, UserId};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tests::Queries;
use tests::clients::{consistent, fresh};
use tonic::{Code, Request, Status};

use super::hops::Hops;
use super::load::Load;
use super::older::Older;

/// Deadline of each call. Far above the usual duration: the loss of a read replica must not fail a call.
const PATIENCE: Duration = Duration::from_secs(10);
/// Pause between two calls of a reader, so that a Neo4j can start on a small machine.
pub const REST: Duration = Duration::from_millis(50);
/// Pause after a rejection.
const PAUSE: Duration = Duration::from_millis(20);

/// Number of accounts in one question.
const SEVERAL: usize = 12;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum List {
    Followers,
    Following,
    Mutes,
    Blocks,
    RequestsReceived,
    RequestsSent,
}

impl List {
    pub const ALL: [Self; 6] = [
        Self::Followers,
        Self::Following,
        Self::Mutes,
        Self::Blocks,
        Self::RequestsReceived,
        Self::RequestsSent,
    ];
}

/// A page of a list.
#[derive(Clone, Debug)]
pub struct Page {
    pub list: List,
    pub user: UserId,
    /// The viewer; accounts blocked in either direction are left out.
    pub viewer: Option<UserId>,
    pub size: usize,
    /// The walk, and the page's number in it.
    pub walk: (u64, u64),
    pub number: usize,
    pub edges: Vec<ListedEdge>,
    pub more: bool,
}

/// A question and its answer.
#[derive(Clone, Debug)]
pub enum Answer {
    Checks { viewer: UserId, targets: Vec<UserId>, following: Vec<bool> },
    Relationships { viewer: UserId, targets: Vec<UserId>, relationships: Vec<Relationship> },
    Counts { viewer: UserId, users: Vec<UserId>, counts: Vec<Counts> },
    Page(Page),
    Hops(Hops),
}

/// One answer.
#[derive(Clone, Debug)]
pub struct Observation {
    pub answer: Answer,
    /// The revision that the caller required.
    pub at_least: Option<Token>,
    pub as_of: Token,
    pub source: Source,
    pub overlaid_events: u32,
    /// Why the read fell back to PostgreSQL, if it did.
    pub fallback: String,
}

/// The questions of a reader.
pub enum Mix {
    /// All single-hop reads, with a pause between two calls.
    Single,
    /// Multi-hop reads, relationships, counts and the older API's lists, without a pause.
    Hops(Older),
}

/// One reader.
pub struct Reader {
    pub(super) pods: Vec<Queries>,
    pub(super) load: Load,
    pub(super) rng: StdRng,
    pub(super) seed: u64,
    pub(super) walks: u64,
    mix: Mix,
    seen: Vec<Observation>,
}

impl Reader {
    pub fn new(pods: Vec<Queries>, load: Load, seed: u64, mix: Mix) -> Self {
        let rng = StdRng::seed_from_u64(seed + 100);
        Self { pods, load, rng, seed, walks: 0, mix, seen: Vec::new() }
    }

    /// Reads until the load ends; returns the answers, separately those of the older API.
    pub async fn until_over(mut self) -> (Vec<Observation>, Vec<super::older::Seen>) {
        let mut older = Vec::new();
        while !self.load.is_over() {
            let outcome = match &self.mix {
                Mix::Single => {
                    self.load.pause(REST).await;
                    self.one().await
                }
                Mix::Hops(_) if self.rng.random_range(0..5) > 0 => self.one_over_hops().await,
                Mix::Hops(api) => {
                    let api = api.clone();
                    let seen = api.ask(&mut self).await;
                    seen.map(|seen| older.push(seen))
                }
            };
            if let Err(status) = outcome {
                let expected = [
                    Code::Unavailable,
                    Code::ResourceExhausted,
                    Code::DeadlineExceeded,
                    Code::Cancelled,
                    Code::Unknown,
                ];
                assert!(expected.contains(&status.code()), "{status:?}");
                self.load.refused();
                tokio::time::sleep(PAUSE).await;
            }
        }
        (self.seen, older)
    }

    async fn one(&mut self) -> Result<(), Status> {
        let user = self.user();
        match self.rng.random_range(0..10) {
            0..2 => self.checks(user).await,
            2..4 => self.relationships(user).await,
            4..6 => self.counts(user).await,
            6 => self.whole_list_as_seen(user).await,
            _ => self.walk(user).await,
        }
    }

    pub(super) fn user(&mut self) -> UserId {
        self.load.users[self.load.pick(&mut self.rng)]
    }

    /// Some answers may be stale, some must include the last write, some must come from PostgreSQL.
    pub(super) fn consistency(&mut self) -> (Option<Consistency>, Option<Token>) {
        let newest = self.load.newest.borrow().clone();
        match self.rng.random_range(0..10) {
            0..3 if !newest.is_empty() => (fresh(&newest), Some(Token::parse(&newest).expect("a token"))),
            3 if matches!(self.mix, Mix::Single) => (consistent(), None),
            _ => (None, None),
        }
    }

    /// One of the query-services, and its number.
    pub(super) fn pod(&mut self) -> (usize, Queries) {
        let number = self.rng.random_range(0..self.pods.len());
        (number, self.pods[number].clone())
    }

    pub(super) fn saw(&mut self, pod: usize, answer: Answer, at_least: Option<Token>, origin: Origin) {
        let Explanation { steps, fallback_reason: fallback } = origin.explanation.unwrap_or_default();
        let (replica, overlaid_events) =
            steps.last().map(|step| (step.replica.clone(), step.overlaid_events)).unwrap_or_default();
        let as_of = Token::parse(&origin.as_of).expect("an answer has its token");
        let source = Source::try_from(origin.source).expect("an answer has its source");
        if source == Source::Neo4j {
            self.load.answered(pod, &replica);
        }
        self.seen.push(Observation { answer, at_least, as_of, source, overlaid_events, fallback });
    }

    /// All accounts, if they are few.
    fn targets(&mut self) -> Vec<UserId> {
        if self.load.users.len() <= SEVERAL {
            return self.load.users.to_vec();
        }
        (0..SEVERAL).map(|_| self.user()).collect()
    }

    async fn checks(&mut self, viewer: UserId) -> Result<(), Status> {
        let targets = self.targets();
        let (consistency, at_least) = self.consistency();
        let request = wire::BatchCheckRequest {
            viewer_id: viewer.to_string(),
            target_ids: texts(&targets),
            consistency,
            explain: true,
        };
        let (pod, mut queries) = self.pod();
        let answer = queries.batch_check(in_time(request)).await?.into_inner();
        let following = answer.results.iter().map(|result| result.following).collect();
        let origin = Origin::new(answer.as_of, answer.source, answer.explanation);
        self.saw(pod, Answer::Checks { viewer, targets, following }, at_least, origin);
        Ok(())
    }

    pub(super) async fn relationships(&mut self, viewer: UserId) -> Result<(), Status> {
        let targets = self.targets();
        let (consistency, at_least) = self.consistency();
        let request = wire::GetRelationshipsRequest {
            viewer_id: viewer.to_string(),
            target_ids: texts(&targets),
            consistency,
            explain: true,
        };
        let (pod, mut queries) = self.pod();
        let answer = queries.get_relationships(in_time(request)).await?.into_inner();
        let origin = Origin::new(answer.as_of, answer.source, answer.explanation);
        self.saw(
            pod,
            Answer::Relationships { viewer, targets, relationships: answer.relationships },
            at_least,
            origin,
        );
        Ok(())
    }

    pub(super) async fn counts(&mut self, viewer: UserId) -> Result<(), Status> {
        let mut users = self.targets();
        users.push(viewer);
        let (consistency, at_least) = self.consistency();
        let request = wire::GetCountsRequest {
            user_ids: texts(&users),
            viewer_id: viewer.to_string(),
            consistency,
            explain: true,
        };
        let (pod, mut queries) = self.pod();
        let answer = queries.get_counts(in_time(request)).await?.into_inner();
        let origin = Origin::new(answer.as_of, answer.source, answer.explanation);
        self.saw(pod, Answer::Counts { viewer, users, counts: answer.counts }, at_least, origin);
        Ok(())
    }

    /// A whole list on one page, with a viewer.
    async fn whole_list_as_seen(&mut self, user: UserId) -> Result<(), Status> {
        let list = if self.rng.random() { List::Followers } else { List::Following };
        let viewer = self.user();
        self.pages(list, user, Some(viewer), Some(100)).await
    }

    /// All pages of a list, each from either pod.
    async fn walk(&mut self, user: UserId) -> Result<(), Status> {
        let list = List::ALL[self.rng.random_range(0..List::ALL.len())];
        self.pages(list, user, None, None).await
    }

    async fn pages(
        &mut self,
        list: List,
        user: UserId,
        viewer: Option<UserId>,
        size: Option<usize>,
    ) -> Result<(), Status> {
        self.walks += 1;
        let walk = (self.seed, self.walks);
        let mut page_token = String::new();
        for number in 0.. {
            let (consistency, at_least) = self.consistency();
            let size = size.unwrap_or_else(|| self.rng.random_range(1..5));
            let ask = AskPage { list, user, viewer, size, page_token, consistency };
            let (pod, mut queries) = self.pod();
            let (edges, next, origin) = ask.send(&mut queries).await?;
            let page = Page { list, user, viewer, size, walk, number, edges, more: !next.is_empty() };
            self.saw(pod, Answer::Page(page), at_least, origin);
            page_token = next;
            if page_token.is_empty() {
                break;
            }
        }
        Ok(())
    }
}

fn texts(users: &[UserId]) -> Vec<String> {
    users.iter().map(ToString::to_string).collect()
}

/// The source of an answer.
pub struct Origin {
    as_of: String,
    source: i32,
    explanation: Option<Explanation>,
}

impl Origin {
    pub fn new(as_of: String, source: i32, explanation: Option<Explanation>) -> Self {
        Self { as_of, source, explanation }
    }
}

struct AskPage {
    list: List,
    user: UserId,
    viewer: Option<UserId>,
    size: usize,
    page_token: String,
    consistency: Option<Consistency>,
}

macro_rules! page {
    ($call:expr) => {{
        let answer = $call.await?.into_inner();
        let origin = Origin::new(answer.as_of, answer.source, answer.explanation);
        Ok((answer.edges, answer.next_page_token, origin))
    }};
}

impl AskPage {
    async fn send(self, queries: &mut Queries) -> Result<(Vec<ListedEdge>, String, Origin), Status> {
        let Self { list, user, viewer, size, page_token, consistency } = self;
        let user_id = user.to_string();
        let page_size = i32::try_from(size).expect("small");
        let viewer_id = viewer.map(|viewer| viewer.to_string()).unwrap_or_default();
        let with_relationships = viewer.is_some();
        let direction = match list {
            List::RequestsSent => RequestDirection::Outgoing,
            _ => RequestDirection::Incoming,
        };
        match list {
            List::Followers => page!(queries.list_followers(in_time(wire::ListFollowersRequest {
                user_id,
                page_size,
                page_token,
                consistency,
                viewer_id,
                with_relationships,
                explain: true,
            }))),
            List::Following => page!(queries.list_following(in_time(wire::ListFollowingRequest {
                user_id,
                page_size,
                page_token,
                consistency,
                viewer_id,
                with_relationships,
                explain: true,
            }))),
            List::Mutes => page!(queries.list_mutes(in_time(wire::ListMutesRequest {
                user_id,
                page_size,
                page_token,
                consistency,
                explain: true,
            }))),
            List::Blocks => page!(queries.list_blocks(in_time(wire::ListBlocksRequest {
                user_id,
                page_size,
                page_token,
                consistency,
                explain: true,
            }))),
            List::RequestsReceived | List::RequestsSent => {
                page!(queries.list_follow_requests(in_time(wire::ListFollowRequestsRequest {
                    user_id,
                    page_size,
                    page_token,
                    consistency,
                    explain: true,
                    direction: direction.into(),
                })))
            }
        }
    }
}

pub fn in_time<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(PATIENCE);
    request
}
