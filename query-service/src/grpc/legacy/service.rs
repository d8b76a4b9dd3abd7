//! The methods of the older API.

use proto::legacy::v2 as wire;
use proto::legacy::v2::graph_service_server::GraphService;
use tonic::{Request, Response};

use super::super::call::Reply;
use super::super::validate;
use super::Legacy;
use crate::queries::{Check, ListKind};

/// Maximum limit of GetFollowers and GetFollowing.
const MAX_FOLLOWS: usize = 10_000;
/// Maximum limit of the other lists.
const MAX_OTHERS: usize = 1_000;
/// Maximum number of ids of BatchCheckFollowing.
const MAX_CHECKS: usize = 100;

#[tonic::async_trait]
impl GraphService for Legacy {
    async fn get_followers(
        &self,
        request: Request<wire::GetFollowersRequest>,
    ) -> Reply<wire::GetFollowersResponse> {
        let r = request.get_ref();
        let user = validate::user(&r.user_id, "user_id")?;
        let bounds = self.bounds(r.limit, r.offset, MAX_FOLLOWS)?;
        let viewer = validate::optional_user(&r.viewer_id, "viewer_id")?;
        let call = self.begin(&request).await;
        let part = self.list(ListKind::Followers, user, bounds, viewer, call).await?;
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
    ) -> Reply<wire::GetFollowingResponse> {
        let r = request.get_ref();
        let user = validate::user(&r.user_id, "user_id")?;
        let bounds = self.bounds(r.limit, r.offset, MAX_FOLLOWS)?;
        let viewer = validate::optional_user(&r.viewer_id, "viewer_id")?;
        let call = self.begin(&request).await;
        let part = self.list(ListKind::Following, user, bounds, viewer, call).await?;
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
    ) -> Reply<wire::IsFollowingResponse> {
        let r = request.get_ref();
        let viewer = validate::user(&r.follower_id, "follower_id")?;
        let targets = vec![validate::user(&r.followee_id, "followee_id")?];
        let call = self.begin(&request).await;
        let answer = self.ask(&Check { viewer, targets }, call).await?;
        let is_following = answer.value.first().copied().unwrap_or(false);
        Ok(Response::new(wire::IsFollowingResponse { is_following }))
    }

    async fn is_muted(&self, request: Request<wire::IsMutedRequest>) -> Reply<wire::IsMutedResponse> {
        let r = request.get_ref();
        let pair = [("muter_id", &*r.muter_id), ("mutee_id", &r.mutee_id)];
        let is_muted = self.relation(&request, pair).await?.muting.is_some();
        Ok(Response::new(wire::IsMutedResponse { is_muted }))
    }

    async fn is_blocked(&self, request: Request<wire::IsBlockedRequest>) -> Reply<wire::IsBlockedResponse> {
        let r = request.get_ref();
        let pair = [("blocker_id", &*r.blocker_id), ("blocked_id", &r.blocked_id)];
        let is_blocked = self.relation(&request, pair).await?.blocking.is_some();
        Ok(Response::new(wire::IsBlockedResponse { is_blocked }))
    }

    async fn batch_check_following(
        &self,
        request: Request<wire::BatchCheckFollowingRequest>,
    ) -> Reply<wire::BatchCheckFollowingResponse> {
        let r = request.get_ref();
        let viewer = validate::user(&r.follower_id, "follower_id")?;
        let targets = validate::users_up_to(MAX_CHECKS, &r.followee_ids, "followee_ids")?;
        let call = self.begin(&request).await;
        let answer = self.ask(&Check { viewer, targets }, call).await?;
        // The keys are the ids as the caller wrote them, in upper or lower case.
        let results = request.into_inner().followee_ids.into_iter().zip(answer.value).collect();
        Ok(Response::new(wire::BatchCheckFollowingResponse { results }))
    }

    async fn has_block_between(
        &self,
        request: Request<wire::HasBlockBetweenRequest>,
    ) -> Reply<wire::HasBlockBetweenResponse> {
        let r = request.get_ref();
        let pair = [("user_a", &*r.user_a), ("user_b", &r.user_b)];
        let relation = self.relation(&request, pair).await?;
        Ok(Response::new(wire::HasBlockBetweenResponse {
            has_block: relation.blocked(),
            a_blocked_b: relation.blocking.is_some(),
            b_blocked_a: relation.blocked_by.is_some(),
        }))
    }

    async fn get_blocked_users(
        &self,
        request: Request<wire::GetBlockedUsersRequest>,
    ) -> Reply<wire::GetBlockedUsersResponse> {
        let r = request.get_ref();
        let user = validate::user(&r.user_id, "user_id")?;
        let bounds = self.bounds(r.limit, r.offset, MAX_OTHERS)?;
        let call = self.begin(&request).await;
        let part = self.list(ListKind::Blocks, user, bounds, None, call).await?;
        Ok(Response::new(wire::GetBlockedUsersResponse {
            blocked_user_ids: part.ids(),
            total_count: part.total_count(),
            has_more: part.more,
        }))
    }

    async fn are_mutual_followers(
        &self,
        request: Request<wire::AreMutualFollowersRequest>,
    ) -> Reply<wire::AreMutualFollowersResponse> {
        let r = request.get_ref();
        let pair = [("user_a", &*r.user_a), ("user_b", &r.user_b)];
        let relation = self.relation(&request, pair).await?;
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
    ) -> Reply<wire::GetMutualFollowersResponse> {
        let r = request.get_ref();
        let user = validate::user(&r.user_id, "user_id")?;
        let bounds = self.bounds(r.limit, r.offset, MAX_OTHERS)?;
        let call = self.begin(&request).await;
        let part = self.friends(user, bounds, call).await?;
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
