//! Required scope and largest request of each method.
//!
//! A limit leaves room for the largest message that the contract allows, with ids of 36 bytes.

use service_kit::auth::Scope::{Admin, Read};
use service_kit::grpc::MethodRule;

/// A few ids and tokens.
const QUESTION: usize = 4 << 10;
/// 1,000 ids.
const BATCH: usize = 64 << 10;
/// Two lists of 1,000 ids.
const FILTER: usize = 128 << 10;
/// The largest request of the older API: 100 ids.
const LEGACY: usize = 8 << 10;

/// `followgraph.query.v1.QueryService`.
pub static QUERIES: [MethodRule; 16] = [
    MethodRule::scoped("Check", Read, QUESTION),
    MethodRule::scoped("BatchCheck", Read, BATCH),
    MethodRule::scoped("GetRelationships", Read, BATCH),
    MethodRule::scoped("ListFollowers", Read, QUESTION),
    MethodRule::scoped("ListFollowing", Read, QUESTION),
    MethodRule::scoped("ListMutes", Read, QUESTION),
    MethodRule::scoped("ListBlocks", Read, QUESTION),
    MethodRule::scoped("ListFollowRequests", Read, QUESTION),
    MethodRule::scoped("GetCounts", Read, BATCH),
    MethodRule::scoped("ListMutuals", Read, QUESTION),
    MethodRule::scoped("ListFollowersYouKnow", Read, QUESTION),
    MethodRule::scoped("ListSetOperation", Read, QUESTION),
    MethodRule::scoped("SuggestAccounts", Read, QUESTION),
    MethodRule::scoped("ExportEdges", Admin, QUESTION),
    MethodRule::scoped("WatchEvents", Read, FILTER),
    MethodRule::scoped("GetStatus", Read, QUESTION).exempt_from_limits(),
];

/// `nova.graph_service.v2.GraphService`. Reads are restricted by `LEGACY_READS`. Writes are rejected with the name of
/// command-service.
pub static LEGACY_READS: [MethodRule; 16] = [
    MethodRule::open("CreateFollow", LEGACY),
    MethodRule::open("DeleteFollow", LEGACY),
    MethodRule::open("CreateMute", LEGACY),
    MethodRule::open("DeleteMute", LEGACY),
    MethodRule::open("CreateBlock", LEGACY),
    MethodRule::open("DeleteBlock", LEGACY),
    MethodRule::scoped("GetFollowers", Read, LEGACY),
    MethodRule::scoped("GetFollowing", Read, LEGACY),
    MethodRule::scoped("IsFollowing", Read, LEGACY),
    MethodRule::scoped("IsMuted", Read, LEGACY),
    MethodRule::scoped("IsBlocked", Read, LEGACY),
    MethodRule::scoped("BatchCheckFollowing", Read, LEGACY),
    MethodRule::scoped("HasBlockBetween", Read, LEGACY),
    MethodRule::scoped("GetBlockedUsers", Read, LEGACY),
    MethodRule::scoped("AreMutualFollowers", Read, LEGACY),
    MethodRule::scoped("GetMutualFollowers", Read, LEGACY),
];

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use proto::FILE_DESCRIPTOR_SET;
    use proto::legacy::v2::graph_service_server::SERVICE_NAME as LEGACY_NAME;
    use proto::query::v1::query_service_server::SERVICE_NAME;
    use proto::query::v1::{
        BatchCheckRequest, GetCountsRequest, GetRelationshipsRequest, WatchEventsRequest,
    };
    use service_kit::grpc::mismatches;

    use super::*;

    #[test]
    fn every_method_has_its_row_and_every_row_its_method() {
        for (service, rows) in [(SERVICE_NAME, &QUERIES[..]), (LEGACY_NAME, &LEGACY_READS[..])] {
            let wrong = mismatches(FILE_DESCRIPTOR_SET, service, rows).expect("valid descriptors");
            assert!(wrong.is_empty(), "{wrong:?}");
        }
    }

    #[test]
    fn the_largest_requests_of_the_contract_fit() {
        let id = "f47ac10b-58cc-4372-a567-0e02b2c3d479".to_owned();
        let ids = vec![id.clone(); 1_000];
        let check =
            BatchCheckRequest { viewer_id: id.clone(), target_ids: ids.clone(), ..Default::default() };
        let relations =
            GetRelationshipsRequest { viewer_id: id, target_ids: ids.clone(), ..Default::default() };
        let counts = GetCountsRequest { user_ids: ids.clone(), ..Default::default() };
        let watch = WatchEventsRequest { actor_ids: ids.clone(), target_ids: ids, ..Default::default() };
        for (method, size) in [
            ("BatchCheck", check.encoded_len()),
            ("GetRelationships", relations.encoded_len()),
            ("GetCounts", counts.encoded_len()),
            ("WatchEvents", watch.encoded_len()),
        ] {
            let row = QUERIES.iter().find(|row| row.method == method).expect("a row");
            assert!(row.max_message > size + 1_000, "{method}: {size}");
        }
    }
}
