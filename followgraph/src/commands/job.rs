//! Jobs: one look at them, or following them to their end.
//!
//! Owns how a job is asked for and shown, and what its end means for the exit code.
//! It must not know what jobs do. What can go wrong: there is no such job, or the
//! service cannot be reached for longer than a restart takes.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};
use proto::command::v1::{GetJobRequest, GetJobResponse, JobState};
use serde::Serialize;

use crate::args::{ConnectionArgs, Format, JobArgs, WaitArgs};
use crate::client::{self, CallFailed, CommandClient};
use crate::commands::Outcome;
use crate::dates;
use crate::output;
use crate::retry::Patience;

/// Time between two looks.
const POLL: Duration = Duration::from_millis(200);
/// A job goes on while the service restarts, so its follower does.
const RETRY_FOR: Duration = Duration::from_secs(60);

const COUNTED: &str = "{bar:20} {percent:>3} %  {human_pos} of {human_len} edges  {elapsed}  {prefix}";
const UNCOUNTED: &str = "{spinner} {human_pos} edges  {elapsed}  {prefix}";

/// A job for programs.
#[derive(Debug, Serialize)]
pub struct Job {
    job_id: String,
    user_id: String,
    kind: String,
    state: &'static str,
    done: u64,
    total: u64,
    error: Option<String>,
    created_at: Option<String>,
    updated_at: Option<String>,
    #[serde(skip)]
    outcome: Outcome,
}

impl From<GetJobResponse> for Job {
    fn from(job: GetJobResponse) -> Self {
        let (state, outcome) = match job.state() {
            JobState::Running => ("running", Outcome::No),
            JobState::Done => ("done", Outcome::Done),
            JobState::Failed => ("failed", Outcome::Failed),
            JobState::Unspecified => ("unknown", Outcome::Failed),
        };
        Self {
            created_at: job.created_at.as_ref().and_then(dates::format_proto),
            updated_at: job.updated_at.as_ref().and_then(dates::format_proto),
            job_id: job.job_id,
            user_id: job.user_id,
            kind: job.kind,
            state,
            done: job.done,
            total: job.total,
            error: Some(job.error).filter(|error| !error.is_empty()),
            outcome,
        }
    }
}

impl Job {
    /// What the job's state is as an answer: done, not yet, or ended early.
    fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// The job for people.
    fn text(&self) -> String {
        let error = self.error.as_ref().map(|error| format!(": {error}")).unwrap_or_default();
        // Some jobs find out only on the way how much there is to do.
        let total = if self.total > 0 { format!(" of {}", self.total) } else { String::new() };
        format!(
            "{}{error}: {} of {}, {}{total} edges\njob {}   asked for {}   went on {}",
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

/// `job`: tells how far a job is.
pub async fn run(connection: &ConnectionArgs, format: Format, args: &JobArgs) -> anyhow::Result<Outcome> {
    let mut client = client::command(connection).await?;
    let job = if args.wait {
        wait(&mut client, &args.job_id).await?
    } else {
        Job::from(get(&mut client, &args.job_id).await?)
    };
    match format {
        Format::Json => output::json(&job)?,
        Format::Text => output::line(job.text()),
    }
    Ok(job.outcome())
}

/// Follows the job of a command to its end, and shows it to people; programs get it
/// with the answer. Nothing happens where there is no job, or nobody wants to wait.
pub async fn follow(
    client: &mut CommandClient,
    format: Format,
    args: &WaitArgs,
    job_id: Option<&str>,
) -> anyhow::Result<Option<Job>> {
    let Some(job_id) = job_id.filter(|_| !args.no_wait) else {
        return Ok(None);
    };
    let job = wait(client, job_id).await?;
    if format == Format::Text {
        output::answer(job.text());
    }
    Ok(Some(job))
}

/// The outcome of a command whose work is this job.
pub fn outcome(job: Option<&Job>) -> Outcome {
    job.map_or(Outcome::Done, Job::outcome)
}

/// Waits for the end of a job, with a bar.
async fn wait(client: &mut CommandClient, job_id: &str) -> anyhow::Result<Job> {
    let bar = Bar::new();
    let mut patience = Patience::new(RETRY_FOR);
    loop {
        let pause = match get(client, job_id).await {
            Ok(job) if job.state() != JobState::Running => return Ok(Job::from(job)),
            Ok(job) => {
                patience.progressed();
                bar.show(&job);
                POLL
            }
            Err(failed) => match patience.next_wait(&failed.status, Instant::now()) {
                Some(pause) => pause,
                None => return Err(failed).with_context(|| format!("job {job_id}")),
            },
        };
        tokio::time::sleep(pause).await;
    }
}

async fn get(client: &mut CommandClient, job_id: &str) -> Result<GetJobResponse, CallFailed> {
    let request = client.request(GetJobRequest { job_id: job_id.to_owned() });
    let answer = client.rpc.get_job(request).await;
    Ok(answer.map_err(|s| client.failed(s))?.into_inner())
}

/// The bar of a job, on stderr and only on a terminal.
struct Bar(ProgressBar);

impl Bar {
    fn new() -> Self {
        let bar = Self(ProgressBar::no_length());
        bar.set_template(UNCOUNTED);
        bar
    }

    fn show(&self, job: &GetJobResponse) {
        let Self(bar) = self;
        bar.set_prefix(job.kind.replace('_', " "));
        bar.set_position(job.done);
        // It is drawn at every step: the length comes before the template that shows it.
        if job.total > 0 && bar.length().is_none() {
            bar.set_length(job.total);
            self.set_template(COUNTED);
        }
    }

    fn set_template(&self, template: &str) {
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.0.set_style(style);
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(state: JobState) -> Job {
        Job::from(GetJobResponse {
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
    fn the_state_of_a_job_is_an_answer() {
        assert_eq!(job(JobState::Done).outcome(), Outcome::Done);
        assert_eq!(job(JobState::Running).outcome(), Outcome::No);
        assert_eq!(job(JobState::Failed).outcome(), Outcome::Failed);
    }

    #[test]
    fn a_job_is_told_in_two_lines() {
        assert_eq!(
            job(JobState::Failed).text(),
            "failed: replaced: make public of u, 3 of 7 edges\njob j   asked for unknown   went on unknown"
        );
    }

    #[test]
    fn the_names_of_the_json_fields_are_stable() {
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
