//! `replace-following`: makes an account follow exactly the accounts of a file.
//!
//! Owns the call and its answer. What can go wrong: a line is no id, the file is
//! empty and nobody said that it may be, or the call fails.

use std::time::{Duration, Instant};

use proto::command::v1::{ReplaceFollowingRequest, ReplaceFollowingResponse};
use serde::Serialize;

use super::input;
use super::job::{self, Job};
use crate::args::{ConnectionArgs, Format, ReplaceArgs};
use crate::client;
use crate::commands::Outcome;
use crate::error::Advised;
use crate::ids::Id;
use crate::output;

/// The answer for programs.
#[derive(Debug, Serialize)]
struct Answer {
    command: &'static str,
    actor_id: String,
    dry_run: bool,
    changed: bool,
    /// This and the next two are empty if a job makes the changes, or if they are very many.
    added: Vec<String>,
    removed: Vec<String>,
    requested: Vec<String>,
    added_count: usize,
    removed_count: usize,
    requested_count: usize,
    written_at: String,
    revision: Option<u64>,
    elapsed_ms: f64,
    /// Absent where one event holds all changes.
    job_id: Option<String>,
    /// The job at its end; absent where nobody waited.
    job: Option<Job>,
}

/// Replaces whom an account follows, or shows what that would change.
pub async fn run(connection: &ConnectionArgs, format: Format, args: &ReplaceArgs) -> anyhow::Result<Outcome> {
    let targets = input::read(&args.file, str::parse::<Id>)?;
    if targets.is_empty() && !args.allow_empty && !args.dry_run {
        return Err(Advised {
            message: format!("no ids in {}: all follows of {} would end", args.file.display(), args.actor),
            hint: "say --allow-empty if that is meant".to_owned(),
            source: None,
        }
        .into());
    }
    let mut client = client::command(connection).await?;
    let request = client.request(ReplaceFollowingRequest {
        actor_id: args.actor.user().to_string(),
        target_ids: targets.iter().map(|line| line.content.user().to_string()).collect(),
        request_id: args.request_id.clone().unwrap_or_default(),
        dry_run: args.dry_run,
    });
    let started = Instant::now();
    let answer = client.rpc.replace_following(request).await;
    let elapsed = started.elapsed();
    let answer = answer.map_err(|s| client.failed(s))?.into_inner();
    let mut answer = Answer::new(args, answer, elapsed);
    if format == Format::Text {
        output::answer(answer.text());
    }
    answer.job = job::follow(&mut client, format, &args.wait, answer.job_id.as_deref()).await?;
    if format == Format::Json {
        output::json_answer(&answer)?;
    }
    Ok(job::outcome(answer.job.as_ref()))
}

impl Answer {
    fn new(args: &ReplaceArgs, answer: ReplaceFollowingResponse, elapsed: Duration) -> Self {
        // A service of 0.1.0 counts nothing.
        let count = |list: &[String], count: u32| list.len().max(count as usize);
        Self {
            added_count: count(&answer.added, answer.added_count),
            removed_count: count(&answer.removed, answer.removed_count),
            requested_count: count(&answer.requested, answer.requested_count),
            command: "replace-following",
            actor_id: args.actor.user().to_string(),
            dry_run: args.dry_run,
            changed: answer.changed,
            added: answer.added,
            removed: answer.removed,
            requested: answer.requested,
            revision: output::revision(&answer.written_at),
            written_at: answer.written_at,
            elapsed_ms: output::elapsed_ms(elapsed),
            job_id: Some(answer.job_id).filter(|id| !id.is_empty()),
            job: None,
        }
    }

    fn text(&self) -> String {
        let mut table = output::table(&["CHANGE", "USER"]);
        let changes = [("add", &self.added), ("request", &self.requested), ("remove", &self.removed)];
        for (change, users) in changes {
            for user in users {
                table.add_row([change, user]);
            }
        }
        let (add, request, remove) = (self.added_count, self.requested_count, self.removed_count);
        let listed = changes.iter().any(|(_, users)| !users.is_empty());
        let table = if listed { output::table_text(table) + "\n" } else { String::new() };
        let changed = output::changed(self.changed);
        let summary = if self.dry_run {
            format!("dry run: {add} to add, {request} to request, {remove} to remove")
        } else if self.job_id.is_some() {
            format!("{changed}: {add} to add, {request} to request, {remove} to remove")
        } else {
            format!("{changed}: {add} added, {request} requested, {remove} removed")
        };
        let job = self.job_id.as_ref().map(|id| format!("   job {id}")).unwrap_or_default();
        format!(
            "{table}{summary}\n{}{job}",
            output::written(self.revision, self.elapsed_ms, &self.written_at),
        )
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
            wait: Default::default(),
        };
        Answer::new(&args, response, Duration::from_millis(2))
    }

    #[test]
    fn a_dry_run_shows_what_would_change() {
        let text = answer(
            true,
            ReplaceFollowingResponse {
                changed: true,
                added: vec!["b".to_owned(), "c".to_owned()],
                removed: vec!["a".to_owned()],
                ..Default::default()
            },
        )
        .text();
        assert_eq!(
            text,
            "CHANGE  USER\nadd     b\nadd     c\nremove  a\n\
             dry run: 2 to add, 0 to request, 1 to remove\n\
             source postgres   revision unknown   time 2.00 ms   token "
        );
    }

    #[test]
    fn changes_that_are_not_listed_are_counted() {
        let response = ReplaceFollowingResponse {
            changed: true,
            removed_count: 60_000,
            job_id: "j".to_owned(),
            ..Default::default()
        };
        let text = answer(false, response).text();
        assert!(text.starts_with("changed: 0 to add, 0 to request, 60000 to remove\n"), "{text}");
    }

    #[test]
    fn a_list_that_fits_already_is_told_without_a_table() {
        let text = answer(false, ReplaceFollowingResponse::default()).text();
        assert!(text.starts_with("unchanged: 0 added, "), "{text}");
    }
}
