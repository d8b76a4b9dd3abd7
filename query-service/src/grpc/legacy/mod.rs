//! `nova.graph_service.v2.GraphService`: the older system's API, of which this process serves the reads.
//!
//! Its clients have no revision tokens and read their own writes. So a read holds at least what the stream held when
//! the call came. If no store gets that far in time, the read returns the current state: for these clients an old
//! answer is better than none.

mod fresh;
mod lists;

use std::sync::Arc;
use std::time::Duration;

use proto::UserId;
use proto::error::ServiceError;
use proto::legacy::v2 as wire;
use proto::legacy::v2::graph_service_server::GraphService;
use service_kit::trace::Parent;
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use self::fresh::StreamEnd;
use self::lists::Bounds;
use super::call::Begun;
use super::{errors, validate};
use crate::memory::FromMemory;
use crate::metrics::LEGACY_OLDER;
use crate::postgres::PostgresReader;
use crate::queries::{Answer, Check, ListKind, Read, Relation, Relations};
use crate::recent::{Recent, Sources};
use crate::router::{Fallback, Need, QueryTrace, ReadModelReader, Refusal, StoreRouter};

/// Most ids of GetFollowers and GetFollowing.
const MAX_FOLLOWS: usize = 10_000;
/// Most ids of the other lists.
const MAX_OTHERS: usize = 1_000;
/// Most ids of BatchCheckFollowing.
const MAX_CHECKS: usize = 100;

/// Settings of this API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LegacySettings {
    /// Ids of a list whose limit is 0.
    pub default_limit: usize,
    /// Longest wait for what the stream held.
    pub freshness_wait: Duration,
}

/// The service.
#[derive(Debug)]
pub struct Legacy {
    router: Arc<StoreRouter>,
    stream_end: StreamEnd,
    default_limit: usize,
}

/// One call: how fresh its answers are, until when, and its span.
#[derive(Debug)]
struct Call {
    need: Need,
    deadline: Instant,
    parent: Parent,
}

impl Legacy {
    /// Answers with these.
    pub fn new(
        router: Arc<StoreRouter>,
        sources: Sources,
        recent: Arc<Recent>,
        settings: LegacySettings,
    ) -> Self {
        let stream_end = StreamEnd::new(sources, recent, settings.freshness_wait);
        Self { router, stream_end, default_limit: settings.default_limit }
    }

    /// Begins a call whose request is sound: waits for what the stream holds.
    async fn begin<T>(&self, request: &Request<T>) -> Call {
        let Begun { deadline, caller, parent } = Begun::of(request);
        let at_least = self.stream_end.reached(deadline).await;
        Call { need: Need { at_least, caller, ..Need::default() }, deadline, parent }
    }

    async fn ask<Q: FromMemory>(&self, question: &Q, call: &Call) -> Result<Answer<Q::Answer>, ServiceError>
    where
        ReadModelReader: Read<Q>,
        PostgresReader: Read<Q>,
    {
        let trace = QueryTrace::new(true).below(call.parent.clone());
        let mut answer = self.router.attempt(question, call.need, call.deadline, &trace).await;
        // Without the requirement, only what failed for want of freshness can succeed.
        if answer.as_ref().is_err_and(|refusal| too_fresh(*refusal, &trace)) {
            let any = Need { at_least: None, ..call.need };
            answer = self.router.attempt(question, any, call.deadline, &trace).await;
            if answer.is_ok() {
                metrics::counter!(LEGACY_OLDER).increment(1);
            }
        }
        self.router.count(question, &answer);
        // The caller gave no token that could be at fault.
        answer.map_err(|refusal| errors::refusal(refusal, ""))
    }

    /// What links the first with the second.
    async fn relation(&self, viewer: UserId, other: UserId, call: &Call) -> Result<Relation, ServiceError> {
        let answer = self.ask(&Relations { viewer, targets: vec![other] }, call).await?;
        Ok(answer.value.first().copied().unwrap_or_default())
    }

    fn bounds(&self, limit: i32, offset: i32, largest: usize) -> Result<Bounds, ServiceError> {
        Bounds::of(limit, offset, self.default_limit, largest)
    }
}

