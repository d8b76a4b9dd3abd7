//! I7: without Neo4j, reads come from PostgreSQL within a budget, and beyond it are
//! refused at once; writes go on; Neo4j is used again when it is back.

use std::time::{Duration, Instant};

use proto::error::{Reason, reason_of};
use proto::query::v1::Source;
use tests::clients::{check, follow};
use tests::own::Victim;
use tests::truth::wait_following;
use tests::{Own, new_user, until};
use tonic::Code;
use tonic_types::StatusExt as _;
use xtask::env_file::Env;

const LIMIT: Duration = Duration::from_secs(60);
const BUDGET: u32 = 50;

#[tokio::test(flavor = "multi_thread")]
async fn reads_without_neo4j_stay_within_the_budget() {
    let more = Env::default().with("FALLBACK_BUDGET_PER_SECOND", BUDGET.to_string());
    let mut own = Own::start_with(more).await;
    let endpoints = own.endpoints.clone();
    let (mut commands, mut queries) = (endpoints.commands(), endpoints.queries());
    let (a, b) = (new_user(), new_user());
    let written = follow(&mut commands, &a, &b).await.expect("a follow").written_at;
    tests::truth::wait_caught_up(&endpoints).await;
    // The first reads of a server that has just started may be slow, and then PostgreSQL is asked.
    wait_following(&queries, &a, &b, &written).await;

    own.kill(Victim::Neo4j);
    let (mut from_postgres, mut refused) = (0_u32, Vec::new());
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(3) {
        let asked = Instant::now();
        match check(&mut queries, &a, &b, None).await {
            Ok(answer) => {
                assert!(answer.following, "no wrong answer");
                assert_eq!(answer.source(), Source::Postgres);
                from_postgres += 1;
            }
            Err(status) => {
                assert_eq!(reason_of(&status), Some(Reason::FallbackBudgetExhausted), "{status:?}");
                assert_eq!(status.code(), Code::ResourceExhausted);
                assert!(status.get_details_retry_info().is_some(), "it says when to try again");
                refused.push(asked.elapsed());
            }
        }
    }
    let seconds = begun.elapsed().as_secs() as u32 + 1;
    assert!(from_postgres > BUDGET / 2, "only {from_postgres} answers");
    // A bucket may be full at the start, so one second's budget comes on top.
    assert!(from_postgres <= BUDGET * (seconds + 1), "{from_postgres} answers in {seconds} s");
    assert!(refused.len() > 20, "a client without pauses is refused");

    assert!(follow(&mut commands, &new_user(), &new_user()).await.expect("a follow").changed, "writes go on");

    own.revive(Victim::Neo4j);
    until("Neo4j to answer again", LIMIT, || {
        let (mut queries, a, b) = (queries.clone(), a.clone(), b.clone());
        async move {
            let answer = check(&mut queries, &a, &b, None).await.map_err(|status| status.to_string())?;
            if answer.source() == Source::Neo4j { Ok(()) } else { Err("PostgreSQL answered".to_owned()) }
        }
    })
    .await;
}
