//! Additions of a later version to the events, for the rolling upgrade test: a field, which older readers ignore, and a
//! verb, at which they stop.

use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{EnumValueDescriptorProto, FieldDescriptorProto, FileDescriptorSet};

/// Adds the field `written_by` and the verb for the removal of a follower.
pub fn add_to(descriptors: &mut FileDescriptorSet) {
    let events = descriptors.file.iter_mut().find(|file| file.name() == "followgraph/event/v1/event.proto");
    let events = events.expect("the file of the events");
    // Additions have no source location, and the generator requires one for all elements or for none.
    events.source_code_info = None;
    let event = events.message_type.iter_mut().find(|message| message.name() == "Event");
    event.expect("the message of an event").field.push(FieldDescriptorProto {
        name: Some("written_by".to_owned()),
        json_name: Some("writtenBy".to_owned()),
        number: Some(1_000),
        label: Some(Label::Optional.into()),
        r#type: Some(Type::String.into()),
        ..FieldDescriptorProto::default()
    });
    let verbs = events.enum_type.iter_mut().find(|kind| kind.name() == "Verb");
    verbs.expect("the verbs").value.push(EnumValueDescriptorProto {
        name: Some("VERB_DISMISS_FOLLOWER".to_owned()),
        number: Some(1_000),
        options: None,
    });
}