/// The revision that the call asked for is why there is no answer.
fn too_fresh(refusal: Refusal, trace: &QueryTrace) -> bool {
    let fell_back = || trace.record().and_then(|record| record.fallback);
    match refusal {
        Refusal::EpochChanged | Refusal::TokenAhead | Refusal::Behind { .. } => true,
        Refusal::DeadlineExceeded | Refusal::RuledOut { .. } | Refusal::Busy { .. } => false,
        Refusal::BudgetExhausted { .. } | Refusal::Unavailable { .. } => fell_back()
            .is_some_and(|reason| [Fallback::Behind, Fallback::Epoch].map(Fallback::name).contains(&reason)),
    }
}

fn pair(fields: [&str; 2], texts: [&str; 2]) -> Result<(UserId, UserId), ServiceError> {
    Ok((validate::user(texts[0], fields[0])?, validate::user(texts[1], fields[1])?))
}

#[tonic::async_trait]
impl GraphService for Legacy {
    async fn get_followers(
        &self,
        request: Request<wire::GetFollowersRequest>,
    ) -> Result<Response<wire::GetFollowersResponse>, Status> {
        let r = request.get_ref();
        let user = validate::user(&r.user_id, "user_id")?;
        let bounds = self.bounds(r.limit, r.offset, MAX_FOLLOWS)?;
        let viewer = validate::optional_user(&r.viewer_id, "viewer_id")?;
        let call = self.begin(&request).await;
        let part = self.list(ListKind::Followers, user, bounds, viewer, &call).await?;
        Ok(Response::new(wire::GetFollowersResponse {
            user_ids: part.ids(),
            total_count: part.total_count(),
            has_more: part.more,
            users: part.seen,
        }))
    }

    async fn get_following(
        &self,
        request: Request<wire::GetFollowingRequest>,
    ) -> Result<Response<wire::GetFollowingResponse>, Status> {
        let r = request.get_ref();
        let user = validate::user(&r.user_id, "user_id")?;
        let bounds = self.bounds(r.limit, r.offset, MAX_FOLLOWS)?;
        let viewer = validate::optional_user(&r.viewer_id, "viewer_id")?;
        let call = self.begin(&request).await;
        let part = self.list(ListKind::Following, user, bounds, viewer, &call).await?;
        Ok(Response::new(wire::GetFollowingResponse {
            user_ids: part.ids(),
            total_count: part.total_count(),
            has_more: part.more,
            users: part.seen,
        }))
    }

    async fn is_following(
        &self,
        request: Request<wire::IsFollowingRequest>,
    ) -> Result<Response<wire::IsFollowingResponse>, Status> {
        let r = request.get_ref();
        let (viewer, target) = pair(["follower_id", "followee_id"], [&r.follower_id, &r.followee_id])?;
        let call = self.begin(&request).await;
        let answer = self.ask(&Check { viewer, targets: vec![target] }, &call).await?;
        let is_following = answer.value.first().copied().unwrap_or(false);
        Ok(Response::new(wire::IsFollowingResponse { is_following }))
    }

    async fn is_muted(
        &self,
        request: Request<wire::IsMutedRequest>,
    ) -> Result<Response<wire::IsMutedResponse>, Status> {
        let r = request.get_ref();
        let (muter, mutee) = pair(["muter_id", "mutee_id"], [&r.muter_id, &r.mutee_id])?;
        let call = self.begin(&request).await;
        let is_muted = self.relation(muter, mutee, &call).await?.muting.is_some();
        Ok(Response::new(wire::IsMutedResponse { is_muted }))
    }

    async fn is_blocked(
        &self,
        request: Request<wire::IsBlockedRequest>,
    ) -> Result<Response<wire::IsBlockedResponse>, Status> {
        let r = request.get_ref();
        let (blocker, blocked) = pair(["blocker_id", "blocked_id"], [&r.blocker_id, &r.blocked_id])?;
        let call = self.begin(&request).await;
        let is_blocked = self.relation(blocker, blocked, &call).await?.blocking.is_some();
        Ok(Response::new(wire::IsBlockedResponse { is_blocked }))
    }

    async fn batch_check_following(
        &self,
        request: Request<wire::BatchCheckFollowingRequest>,
    ) -> Result<Response<wire::BatchCheckFollowingResponse>, Status> {
        let r = request.get_ref();
        let viewer = validate::user(&r.follower_id, "follower_id")?;
        let targets = validate::users_up_to(MAX_CHECKS, &r.followee_ids, "followee_ids")?;
        let call = self.begin(&request).await;
        let answer = self.ask(&Check { viewer, targets }, &call).await?;
        // The keys are the caller's own texts, whatever their case.
        let results = request.into_inner().followee_ids.into_iter().zip(answer.value).collect();
        Ok(Response::new(wire::BatchCheckFollowingResponse { results }))
    }

