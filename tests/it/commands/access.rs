//! Tokens and scopes of commands.

use devstack::env_file::Env;
use proto::command::v1::{GetStatusRequest, ImportEdgesRequest};
use proto::error::Reason;
use tests::jobs::{OnAccount, replace_following};
use tests::own::command_service_beside;
use tests::refusal::assert_refused;
use tests::{Act, Ask, Endpoints, asks, importing, users};

const READER: &str = "the-reader-has-this-secret-000001";
const WRITER: &str = "the-writer-has-this-secret-000002";
const NEXT_WRITER: &str = "the-next-writer-has-this-000003";
const ADMIN: &str = "the-admin-has-this-secret-0000004";

#[tokio::test(flavor = "multi_thread")]
async fn scopes_and_several_tokens_at_a_time() {
    let shared = Endpoints::shared();
    let tokens = format!("read:{READER},write:{WRITER},write:{NEXT_WRITER},admin:{ADMIN}");
    let service = command_service_beside(&shared, Env::default().with("AUTH_TOKENS", tokens));
    let here = shared.through(&service);
    let client = |token: &str| here.with_token(token).commands();
    let [a, b] = users();

    let all = [
        Act::Follow,
        Act::Unfollow,
        Act::RemoveFollower,
        Act::Mute,
        Act::Unmute,
        Act::Block,
        Act::Unblock,
        Act::Reject,
        Act::Cancel,
    ];
    for act in all {
        for writer in [WRITER, NEXT_WRITER] {
            Ask::new(act, a, b).done(&client(writer)).await;
        }
        for other in [READER, ADMIN] {
            let status = Ask::new(act, a, b).refused(&client(other)).await;
            assert_refused(&status, Reason::ScopeMissing, None);
        }
    }
    let status = Ask::new(Act::Accept, a, b).refused(&client(READER)).await;
    assert_refused(&status, Reason::ScopeMissing, None);
    let ask = [Ask::new(Act::Follow, a, b)];
    let status = asks::batch(&client(READER), &ask, false, None).await.expect_err("a reader");
    assert_refused(&status, Reason::ScopeMissing, None);
    let status = replace_following(&client(READER), a, &[b], None, true).await.expect_err("a reader");
    assert_refused(&status, Reason::ScopeMissing, None);
    let status = OnAccount::SetPrivate(true).send(&client(READER), a, None).await.expect_err("a reader");
    assert_refused(&status, Reason::ScopeMissing, None);

    for on_account in [OnAccount::Archive, OnAccount::Restore, OnAccount::Erase] {
        for other in [READER, WRITER] {
            let status = on_account.send(&client(other), a, None).await.expect_err("not the admin");
            assert_refused(&status, Reason::ScopeMissing, None);
        }
        let started = on_account.send(&client(ADMIN), a, None).await.expect("the admin");
        tests::jobs::wait(&shared.commands(), &started.job_id).await;
    }
    let empty = ImportEdgesRequest::default();
    let status = importing::chunk(&mut client(WRITER), empty.clone()).await.expect_err("not the admin");
    assert_refused(&status, Reason::ScopeMissing, None);
    importing::chunk(&mut client(ADMIN), empty).await.expect("the admin");

    assert!(client(READER).get_status(GetStatusRequest {}).await.is_ok());
    let status = Ask::new(Act::Follow, a, b).refused(&client("somebody-guesses-a-secret-000005")).await;
    assert_refused(&status, Reason::Unauthenticated, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_configured_tokens_writes_are_refused() {
    let shared = Endpoints::shared();
    let service = command_service_beside(&shared, Env::default());
    let here = shared.through(&service);
    let [a, b] = users();
    let status = Ask::new(Act::Follow, a, b).refused(&here.commands()).await;
    assert_refused(&status, Reason::WritesDisabled, None);
    let status = OnAccount::Erase.send(&here.commands(), a, None).await.expect_err("off");
    assert_refused(&status, Reason::WritesDisabled, None);
}
