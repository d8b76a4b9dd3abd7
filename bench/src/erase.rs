//! Effect of the replacement of a long list, and of the erase of a large account, on other follows.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use proto::command::v1::{
    EraseAccountRequest, GetJobRequest, JobState, ReplaceFollowingRequest, ReplaceFollowingResponse,
};
use tests::{Endpoints, truth};

use crate::load;
use crate::report::Report;
use crate::writes::{self, Star};

/// The concurrent load as a share of the capacity.
const SHARE_OF_CAPACITY: f64 = 0.3;
const POLL_INTERVAL: Duration = Duration::from_millis(200);
/// A p99 up to this many milliseconds always meets the target.
const SHORT_MS: f64 = 50.0;
const USUAL: &str = "Follow at 30 % of capacity, open loop";

/// Follows in an open loop: alone, then during dry runs and a replacement of a list of `size` accounts, and during an
/// erase of an account with `size` followers.
pub async fn beside(endpoints: &Endpoints, size: usize, time: Duration, report: &mut Report) -> Result<()> {
    // The limit of follows grows with the number of followers.
    let actor = Star::create(endpoints, size).await.id;
    let erased_user = Star::create(endpoints, size).await.id;
    truth::wait_caught_up(endpoints).await;

    let follow = writes::shared(endpoints, writes::of_thousand);
    let capacity = load::closed(64, time, |_| (), {
        let follow = follow.clone();
        move |(), round| follow(round)
    })
    .await?;
    truth::wait_caught_up(endpoints).await;
    let rate = capacity.rate * SHARE_OF_CAPACITY;

    let usual = load::open(rate, load::pause(time * 3), follow.clone()).await?;
    report.add(USUAL, 64, &usual, None);
    truth::wait_caught_up(endpoints).await;
    let usual_ms = usual.millis(0.99);

    let targets: Vec<String> = (0..size).map(|_| tests::new_user()).collect();
    let dry_runs = async {
        let until = Instant::now() + time * 3;
        while Instant::now() < until {
            let dry = replaced(endpoints, &actor, &targets, true).await?;
            ensure!(dry.added_count as usize == size, "a dry run of {size} adds {}", dry.added_count);
        }
        Ok(())
    };
    let outcome = load::open(rate, dry_runs, follow.clone()).await?;
    note(&format!("dry runs of a ReplaceFollowing of {size}"), &outcome, usual_ms, report);
    truth::wait_caught_up(endpoints).await;

    let begun = Instant::now();
    let replacement = async {
        let job_id = replaced(endpoints, &actor, &targets, false).await?.job_id;
        done(endpoints, &job_id).await
    };
    let outcome = load::open(rate, replacement, follow.clone()).await?;
    note(&format!("a ReplaceFollowing of {size}"), &outcome, usual_ms, report);
    report.add_edges("replace following", size as f64 / begun.elapsed().as_secs_f64());
    truth::wait_caught_up(endpoints).await;

    let begun = Instant::now();
    let outcome = load::open(rate, erased(endpoints, &erased_user), follow).await?;
    note(&format!("an erase of {size} followers"), &outcome, usual_ms, report);
    report.add_edges("erase", size as f64 / begun.elapsed().as_secs_f64());
    truth::wait_caught_up(endpoints).await;
    Ok(())
}

fn note(beside: &str, outcome: &load::Outcome, usual_ms: f64, report: &mut Report) {
    let name = format!("the same beside {beside}");
    report.add(&name, 64, outcome, Some(USUAL));
    let limit = SHORT_MS.max(3.0 * usual_ms);
    report.at_most(&format!("p99 of Follow beside {beside} (ms)"), outcome.millis(0.99), limit);
}

async fn replaced(
    endpoints: &Endpoints,
    actor: &str,
    targets: &[String],
    dry_run: bool,
) -> Result<ReplaceFollowingResponse> {
    let request = ReplaceFollowingRequest {
        actor_id: actor.to_owned(),
        target_ids: targets.to_vec(),
        dry_run,
        ..Default::default()
    };
    Ok(endpoints.commands().replace_following(request).await?.into_inner())
}

/// Erases an account, and waits for the job.
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
            JobState::Running => tokio::time::sleep(POLL_INTERVAL).await,
            state => {
                ensure!(state == JobState::Done, "the job ended as {state:?}: {}", job.error);
                return Ok(());
            }
        }
    }
}
