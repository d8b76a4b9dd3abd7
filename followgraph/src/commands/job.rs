//! Jobs: their state, and waiting for their end.

use std::time::Duration;

use anyhow::Context as _;
use indicatif::ProgressBar;
use proto::command::v1::{GetJobRequest, GetJobResponse, JobState};
use serde::Serialize;

use crate::client::{CallFailed, CommandClient, CommandRpc};
use crate::dates;
use crate::global::{GlobalArgs, Outcome};
use crate::output::{self, Format, json_row};
use crate::retry::Backoff;

const POLL_INTERVAL: Duration = Duration::from_millis(200);
/// A job continues while the service restarts, so waiting for it does, too.
const RETRY_TIMEOUT: Duration = Duration::from_secs(60);

const COUNTED: &str = "{bar:20} {percent:>3} %  {human_pos} of {human_len} edges  {elapsed}  {prefix}";
const UNCOUNTED: &str = "{spinner} {human_pos} edges  {elapsed}  {prefix}";

/// A job.
#[derive(Debug, clap::Args)]
pub struct JobArgs {
    /// Job id, as printed by the command that started it
    pub job_id: String,
    /// Wait until the job ends
    #[arg(long)]
    pub wait: bool,
}

json_row! {
    struct Job from job: &GetJobResponse {
        job_id: String = job.job_id.clone(),
        user_id: String = job.user_id.clone(),
        kind: String = job.kind.clone(),
        state: &'static str = match job.state() {
            JobState::Running => "running",
            JobState::Done => "done",
            JobState::Failed => "failed",
            JobState::Unspecified => "unknown",
        },
        done: u64 = job.done,
        total: u64 = job.total,
        error: Option<String> = Some(job.error.clone()).filter(|error| !error.is_empty()),
        created_at: Option<String> = dates::format_proto(job.created_at),
        updated_at: Option<String> = dates::format_proto(job.updated_at),
        #[serde(skip)]
        outcome: Outcome = match job.state() {
            JobState::Running => Outcome::No,
            JobState::Done => Outcome::Done,
            JobState::Failed | JobState::Unspecified => Outcome::Failed,
        },
    }
}

impl Job {
    fn text(&self) -> String {
        let error = self.error.as_ref().map(|error| format!(": {error}")).unwrap_or_default();
        // Some jobs learn their total only while they run.
        let total = if self.total > 0 { format!(" of {}", self.total) } else { String::new() };
        format!(
            "{}{error}: {} of {}, {}{total} edges\njob {}   created {}   updated {}",
            self.state,
            self.kind.replace('_', " "),
            self.user_id,
            self.done,
            self.job_id,
            self.created_at.as_deref().unwrap_or("unknown"),
            self.updated_at.as_deref().unwrap_or("unknown"),
        )
    }
}

pub async fn run(global: &GlobalArgs, args: &JobArgs) -> anyhow::Result<Outcome> {
    let mut client = global.connection.command_client().await?;
    let job = if args.wait {
        wait(&mut client, &args.job_id).await?
    } else {
        Job::new(&get(&mut client, &args.job_id).await?)
    };
    global.output.show(&job, || job.text())?;
    Ok(job.outcome)
}

/// The answer of a command with its job, for programs.
#[derive(Debug, Serialize)]
struct WithJob<A> {
    #[serde(flatten)]
    answer: A,
    /// `None` if no job is needed.
    job_id: Option<String>,
    /// The job at its end; `None` without waiting.
    job: Option<Job>,
}

/// Shows the answer of a command, and waits for its job unless `--no-wait` is set.
pub async fn finish(
    client: &mut CommandClient,
    format: Format,
    no_wait: bool,
    answer: impl Serialize,
    text: &str,
    job_id: Option<String>,
) -> anyhow::Result<Outcome> {
    // In text, the id of the job comes before the wait, so that the wait can be interrupted.
    if format == Format::Text {
        let job = job_id.as_ref().map(|id| format!("   job {id}")).unwrap_or_default();
        output::answer(format!("{text}{job}"));
    }
    let job = match job_id.as_deref().filter(|_| !no_wait) {
        Some(job_id) => Some(wait(client, job_id).await?),
        None => None,
    };
    let outcome = job.as_ref().map_or(Outcome::Done, |job| job.outcome);
    match (format, &job) {
        (Format::Text, Some(job)) => output::answer(job.text()),
        (Format::Text, None) => {}
        (Format::Json, _) => format.answer(&WithJob { answer, job_id, job }, String::new)?,
    }
    Ok(outcome)
}

/// Waits for the end of a job, with a progress bar.
async fn wait(client: &mut CommandClient, job_id: &str) -> anyhow::Result<Job> {
    let bar = ProgressBar::no_length();
    output::style(&bar, UNCOUNTED, |style| style);
    let mut backoff = Backoff::new(RETRY_TIMEOUT);
    loop {
        let delay = match get(client, job_id).await {
            Ok(job) if job.state() != JobState::Running => return Ok(Job::new(&job)),
            Ok(job) => {
                backoff.reset();
                show(&bar, &job);
                POLL_INTERVAL
            }
            Err(failed) => backoff.after(failed, |_| {}).with_context(|| format!("job {job_id}"))?,
        };
        tokio::time::sleep(delay).await;
    }
}

async fn get(client: &mut CommandClient, job_id: &str) -> Result<GetJobResponse, CallFailed> {
    client.call(GetJobRequest { job_id: job_id.to_owned() }, CommandRpc::get_job).await
}

fn show(bar: &ProgressBar, job: &GetJobResponse) {
    bar.set_prefix(job.kind.replace('_', " "));
    bar.set_position(job.done);
    // Each step draws the bar, so set the length before the template that shows it.
    if job.total > 0 && bar.length().is_none() {
        bar.set_length(job.total);
        output::style(bar, COUNTED, |style| style);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(state: JobState) -> Job {
        Job::new(&GetJobResponse {
            job_id: "j".to_owned(),
            user_id: "u".to_owned(),
            kind: "make_public".to_owned(),
            state: state.into(),
            done: 3,
            total: 7,
            error: if state == JobState::Failed { "replaced".to_owned() } else { String::new() },
            ..Default::default()
        })
    }

    #[test]
    fn the_state_of_a_job_is_its_outcome() {
        assert_eq!(job(JobState::Done).outcome, Outcome::Done);
        assert_eq!(job(JobState::Running).outcome, Outcome::No);
        assert_eq!(job(JobState::Failed).outcome, Outcome::Failed);
    }

    #[test]
    fn a_job_has_two_lines() {
        assert_eq!(
            job(JobState::Failed).text(),
            "failed: replaced: make public of u, 3 of 7 edges\njob j   created unknown   updated unknown"
        );
    }

    #[test]
    fn json_fields_are_stable() {
        assert_eq!(
            serde_json::to_value(job(JobState::Running)).unwrap(),
            serde_json::json!({
                "job_id": "j",
                "user_id": "u",
                "kind": "make_public",
                "state": "running",
                "done": 3,
                "total": 7,
                "error": null,
                "created_at": null,
                "updated_at": null,
            })
        );
    }
}
