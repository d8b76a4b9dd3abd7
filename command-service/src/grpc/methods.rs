//! Scope and maximum message size of each method. A size leaves room for the largest message of the contract, with ids
//! of 36 bytes.

use service_kit::auth::Scope::{Admin, Read, Write};
use service_kit::grpc::MethodRule;

/// One command.
const COMMAND: usize = 4 << 10;
/// 300 commands.
const BATCH: usize = 256 << 10;
/// 1,000 edges with dates.
const CHUNK: usize = 256 << 10;
/// 100,000 ids.
const LIST: usize = 4 << 20;
/// The largest request of the older API: 100 ids.
const LEGACY: usize = 8 << 10;

/// `followgraph.command.v1.CommandService`.
pub static COMMANDS: [MethodRule; 19] = [
    MethodRule::scoped("Follow", Write, COMMAND),
    MethodRule::scoped("Unfollow", Write, COMMAND),
    MethodRule::scoped("RemoveFollower", Write, COMMAND),
    MethodRule::scoped("Mute", Write, COMMAND),
    MethodRule::scoped("Unmute", Write, COMMAND),
    MethodRule::scoped("Block", Write, COMMAND),
    MethodRule::scoped("Unblock", Write, COMMAND),
    MethodRule::scoped("AcceptFollowRequest", Write, COMMAND),
    MethodRule::scoped("RejectFollowRequest", Write, COMMAND),
    MethodRule::scoped("CancelFollowRequest", Write, COMMAND),
    MethodRule::scoped("SetAccountPrivacy", Write, COMMAND),
    MethodRule::scoped("BatchWrite", Write, BATCH),
    MethodRule::scoped("ReplaceFollowing", Write, LIST),
    MethodRule::scoped("ImportEdges", Admin, CHUNK),
    MethodRule::scoped("EraseAccount", Admin, COMMAND),
    MethodRule::scoped("ArchiveAccount", Admin, COMMAND),
    MethodRule::scoped("RestoreAccount", Admin, COMMAND),
    MethodRule::scoped("GetJob", Write, COMMAND),
    MethodRule::scoped("GetStatus", Read, COMMAND).exempt_from_limits(),
];

/// `nova.graph_service.v2.GraphService`: this process serves the writes, and refers reads to query-service.
pub static LEGACY_WRITES: [MethodRule; 16] = [
    MethodRule::scoped("CreateFollow", Write, COMMAND),
    MethodRule::scoped("DeleteFollow", Write, COMMAND),
    MethodRule::scoped("CreateMute", Write, COMMAND),
    MethodRule::scoped("DeleteMute", Write, COMMAND),
    MethodRule::scoped("CreateBlock", Write, COMMAND),
    MethodRule::scoped("DeleteBlock", Write, COMMAND),
    MethodRule::open("GetFollowers", LEGACY),
    MethodRule::open("GetFollowing", LEGACY),
    MethodRule::open("IsFollowing", LEGACY),
    MethodRule::open("IsMuted", LEGACY),
    MethodRule::open("IsBlocked", LEGACY),
    MethodRule::open("BatchCheckFollowing", LEGACY),
    MethodRule::open("HasBlockBetween", LEGACY),
    MethodRule::open("GetBlockedUsers", LEGACY),
    MethodRule::open("AreMutualFollowers", LEGACY),
    MethodRule::open("GetMutualFollowers", LEGACY),
];

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use proto::FILE_DESCRIPTOR_SET;
    use proto::command::v1::command_service_server::SERVICE_NAME;
    use proto::command::v1::{
        BatchWriteRequest, BlockRequest, ImportEdge, ImportEdgesRequest, ReplaceFollowingRequest, Write,
        write,
    };
    use proto::legacy::v2::graph_service_server::SERVICE_NAME as LEGACY_NAME;
    use service_kit::grpc::mismatches;

    use super::*;

    #[test]
    fn methods_and_rows_match() {
        for (service, rows) in [(SERVICE_NAME, &COMMANDS[..]), (LEGACY_NAME, &LEGACY_WRITES[..])] {
            let wrong = mismatches(FILE_DESCRIPTOR_SET, service, rows).expect("valid descriptors");
            assert!(wrong.is_empty(), "{wrong:?}");
        }
    }

    #[test]
    fn the_largest_requests_of_the_contract_fit() {
        let id = "f47ac10b-58cc-4372-a567-0e02b2c3d479".to_owned();
        let at = Some(prost_types::Timestamp { seconds: i64::MAX, nanos: 999_999_999 });
        let block = BlockRequest {
            actor_id: id.clone(),
            target_id: id.clone(),
            request_id: id.clone(),
            expires_at: at,
            ..Default::default()
        };
        let writes = vec![Write { command: Some(write::Command::Block(block)) }; 300];
        let batch = BatchWriteRequest { writes, ..Default::default() };
        let edge =
            ImportEdge { source_id: id.clone(), target_id: id.clone(), created_at: at, expires_at: at };
        let chunk = ImportEdgesRequest { edges: vec![edge; 1_000], ..Default::default() };
        let list = ReplaceFollowingRequest {
            actor_id: id.clone(),
            target_ids: vec![id; 100_000],
            ..Default::default()
        };
        for (method, size) in [
            ("BatchWrite", batch.encoded_len()),
            ("ImportEdges", chunk.encoded_len()),
            ("ReplaceFollowing", list.encoded_len()),
        ] {
            let row = COMMANDS.iter().find(|row| row.method == method).expect("a row");
            // Preconditions take up to 300 bytes a command.
            let more = if method == "BatchWrite" { 90_000 } else { 1_000 };
            assert!(row.max_message > size + more, "{method}: {size}");
        }
    }
}
