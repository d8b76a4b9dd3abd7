//! I9: bad input gets the right code, a reason for programs, and the field at fault.

use prost::Message as _;
use proto::command::v1::{FollowRequest, ImportEdgesRequest};
use proto::error::{Reason, code, reason_of};
use proto::query::v1::consistency::Requirement;
use proto::query::v1::{BatchCheckRequest, CheckRequest, Consistency, ExportEdgesRequest, GetCountsRequest};
use proto::{Epoch, Revision, Token};
use tests::clients::{List, channel, check, fresh, page};
use tests::importing::chunk;
use tests::{Endpoints, new_user};
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;

const NIL: &str = "00000000-0000-0000-0000-000000000000";

#[track_caller]
fn assert_error(status: &Status, reason: Reason, field: Option<&str>) {
    assert_eq!(reason_of(status), Some(reason), "{status:?}");
    assert_eq!(status.code(), code(reason), "{status:?}");
    let violations =
        status.get_details_bad_request().map(|details| details.field_violations).unwrap_or_default();
    assert_eq!(violations.first().map(|violation| violation.field.as_str()), field, "{status:?}");
}

#[tokio::test]
async fn ids_of_writes() {
    let endpoints = Endpoints::shared();
    let user = new_user();
    for (actor, target, request_id, reason, field) in [
        ("", user.as_str(), "", Reason::FieldRequired, "actor_id"),
        ("17", &user, "", Reason::InvalidUuid, "actor_id"),
        (&user, NIL, "", Reason::NilUuid, "target_id"),
        (&user, &user, "", Reason::SelfEdge, "target_id"),
        (&user, "f47ac10b-58cc-4372-a567-0e02b2c3d479", "once", Reason::InvalidUuid, "request_id"),
    ] {
        let request = FollowRequest {
            actor_id: actor.into(),
            target_id: target.into(),
            request_id: request_id.into(),
            precondition: None,
        };
        let status = endpoints.commands().follow(request).await.expect_err("refused");
        assert_error(&status, reason, Some(field));
    }
}

#[tokio::test]
async fn ids_of_reads() {
    let endpoints = Endpoints::shared();
    let mut queries = endpoints.queries();
    let user = new_user();
    let status = check(&mut queries, "x", &user, None).await.expect_err("refused");
    assert_error(&status, Reason::InvalidUuid, Some("viewer_id"));
    let status = check(&mut queries, &user, NIL, None).await.expect_err("refused");
    assert_error(&status, Reason::NilUuid, Some("target_id"));
    let request = BatchCheckRequest {
        viewer_id: user.clone(),
        target_ids: vec![user.clone(), "y".into()],
        ..Default::default()
    };
    let status = queries.batch_check(request).await.expect_err("refused");
    assert_error(&status, Reason::InvalidUuid, Some("target_ids[1]"));
    let request = GetCountsRequest { user_ids: vec![String::new()], ..Default::default() };
    let status = queries.get_counts(request).await.expect_err("refused");
    assert_error(&status, Reason::FieldRequired, Some("user_ids[0]"));
    let status = page(&mut queries, List::Following, "z", 1, "", None).await.expect_err("refused");
    assert_error(&status, Reason::InvalidUuid, Some("user_id"));
}

#[tokio::test]
async fn too_many_items_and_a_negative_page_size() {
    let endpoints = Endpoints::shared();
    let mut queries = endpoints.queries();
    let user = new_user();
    let request = BatchCheckRequest {
        viewer_id: user.clone(),
        target_ids: vec![user.clone(); 1_001],
        ..Default::default()
    };
    let status = queries.batch_check(request).await.expect_err("refused");
    assert_error(&status, Reason::TooManyItems, Some("target_ids"));
    let request = GetCountsRequest { user_ids: vec![user.clone(); 1_001], ..Default::default() };
    let status = queries.get_counts(request).await.expect_err("refused");
    assert_error(&status, Reason::TooManyItems, Some("user_ids"));
    let status = page(&mut queries, List::Followers, &user, -1, "", None).await.expect_err("refused");
    assert_error(&status, Reason::NegativePageSize, Some("page_size"));
}

#[tokio::test]
async fn consistency_tokens() {
    let endpoints = Endpoints::shared();
    let (mut commands, mut queries) = (endpoints.commands(), endpoints.queries());
    let (a, b) = (new_user(), new_user());
    let written = tests::clients::follow(&mut commands, &a, &b).await.expect("a follow").written_at;
    let now = Token::parse(&written).expect("a token");
    let ahead = Token::new(now.epoch, Revision(now.revision.0 + 1_000_000)).to_string();
    let elsewhere = Token::new(Epoch(now.epoch.0 + 1), now.revision).to_string();

    let status = check(&mut queries, &a, &b, fresh("yesterday")).await.expect_err("refused");
    assert_eq!(reason_of(&status), Some(Reason::InvalidToken), "{status:?}");
    let status = check(&mut queries, &a, &b, fresh(&ahead)).await.expect_err("refused");
    assert_eq!(reason_of(&status), Some(Reason::TokenAhead), "{status:?}");
    let status = check(&mut queries, &a, &b, fresh(&elsewhere)).await.expect_err("refused");
    assert_eq!(reason_of(&status), Some(Reason::EpochChanged), "{status:?}");
    assert_eq!(status.code(), Code::FailedPrecondition);
    for requirement in [Requirement::MinimizeLatency(false), Requirement::FullyConsistent(false)] {
        let consistency = Some(Consistency { requirement: Some(requirement) });
        let status = check(&mut queries, &a, &b, consistency).await.expect_err("refused");
        assert_eq!(reason_of(&status), Some(Reason::InvalidConsistency), "{status:?}");
    }
}

