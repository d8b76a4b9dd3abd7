//! `follow` and `unfollow`.

use std::time::{Duration, Instant};

use proto::command::v1::{FollowRequest, UnfollowRequest};
use proto::graph::v1::Relationship;
use serde::Serialize;

use crate::args::{ConnectionArgs, Format, WriteArgs};
use crate::client;
use crate::commands::Outcome;
use crate::dates;
use crate::output;

/// The answer for programs.
#[derive(Debug, Serialize)]
struct Answer {
    actor_id: String,
    target_id: String,
    changed: bool,
    following: bool,
    requested: bool,
    followed_by: bool,
    following_since: Option<String>,
    written_at: String,
    revision: Option<u64>,
    elapsed_ms: f64,
}

/// Makes one account follow another.
pub async fn follow(
    connection: &ConnectionArgs,
    format: Format,
    args: &WriteArgs,
) -> anyhow::Result<Outcome> {
    let mut client = client::command(connection).await?;
    let request = client.request(FollowRequest {
        actor_id: args.actor.user().to_string(),
        target_id: args.target.user().to_string(),
        request_id: args.request_id.clone().unwrap_or_default(),
    });
    let started = Instant::now();
    let answer = client.rpc.follow(request).await;
    let elapsed = started.elapsed();
    let answer = answer.map_err(|s| client.failed(s))?.into_inner();
    let pair = answer.relationship.unwrap_or_default();
    print(format, answer_of(args, answer.changed, answer.written_at, &pair, elapsed))
}

/// Makes one account stop following another.
pub async fn unfollow(
    connection: &ConnectionArgs,
    format: Format,
    args: &WriteArgs,
) -> anyhow::Result<Outcome> {
    let mut client = client::command(connection).await?;
    let request = client.request(UnfollowRequest {
        actor_id: args.actor.user().to_string(),
        target_id: args.target.user().to_string(),
        request_id: args.request_id.clone().unwrap_or_default(),
    });
    let started = Instant::now();
    let answer = client.rpc.unfollow(request).await;
    let elapsed = started.elapsed();
    let answer = answer.map_err(|s| client.failed(s))?.into_inner();
    let pair = answer.relationship.unwrap_or_default();
    print(format, answer_of(args, answer.changed, answer.written_at, &pair, elapsed))
}

fn answer_of(
    args: &WriteArgs,
    changed: bool,
    written_at: String,
    pair: &Relationship,
    elapsed: Duration,
) -> Answer {
    Answer {
        actor_id: args.actor.user().to_string(),
        target_id: args.target.user().to_string(),
        changed,
        following: pair.following,
        requested: pair.requested,
        followed_by: pair.followed_by,
        following_since: pair.following_since.as_ref().and_then(dates::format_proto),
        revision: output::revision(&written_at),
        written_at,
        elapsed_ms: output::elapsed_ms(elapsed),
    }
}

fn print(format: Format, answer: Answer) -> anyhow::Result<Outcome> {
    match format {
        Format::Json => output::json(&answer)?,
        Format::Text => output::line(answer.text())?,
    }
    Ok(Outcome::Done)
}

impl Answer {
    fn text(&self) -> String {
        let changed = if self.changed { "changed" } else { "unchanged" };
        let state = if self.following {
            "follows"
        } else if self.requested {
            "has asked to follow"
        } else {
            "does not follow"
        };
        let since = self.following_since.as_ref().map(|date| format!(" since {date}")).unwrap_or_default();
        let back = if self.followed_by { ", and is followed back" } else { "" };
        let revision = self.revision.map_or_else(|| "unknown".to_owned(), |r| r.to_string());
        format!(
            "{changed}: {} {state} {}{since}{back}\n\
             source postgres   revision {revision}   time {:.2} ms   token {}",
            self.actor_id, self.target_id, self.elapsed_ms, self.written_at
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer() -> Answer {
        let args = WriteArgs {
            actor: "f47ac10b-58cc-4372-a567-0e02b2c3d479".parse().unwrap(),
            target: "0b0f8f0e-4f4b-4b7e-8d0e-0e02b2c3d479".parse().unwrap(),
            request_id: None,
        };
        let pair = Relationship { following: true, followed_by: true, ..Relationship::default() };
        let token = "1.0000000000000001.0000000000000385".to_owned();
        answer_of(&args, true, token, &pair, Duration::from_micros(3_100))
    }

    #[test]
    fn a_write_is_told_in_two_lines() {
        assert_eq!(
            answer().text(),
            "changed: f47ac10b-58cc-4372-a567-0e02b2c3d479 follows \
             0b0f8f0e-4f4b-4b7e-8d0e-0e02b2c3d479, and is followed back\n\
             source postgres   revision 901   time 3.10 ms   \
             token 1.0000000000000001.0000000000000385"
        );
    }

    #[test]
    fn the_names_of_the_json_fields_are_stable() {
        assert_eq!(
            serde_json::to_value(answer()).unwrap(),
            serde_json::json!({
                "actor_id": "f47ac10b-58cc-4372-a567-0e02b2c3d479",
                "target_id": "0b0f8f0e-4f4b-4b7e-8d0e-0e02b2c3d479",
                "changed": true,
                "following": true,
                "requested": false,
                "followed_by": true,
                "following_since": null,
                "written_at": "1.0000000000000001.0000000000000385",
                "revision": 901,
                "elapsed_ms": 3.1,
            })
        );
    }
}
