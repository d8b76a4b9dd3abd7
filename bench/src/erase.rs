//! What an erase of a large account does to everybody else.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use proto::command::v1::{EraseAccountRequest, GetJobRequest, JobState};
use tests::{Endpoints, clients, importing, truth};

use crate::load;
use crate::report::Report;

/// The load beside it, as a part of what the service can do.
const PART_OF_CAPACITY: f64 = 0.3;
/// How often the job is asked for.
const POLL: Duration = Duration::from_millis(200);

/// Follows in an open loop, without and with an erase beside them.
pub async fn beside(
    endpoints: &Endpoints,
    followers: usize,
    time: Duration,
    report: &mut Report,
) -> Result<()> {
    const USUAL: &str = "Follow at 30 % of capacity, open loop";
    let user = tests::new_user();
    let edges: Vec<_> = (0..followers).map(|_| (tests::new_user(), user.clone())).collect();
    importing::all(&mut endpoints.commands(), &edges, 1_000).await;
    truth::wait_caught_up(endpoints).await;

    let follow = {
        // As many connections as a busy backend keeps.
        let commands: Vec<_> = (0..8).map(|_| endpoints.commands()).collect();
        move |round: u64| {
            let mut commands = commands[round as usize % commands.len()].clone();
            let target = uuid::Uuid::from_u128(u128::from(round % 1_000) + 1).to_string();
            async move {
                clients::follow(&mut commands, &tests::new_user(), &target).await?;
                Ok(())
            }
        }
    };
    let capacity = load::closed(64, time, |_| (), {
        let follow = follow.clone();
        move |(), round| follow(round)
    })
    .await?;
    truth::wait_caught_up(endpoints).await;
    let rate = capacity.rate * PART_OF_CAPACITY;

    let pause = async {
        tokio::time::sleep(time * 3).await;
        Ok(())
    };
    let usual = load::open(rate, pause, follow.clone()).await?;
    report.add(USUAL, 64, usual.rate, Some(&usual.latencies), None);
    truth::wait_caught_up(endpoints).await;

    let begun = Instant::now();
    let beside = load::open(rate, erased(endpoints, &user), follow).await?;
    report.add(
        &format!("the same beside an erase of {followers} followers"),
        64,
        beside.rate,
        Some(&beside.latencies),
        Some(USUAL),
    );
    report.add("erase (edges)", 1, followers as f64 / begun.elapsed().as_secs_f64(), None, None);
    let p99 = |outcome: &load::Outcome| outcome.latencies.value_at_quantile(0.99) as f64;
    report.at_most("p99 beside the erase, times the usual one", p99(&beside) / p99(&usual), 3.0);
    truth::wait_caught_up(endpoints).await;
    Ok(())
}

/// Erases an account; done when the job is.
pub async fn erased(endpoints: &Endpoints, user: &str) -> Result<()> {
    let request = EraseAccountRequest { user_id: user.to_owned(), ..EraseAccountRequest::default() };
    let job_id = endpoints.commands().erase_account(request).await?.into_inner().job_id;
    done(endpoints, &job_id).await
}

/// Waits for the end of a job.
pub async fn done(endpoints: &Endpoints, job_id: &str) -> Result<()> {
    let mut commands = endpoints.commands();
    loop {
        let job = commands.get_job(GetJobRequest { job_id: job_id.to_owned() }).await?.into_inner();
        match job.state() {
            JobState::Running => tokio::time::sleep(POLL).await,
            state => {
                ensure!(state == JobState::Done, "the job ended as {state:?}: {}", job.error);
                return Ok(());
            }
        }
    }
}
