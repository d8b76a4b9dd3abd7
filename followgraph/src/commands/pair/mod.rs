//! The commands on a pair of accounts, one call each.

mod command;
mod message;
mod sentence;

use std::time::{Duration, Instant};

pub use self::command::{BatchLine, PairCommand};
use self::message::Changed;
pub use self::message::{message, name};
pub use self::sentence::sentence;
use crate::commands::pair_state::PairState;
use crate::commands::written::Written;
use crate::dates;
use crate::global::{GlobalArgs, Outcome};
use crate::output::{self, json_row};

pub async fn run(global: &GlobalArgs, command: &PairCommand) -> anyhow::Result<Outcome> {
    let mut client = global.connection.command_client().await?;
    let request = message(command, dates::now());
    let started = Instant::now();
    let changed = message::send(&mut client, request).await?;
    let answer = Answer::new(command, &changed, started.elapsed());
    global.output.answer(&answer, || answer.text(command))?;
    Ok(Outcome::Done)
}

json_row! {
    /// The answer, for programs. `target_id` is the other account of every command.
    struct Answer from command: &PairCommand, answer: &Changed, elapsed: Duration {
        command: &'static str = name(command),
        actor_id: String = command.pair().actor.user().to_string(),
        target_id: String = command.pair().other.user().to_string(),
        changed: bool = answer.changed,
        #[serde(flatten)]
        pair: PairState = PairState::new(&answer.relationship),
        #[serde(flatten)]
        written: Written = Written::new(&answer.written_at, elapsed),
    }
}

impl Answer {
    fn text(&self, command: &PairCommand) -> String {
        format!(
            "{}: {}\n{}   etag {}",
            output::changed(self.changed),
            sentence(command, &self.pair, &self.actor_id, &self.target_id),
            self.written.text(),
            self.pair.etag,
        )
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use proto::graph::v1::Relationship;

    use super::command::BatchLine;
    use super::*;

    const ACTOR: &str = "f47ac10b-58cc-4372-a567-0e02b2c3d479";
    const OTHER: &str = "0b0f8f0e-4f4b-4b7e-8d0e-0e02b2c3d479";
    const ETAG: &str = "1.aa8fdbcd3df76691ea5ff2a07af3e88c";

    fn command(name: &str) -> PairCommand {
        BatchLine::try_parse_from([name, ACTOR, OTHER]).unwrap().command
    }

    fn answer(command: &PairCommand) -> Answer {
        let relationship = Relationship {
            following: true,
            followed_by: true,
            etag: ETAG.to_owned(),
            ..Relationship::default()
        };
        let written_at = "1.0000000000000001.0000000000000385".to_owned();
        let changed = Changed { changed: true, written_at, relationship };
        Answer::new(command, &changed, Duration::from_micros(3_100))
    }

    #[test]
    fn an_answer_has_two_lines() {
        let follow = command("follow");
        assert_eq!(
            answer(&follow).text(&follow),
            "changed: f47ac10b-58cc-4372-a567-0e02b2c3d479 follows \
             0b0f8f0e-4f4b-4b7e-8d0e-0e02b2c3d479, and is followed back\n\
             source postgres   revision 901   time 3.10 ms   \
             token 1.0000000000000001.0000000000000385   etag 1.aa8fdbcd3df76691ea5ff2a07af3e88c"
        );
        let remove = command("remove-follower");
        let text = answer(&remove).text(&remove);
        assert!(
            text.starts_with(&format!("changed: {OTHER} follows {ACTOR}, and is followed back")),
            "{text}"
        );
    }

    #[test]
    fn json_fields_are_stable() {
        assert_eq!(
            serde_json::to_value(answer(&command("follow"))).unwrap(),
            serde_json::json!({
                "command": "follow",
                "actor_id": ACTOR,
                "target_id": OTHER,
                "changed": true,
                "following": true,
                "requested": false,
                "followed_by": true,
                "request_received": false,
                "muting": false,
                "muting_until": null,
                "blocking": false,
                "blocking_until": null,
                "blocked_by": false,
                "following_since": null,
                "followed_by_since": null,
                "etag": ETAG,
                "written_at": "1.0000000000000001.0000000000000385",
                "revision": 901,
                "elapsed_ms": 3.1,
            })
        );
    }
}
