//! `replace-following`: replaces the following list of an account by the ids in a file.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use proto::command::v1::{ReplaceFollowingRequest, ReplaceFollowingResponse};

use super::job;
use super::lines;
use super::written::Written;
use crate::client::CommandRpc;
use crate::error::Hinted;
use crate::global::{GlobalArgs, Outcome};
use crate::ids::{self, Id};
use crate::output::{self, json_row};

/// A following list from a file.
#[derive(Debug, clap::Args)]
pub struct ReplaceArgs {
    /// Account that follows
    pub actor: Id,
    /// File with the new following list, one id per line, newest follow first; - for stdin
    pub file: PathBuf,
    /// Show the changes without making them
    #[arg(long)]
    pub dry_run: bool,
    /// Accept a file without ids, which removes all follows of ACTOR
    #[arg(long)]
    pub allow_empty: bool,
    /// Idempotency key, a UUID: a repeat with the same key returns the first answer
    #[arg(long, value_name = "UUID")]
    pub request_id: Option<String>,
    /// Return without waiting for the job; `job` shows its progress
    #[arg(long)]
    pub no_wait: bool,
}

json_row! {
    struct Answer from args: &ReplaceArgs, answer: &ReplaceFollowingResponse, elapsed: Duration {
        command: &'static str = "replace-following",
        actor_id: String = args.actor.user().to_string(),
        dry_run: bool = args.dry_run,
        changed: bool = answer.changed,
        /// This and the next two are empty if a job makes the changes, or if there are too many to list.
        added: Vec<String> = answer.added.clone(),
        removed: Vec<String> = answer.removed.clone(),
        requested: Vec<String> = answer.requested.clone(),
        added_count: usize = count(&answer.added, answer.added_count),
        removed_count: usize = count(&answer.removed, answer.removed_count),
        requested_count: usize = count(&answer.requested, answer.requested_count),
        #[serde(flatten)]
        written: Written = Written::new(&answer.written_at, elapsed),
    }
}

/// Number of changes. A service of version 0.1.0 sends only the list.
fn count(list: &[String], count: u32) -> usize {
    list.len().max(count as usize)
}

/// Replaces a following list, or shows the changes.
pub async fn run(global: &GlobalArgs, args: &ReplaceArgs) -> anyhow::Result<Outcome> {
    let targets = lines::read(&args.file, str::parse::<Id>)?;
    if targets.is_empty() && !args.allow_empty && !args.dry_run {
        let file = args.file.display();
        let message = format!("{file} contains no ids: this would remove all follows of {}", args.actor);
        return Err(Hinted::new(message, "use --allow-empty to remove all follows").into());
    }
    let mut client = global.connection.command_client().await?;
    let request = ReplaceFollowingRequest {
        actor_id: args.actor.user().to_string(),
        target_ids: ids::texts(targets.iter().map(|line| &line.content)),
        request_id: args.request_id.clone().unwrap_or_default(),
        dry_run: args.dry_run,
    };
    let started = Instant::now();
    let response = client.call(request, CommandRpc::replace_following).await?;
    let answer = Answer::new(args, &response, started.elapsed());
    let job_id = Some(response.job_id).filter(|id| !id.is_empty());
    let text = answer.text(job_id.is_some());
    job::finish(&mut client, global.output, args.no_wait, answer, &text, job_id).await
}

impl Answer {
    fn text(&self, has_job: bool) -> String {
        let changes = [("add", &self.added), ("request", &self.requested), ("remove", &self.removed)];
        let rows = changes.iter().flat_map(|(change, users)| users.iter().map(move |user| [*change, user]));
        let mut text = output::table(&["CHANGE", "USER"], rows);
        if !text.is_empty() {
            text.push('\n');
        }
        let (add, request, remove) = (self.added_count, self.requested_count, self.removed_count);
        let changed = output::changed(self.changed);
        let summary = if self.dry_run {
            format!("dry run: {add} to add, {request} to request, {remove} to remove")
        } else if has_job {
            format!("{changed}: {add} to add, {request} to request, {remove} to remove")
        } else {
            format!("{changed}: {add} added, {request} requested, {remove} removed")
        };
        format!("{text}{summary}\n{}", self.written.text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(dry_run: bool, response: ReplaceFollowingResponse) -> Answer {
        let args = ReplaceArgs {
            actor: "1".parse().unwrap(),
            file: "-".into(),
            dry_run,
            allow_empty: false,
            request_id: None,
            no_wait: false,
        };
        Answer::new(&args, &response, Duration::from_millis(2))
    }

    #[test]
    fn a_dry_run_shows_the_changes() {
        let text = answer(
            true,
            ReplaceFollowingResponse {
                changed: true,
                added: vec!["b".to_owned(), "c".to_owned()],
                removed: vec!["a".to_owned()],
                ..Default::default()
            },
        )
        .text(false);
        assert_eq!(
            text,
            "CHANGE  USER\nadd     b\nadd     c\nremove  a\n\
             dry run: 2 to add, 0 to request, 1 to remove\n\
             source postgres   revision unknown   time 2.00 ms   token "
        );
    }

    #[test]
    fn unlisted_changes_are_counted() {
        let response = ReplaceFollowingResponse {
            changed: true,
            removed_count: 60_000,
            job_id: "j".to_owned(),
            ..Default::default()
        };
        let text = answer(false, response).text(true);
        assert!(text.starts_with("changed: 0 to add, 0 to request, 60000 to remove\n"), "{text}");
    }

    #[test]
    fn an_unchanged_list_has_no_table() {
        let text = answer(false, ReplaceFollowingResponse::default()).text(false);
        assert!(text.starts_with("unchanged: 0 added, "), "{text}");
    }
}
