//! GetCounts: followers and following for everyone, the other counts for the account itself alone.

use proto::UserId;
use proto::query::v1::{Counts as WireCounts, GetCountsRequest, GetCountsResponse};
use tonic::Status;

use super::call::{Begun, Call, wire_source};
use super::{Queries, validate};
use crate::queries::{Counts, CountsOf};

impl Queries {
    /// Returns the counts of accounts.
    pub(super) async fn counts(
        &self,
        request: GetCountsRequest,
        begun: Begun,
    ) -> Result<GetCountsResponse, Status> {
        let users = validate::users(&request.user_ids, "user_ids")?;
        let viewer = validate::optional_user(&request.viewer_id, "viewer_id")?;
        let call = Call::new(begun, request.consistency.as_ref(), request.explain)?;
        let question = CountsOf { users };
        let answer = self.ask(&question, &call).await?;
        let counts = question.users.iter().zip(answer.value);
        Ok(GetCountsResponse {
            counts: counts.map(|(user, counts)| shown(*user, counts, viewer)).collect(),
            as_of: answer.as_of.to_string(),
            source: wire_source(answer.source),
            explanation: call.explanation(),
        })
    }
}

/// The counts that this viewer may see: only the account itself sees its mutes, blocks and requests.
fn shown(user: UserId, counts: Counts, viewer: Option<UserId>) -> WireCounts {
    let own = |count| (viewer == Some(user)).then_some(count);
    WireCounts {
        user_id: user.to_string(),
        followers: counts.followers,
        following: counts.following,
        muting: own(counts.muting),
        blocking: own(counts.blocking),
        requests_sent: own(counts.requests_sent),
        requests_received: own(counts.requests_received),
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn only_the_account_itself_is_told_its_mutes_blocks_and_requests() {
        let user = |n| UserId::new(Uuid::from_u128(n)).expect("not nil");
        let counts = Counts {
            followers: 1,
            following: 2,
            muting: 3,
            blocking: 4,
            requests_sent: 5,
            requests_received: 6,
        };
        for viewer in [None, Some(user(2))] {
            let others = shown(user(1), counts, viewer);
            let wanted = WireCounts {
                user_id: user(1).to_string(),
                followers: 1,
                following: 2,
                ..WireCounts::default()
            };
            assert_eq!(others, wanted);
        }
        let own = shown(user(1), counts, Some(user(1)));
        let private = [own.muting, own.blocking, own.requests_sent, own.requests_received];
        assert_eq!(private, [Some(3), Some(4), Some(5), Some(6)]);
    }
}