    async fn has_block_between(
        &self,
        request: Request<wire::HasBlockBetweenRequest>,
    ) -> Result<Response<wire::HasBlockBetweenResponse>, Status> {
        let r = request.get_ref();
        let (a, b) = pair(["user_a", "user_b"], [&r.user_a, &r.user_b])?;
        let call = self.begin(&request).await;
        let relation = self.relation(a, b, &call).await?;
        Ok(Response::new(wire::HasBlockBetweenResponse {
            has_block: relation.blocked(),
            a_blocked_b: relation.blocking.is_some(),
            b_blocked_a: relation.blocked_by.is_some(),
        }))
    }

    async fn get_blocked_users(
        &self,
        request: Request<wire::GetBlockedUsersRequest>,
    ) -> Result<Response<wire::GetBlockedUsersResponse>, Status> {
        let r = request.get_ref();
        let user = validate::user(&r.user_id, "user_id")?;
        let bounds = self.bounds(r.limit, r.offset, MAX_OTHERS)?;
        let call = self.begin(&request).await;
        let part = self.list(ListKind::Blocks, user, bounds, None, &call).await?;
        Ok(Response::new(wire::GetBlockedUsersResponse {
            blocked_user_ids: part.ids(),
            total_count: part.total_count(),
            has_more: part.more,
        }))
    }

    async fn are_mutual_followers(
        &self,
        request: Request<wire::AreMutualFollowersRequest>,
    ) -> Result<Response<wire::AreMutualFollowersResponse>, Status> {
        let r = request.get_ref();
        let (a, b) = pair(["user_a", "user_b"], [&r.user_a, &r.user_b])?;
        let call = self.begin(&request).await;
        let relation = self.relation(a, b, &call).await?;
        let (a_follows_b, b_follows_a) = (relation.following.is_some(), relation.followed_by.is_some());
        Ok(Response::new(wire::AreMutualFollowersResponse {
            are_mutuals: a_follows_b && b_follows_a,
            a_follows_b,
            b_follows_a,
        }))
    }

    async fn get_mutual_followers(
        &self,
        request: Request<wire::GetMutualFollowersRequest>,
    ) -> Result<Response<wire::GetMutualFollowersResponse>, Status> {
        let r = request.get_ref();
        let user = validate::user(&r.user_id, "user_id")?;
        let bounds = self.bounds(r.limit, r.offset, MAX_OTHERS)?;
        let call = self.begin(&request).await;
        let part = self.friends(user, bounds, &call).await?;
        Ok(Response::new(wire::GetMutualFollowersResponse {
            user_ids: part.ids(),
            total_count: part.total_count(),
            has_more: part.more,
        }))
    }

    proto::served_elsewhere! { "write", "command-service";
        create_follow(CreateFollowRequest) -> CreateFollowResponse;
        delete_follow(DeleteFollowRequest) -> DeleteFollowResponse;
        create_mute(CreateMuteRequest) -> CreateMuteResponse;
        delete_mute(DeleteMuteRequest) -> DeleteMuteResponse;
        create_block(CreateBlockRequest) -> CreateBlockResponse;
        delete_block(DeleteBlockRequest) -> DeleteBlockResponse;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::router::Limit;

    #[test]
    fn only_want_of_freshness_makes_a_read_repeat() {
        let after = Duration::from_millis(1);
        let exhausted = Refusal::BudgetExhausted { limit: Limit::Rate, retry_after: after };
        for (refusal, fell_back, again) in [
            (exhausted, Fallback::Behind, true),
            (exhausted, Fallback::Down, false),
            (exhausted, Fallback::Slow, false),
            (Refusal::Unavailable { retry_after: after }, Fallback::Failed, false),
            (Refusal::Unavailable { retry_after: after }, Fallback::Epoch, true),
            (Refusal::TokenAhead, Fallback::Behind, true),
            (Refusal::Busy { share: false, retry_after: after }, Fallback::Behind, false),
        ] {
            let trace = QueryTrace::new(true);
            trace.fell_back(fell_back.name());
            assert_eq!(too_fresh(refusal, &trace), again, "{refusal:?} after {fell_back:?}");
        }
    }
}
