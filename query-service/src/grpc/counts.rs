//! Conversion of counts to messages.

use proto::UserId;
use proto::query::v1::Counts as WireCounts;

use crate::queries::Counts;

/// Omits what the viewer may not see: only the account itself sees its mutes, blocks and requests.
pub fn shown(user: UserId, counts: Counts, viewer: Option<UserId>) -> WireCounts {
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