#[tokio::test]
async fn unknown_enum_values() {
    let endpoints = Endpoints::shared();
    let request = ImportEdgesRequest { kind: 99, ..Default::default() };
    let status = chunk(&mut endpoints.commands(), request).await.expect_err("refused");
    assert_error(&status, Reason::UnknownEnumValue, Some("kind"));
    let request = ExportEdgesRequest { kind: 99, resume_token: String::new() };
    let status = match endpoints.queries().export_edges(request).await {
        Err(status) => status,
        Ok(stream) => stream.into_inner().message().await.expect_err("refused"),
    };
    assert_error(&status, Reason::UnknownEnumValue, Some("kind"));
    let request = ExportEdgesRequest { kind: 0, resume_token: "forged".into() };
    let status = match endpoints.queries().export_edges(request).await {
        Err(status) => status,
        Ok(stream) => stream.into_inner().message().await.expect_err("refused"),
    };
    assert_error(&status, Reason::InvalidPageToken, Some("resume_token"));
}

#[tokio::test]
async fn a_message_that_is_too_large() {
    let endpoints = Endpoints::shared();
    let request = FollowRequest { actor_id: "x".repeat(5 << 20), ..Default::default() };
    let status = endpoints.commands().follow(request).await.expect_err("refused");
    assert_error(&status, Reason::MessageTooLarge, None);
    let request = BatchCheckRequest {
        viewer_id: new_user(),
        target_ids: vec!["x".repeat(5 << 20)],
        ..Default::default()
    };
    let status = endpoints.queries().batch_check(request).await.expect_err("refused");
    assert_error(&status, Reason::MessageTooLarge, None);
}

#[tokio::test]
async fn bytes_that_are_no_message() {
    let endpoints = Endpoints::shared();
    for (address, path) in [
        (&endpoints.command, "/followgraph.command.v1.CommandService/Follow"),
        (&endpoints.query, "/followgraph.query.v1.QueryService/Check"),
    ] {
        let mut client = tonic::client::Grpc::new(channel(address));
        client.ready().await.expect("a connection");
        // A length-delimited field that is longer than the message.
        let mut request = Request::new(Garbage(vec![0x0a, 0xff, 0x01]));
        let bearer = format!("Bearer {}", endpoints.token).parse().expect("printable");
        request.metadata_mut().insert("authorization", bearer);
        let codec = tonic_prost::ProstCodec::<Garbage, FollowRequest>::default();
        let status = client.unary(request, path.parse().expect("a path"), codec).await.expect_err("refused");
        assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
        assert_eq!(reason_of(&status), Some(Reason::MalformedMessage), "{status:?}");
    }
}

/// Bytes sent as they are.
#[derive(Clone, Debug, Default)]
struct Garbage(Vec<u8>);

impl prost::Message for Garbage {
    fn encode_raw(&self, buffer: &mut impl prost::bytes::BufMut) {
        buffer.put_slice(&self.0);
    }

    fn merge_field(
        &mut self,
        _: u32,
        _: prost::encoding::WireType,
        _: &mut impl prost::bytes::Buf,
        _: prost::encoding::DecodeContext,
    ) -> Result<(), prost::DecodeError> {
        Ok(())
    }

    fn encoded_len(&self) -> usize {
        self.0.len()
    }

    fn clear(&mut self) {}
}

#[tokio::test]
async fn a_deadline_that_has_passed() {
    let endpoints = Endpoints::shared();
    let user = new_user();
    let follow = FollowRequest { actor_id: user.clone(), target_id: new_user(), ..FollowRequest::default() };
    let check = CheckRequest { viewer_id: user.clone(), target_id: new_user(), ..Default::default() };
    for (address, path, message) in [
        (&endpoints.command, "/followgraph.command.v1.CommandService/Follow", follow.encode_to_vec()),
        (&endpoints.query, "/followgraph.query.v1.QueryService/Check", check.encode_to_vec()),
    ] {
        let status = tests::raw::call(address, path, &endpoints.token, "0n", &message).await;
        assert_error(&status, Reason::DeadlineExceeded, None);
    }
    let counted =
        tests::clients::counts(&mut endpoints.queries(), &[user], tests::clients::consistent()).await;
    assert_eq!(counted.expect("counts")[0].following, 0, "nothing was written");
}
