//! Jobs resume after command-service is killed.

use proto::UserId;
use proto::command::v1::{GetJobResponse, JobState};
use tests::jobs::{self, OnAccount};
use tests::own::Victim;
use tests::truth::postgres::snapshot_of;
use tests::{Act, Ask, Own, asks, importing, truth, until, user, users};

const FANS: usize = 20_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_job_over_20_000_followers_survives_kill_9() {
    let mut own = Own::light().start().await;
    let [x, y] = users();
    let mut commands = own.endpoints.commands();
    let fans: Vec<_> = (0..FANS).map(|_| (user().to_string(), x.to_string())).collect();
    importing::all(&mut commands, &fans, 1_000).await;
    let others: Vec<_> = fans[..500].iter().map(|(fan, _)| (fan.clone(), y.to_string())).collect();
    importing::all(&mut commands, &others, 500).await;
    let pool = own.endpoints.postgres().await;
    let before = snapshot_of(&pool, &[x, y]).await;

    for (on_account, left) in
        [(OnAccount::Archive, 500), (OnAccount::Restore, FANS + 500), (OnAccount::Erase, 500)]
    {
        let job = killed_in_the_middle(&mut own, on_account, x, FANS).await;
        assert_eq!((job.done, job.total), (FANS as u64, FANS as u64), "{on_account:?}: {job:?}");
        let after = truth::postgres::snapshot(&pool).await;
        after.assert_consistent();
        assert_eq!(after.edges.len(), left, "{on_account:?}");
        if on_account == OnAccount::Restore {
            truth::assert_same("after the restore", &after.edges, &before.edges);
        }
    }
    truth::assert_agreement(&own.endpoints, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn accepting_3_000_requests_and_replacing_a_list_of_6_000_survive_kill_9() {
    let mut own = Own::light().start().await;
    let [p, a] = users();
    let commands = own.endpoints.commands();
    OnAccount::SetPrivate(true).finish(&commands, p).await;
    let askers: [_; 3_000] = users();
    for askers in askers.chunks(300) {
        let asked: Vec<_> = askers.iter().map(|asker| Ask::new(Act::Follow, *asker, p)).collect();
        asks::batch(&commands, &asked, true, None).await.expect("requests");
    }
    let job = killed_in_the_middle(&mut own, OnAccount::SetPrivate(false), p, askers.len()).await;
    assert_eq!((job.state(), job.done), (JobState::Done, 3_000), "{job:?}");

    let wanted: [_; 6_000] = users();
    let job_id = jobs::replace_following(&commands, a, &wanted, None, false).await.expect("a job").job_id;
    let job = killed(&mut own, &job_id, wanted.len()).await;
    assert_eq!((job.state(), job.done), (JobState::Done, 6_000), "{job:?}");

    let after = truth::postgres::snapshot(&own.endpoints.postgres().await).await;
    after.assert_consistent();
    let counts = (after.accounts[&p].counts, after.accounts[&a].counts);
    assert_eq!((counts.0.followers, counts.0.requests_received, counts.1.following), (3_000, 0, 6_000));
    truth::assert_agreement(&own.endpoints, 3).await;
}

/// Kills the process that runs the job, and waits for the end of the job.
async fn killed_in_the_middle(
    own: &mut Own,
    on_account: OnAccount,
    user: UserId,
    total: usize,
) -> GetJobResponse {
    let commands = own.endpoints.commands();
    let started = importing::retried(|| on_account.send(&commands, user, None)).await;
    killed(own, &started.job_id, total).await
}

async fn killed(own: &mut Own, job_id: &str, total: usize) -> GetJobResponse {
    let commands = own.endpoints.commands();
    let halfway = until("the job to be under way", || async {
        let job = jobs::get(&commands, job_id).await.map_err(|status| status.to_string())?;
        if job.done > 0 { Ok(job) } else { Err(format!("{job:?}")) }
    })
    .await;
    own.kill(Victim::Command);
    assert_eq!(halfway.state(), JobState::Running, "it was killed in the middle: {halfway:?}");
    assert_eq!(halfway.total, total as u64);

    // Completed steps are complete, and the rest is unchanged.
    let pool = own.endpoints.postgres().await;
    truth::postgres::snapshot(&pool).await.assert_consistent();
    own.revive(Victim::Command);
    own.wait_ready();
    jobs::wait(&commands, job_id).await;
    jobs::get(&commands, job_id).await.expect("the job")
}
