//! The wire of the older system's API: its clients were generated from these names and
//! numbers, which therefore never change.

use prost::Message as _;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet};

const WIRE: &str = "\
CreateFollow follower_id:string=1 followee_id:string=2 -> success:bool=1 message:string=2
DeleteFollow follower_id:string=1 followee_id:string=2 -> success:bool=1 message:string=2
CreateMute muter_id:string=1 mutee_id:string=2 -> success:bool=1 message:string=2
DeleteMute muter_id:string=1 mutee_id:string=2 -> success:bool=1 message:string=2
CreateBlock blocker_id:string=1 blocked_id:string=2 -> success:bool=1 message:string=2
DeleteBlock blocker_id:string=1 blocked_id:string=2 -> success:bool=1 message:string=2
GetFollowers user_id:string=1 limit:int32=2 offset:int32=3 viewer_id:string=4 -> user_ids:string*=1 total_count:int32=2 has_more:bool=3 users:FollowUserInfo*=4
GetFollowing user_id:string=1 limit:int32=2 offset:int32=3 viewer_id:string=4 -> user_ids:string*=1 total_count:int32=2 has_more:bool=3 users:FollowUserInfo*=4
IsFollowing follower_id:string=1 followee_id:string=2 -> is_following:bool=1
IsMuted muter_id:string=1 mutee_id:string=2 -> is_muted:bool=1
IsBlocked blocker_id:string=1 blocked_id:string=2 -> is_blocked:bool=1
BatchCheckFollowing follower_id:string=1 followee_ids:string*=2 -> results:ResultsEntry*=1
HasBlockBetween user_a:string=1 user_b:string=2 -> has_block:bool=1 a_blocked_b:bool=2 b_blocked_a:bool=3
GetBlockedUsers user_id:string=1 limit:int32=2 offset:int32=3 -> blocked_user_ids:string*=1 total_count:int32=2 has_more:bool=3
AreMutualFollowers user_a:string=1 user_b:string=2 -> are_mutuals:bool=1 a_follows_b:bool=2 b_follows_a:bool=3
GetMutualFollowers user_id:string=1 limit:int32=2 offset:int32=3 -> user_ids:string*=1 total_count:int32=2 has_more:bool=3
FollowUserInfo user_id:string=1 you_are_following:bool=2 follows_you:bool=3
ResultsEntry key:string=1 value:bool=2";

fn last(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

fn field(field: &FieldDescriptorProto) -> String {
    let kind = match field.r#type() {
        Type::String => "string",
        Type::Bool => "bool",
        Type::Int32 => "int32",
        Type::Message => last(field.type_name()),
        _ => "another type",
    };
    let repeated = if field.label() == Label::Repeated { "*" } else { "" };
    format!("{}:{kind}{repeated}={}", field.name(), field.number())
}

fn fields(message: &DescriptorProto) -> String {
    message.field.iter().map(field).collect::<Vec<_>>().join(" ")
}

fn message<'a>(file: &'a FileDescriptorProto, name: &str) -> &'a DescriptorProto {
    let nested = file.message_type.iter().flat_map(|m| &m.nested_type);
    let mut all = file.message_type.iter().chain(nested);
    all.find(|m| m.name() == last(name)).expect("a message of this file")
}

#[test]
fn the_names_and_numbers_of_the_older_api_stay() {
    let set = FileDescriptorSet::decode(crate::FILE_DESCRIPTOR_SET).expect("our own descriptors");
    let file = set.file.iter().find(|f| f.package() == "nova.graph_service.v2").expect("the older API");
    let service = &file.service[0];
    assert_eq!(service.name(), "GraphService");
    let mut lines: Vec<_> = service
        .method
        .iter()
        .map(|m| {
            let (input, output) = (message(file, m.input_type()), message(file, m.output_type()));
            format!("{} {} -> {}", m.name(), fields(input), fields(output))
        })
        .collect();
    for name in ["FollowUserInfo", "ResultsEntry"] {
        lines.push(format!("{name} {}", fields(message(file, name))));
    }
    assert_eq!(lines.join("\n"), WIRE);
}
