//! `watch`: events as they happen.
//!
//! Owns how events are written, and that a broken stream goes on where it ended, without a gap or a repetition.

use std::ops::ControlFlow;
use std::time::Instant;

use proto::events::v1::{AccountChange, AccountCounts, AccountOp, EdgeChange, EdgeOp, Event};
use proto::graph::v1::EdgeKind;
use proto::query::v1::{WatchEventsRequest, WatchEventsResponse};
use proto::subjects::verb_name;
use serde::Serialize;
use tonic::{Request, Status};

use crate::args::{ConnectionArgs, Format, WatchArgs};
use crate::client::{self, QueryClient};
use crate::commands::Outcome;
use crate::retry::Patience;
use crate::{dates, error, output};

/// An event for programs.
#[derive(Debug, Serialize)]
struct Row<'a> {
    resume_token: &'a str,
    epoch: u64,
    revision: u64,
    event_id: &'a str,
    committed_at: Option<String>,
    verb: String,
    actor_id: Option<&'a str>,
    edges: Vec<EdgeRow<'a>>,
    accounts: Vec<AccountRow<'a>>,
    counts: Vec<CountsRow<'a>>,
}

#[derive(Debug, Serialize)]
struct EdgeRow<'a> {
    kind: String,
    op: String,
    source_id: &'a str,
    target_id: &'a str,
    created_at: Option<String>,
    expires_at: Option<String>,
    position: u64,
}

#[derive(Debug, Serialize)]
struct AccountRow<'a> {
    user_id: &'a str,
    op: String,
}

#[derive(Debug, Serialize)]
struct CountsRow<'a> {
    user_id: &'a str,
    followers: u64,
    following: u64,
    muting: u64,
    blocking: u64,
    requests_sent: u64,
    requests_received: u64,
}

/// Prints events until it is told to stop.
pub async fn run(connection: &ConnectionArgs, format: Format, args: &WatchArgs) -> anyhow::Result<Outcome> {
    let client = client::query(connection).await?;
    let patience = Patience::new(args.retry_for);
    let mut watch =
        Watch { client, args, format, patience, after: args.after.clone().unwrap_or_default(), printed: 0 };
    tokio::select! {
        ended = watch.pull() => ended?,
        signal = tokio::signal::ctrl_c() => signal?,
    }
    if !watch.after.is_empty() && !output::is_closed_pipe() {
        output::note(format!("go on with --after {}", watch.after));
    }
    Ok(Outcome::Done)
}

/// A watch under way.
struct Watch<'a> {
    client: QueryClient,
    args: &'a WatchArgs,
    format: Format,
    patience: Patience,
    /// All events up to here are printed.
    after: String,
    printed: u64,
}

/// Why a stream ended.
enum Broken {
    Call(Status),
    Other(anyhow::Error),
}

impl Watch<'_> {
    /// Over as many connections as it takes, until enough is printed.
    async fn pull(&mut self) -> anyhow::Result<()> {
        loop {
            let status = match self.stream().await {
                Ok(ControlFlow::Break(())) => return Ok(()),
                Ok(ControlFlow::Continue(())) => Status::unavailable("the service ended the stream"),
                Err(Broken::Other(error)) => return Err(error),
                Err(Broken::Call(status)) => status,
            };
            let Some(wait) = self.patience.next_wait(&status, Instant::now()) else {
                return Err(self.client.failed(status).into());
            };
            output::note(format!("{}; trying again", error::message(&self.client.failed(status))));
            tokio::time::sleep(wait).await;
        }
    }

    async fn stream(&mut self) -> Result<ControlFlow<()>, Broken> {
        let ids = |ids: &[crate::ids::Id]| ids.iter().map(|id| id.user().to_string()).collect();
        let request = WatchEventsRequest {
            after: self.after.clone(),
            verbs: self.args.verbs.iter().map(|verb| i32::from(*verb)).collect(),
            actor_ids: ids(&self.args.actors),
            target_ids: ids(&self.args.targets),
        };
        // No deadline: it goes on for ever.
        let answer = self.client.rpc.watch_events(Request::new(request)).await;
        let mut messages = answer.map_err(Broken::Call)?.into_inner();
        while let Some(message) = messages.message().await.map_err(Broken::Call)? {
            self.take(message).map_err(Broken::Other)?;
            if !output::is_open() || self.args.limit.is_some_and(|limit| self.printed >= limit) {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn take(&mut self, message: WatchEventsResponse) -> anyhow::Result<()> {
        if let Some(event) = &message.event {
            match self.format {
                Format::Json => output::json(&row(event, &message.resume_token))?,
                Format::Text => output::line(text(event)),
            }
            if !output::is_open() {
                // Nobody has read it: a later watch begins with it.
                return Ok(());
            }
            self.printed += 1;
        }
        self.after = message.resume_token;
        self.patience.progressed();
        Ok(())
    }
}

/// The last part of an enum's name, as the contract writes it.
fn name(full: &str, prefix: &str) -> String {
    full.trim_start_matches(prefix).to_ascii_lowercase()
}

fn kind(edge: &EdgeChange) -> String {
    name(edge.kind().as_str_name(), "EDGE_KIND_")
}

fn row<'a>(event: &'a Event, resume_token: &'a str) -> Row<'a> {
    let date = |date: &Option<prost_types::Timestamp>| date.as_ref().and_then(dates::format_proto);
    let edge = |edge: &'a EdgeChange| EdgeRow {
        kind: kind(edge),
        op: name(edge.op().as_str_name(), "EDGE_OP_"),
        source_id: &edge.source_id,
        target_id: &edge.target_id,
        created_at: date(&edge.created_at),
        expires_at: date(&edge.expires_at),
        position: edge.position,
    };
    let account = |change: &'a AccountChange| AccountRow {
        user_id: &change.user_id,
        op: name(change.op().as_str_name(), "ACCOUNT_OP_"),
    };
    let counts = |told: &'a AccountCounts| CountsRow {
        user_id: &told.user_id,
        followers: told.followers,
        following: told.following,
        muting: told.muting,
        blocking: told.blocking,
        requests_sent: told.requests_sent,
        requests_received: told.requests_received,
    };
    Row {
        resume_token,
        epoch: event.epoch,
        revision: event.revision,
        event_id: &event.event_id,
        committed_at: date(&event.committed_at),
        verb: verb_name(event.verb()),
        actor_id: (!event.actor_id.is_empty()).then_some(event.actor_id.as_str()),
        edges: event.edges.iter().map(edge).collect(),
        accounts: event.accounts.iter().map(account).collect(),
        counts: event.counts.iter().map(counts).collect(),
    }
}

/// An event for people: revision, time, verb, and a few of its changes.
fn text(event: &Event) -> String {
    const SHOWN: usize = 3;
    let committed_at = event.committed_at.as_ref().and_then(dates::format_proto).unwrap_or_default();
    let mut parts: Vec<String> = event.edges.iter().take(SHOWN).map(edge_text).collect();
    if event.edges.len() > SHOWN {
        parts.push(format!("and {} more", event.edges.len() - SHOWN));
    }
    let account = |change: &AccountChange| {
        format!("{} {}", change.user_id, name(change.op().as_str_name(), "ACCOUNT_OP_").replace('_', " "))
    };
    parts.extend(event.accounts.iter().filter(|change| change.op() != AccountOp::Unspecified).map(account));
    format!("{}  {committed_at}  {}  {}", event.revision, verb_name(event.verb()), parts.join(", "))
}

fn edge_text(edge: &EdgeChange) -> String {
    let sign = match edge.op() {
        EdgeOp::Added => '+',
        EdgeOp::Removed => '-',
        EdgeOp::Updated | EdgeOp::Unspecified => '~',
    };
    let what = match edge.kind() {
        EdgeKind::Follow | EdgeKind::Unspecified => String::new(),
        _ => format!(" ({})", kind(edge).replace('_', " ")),
    };
    format!("{sign}{} -> {}{what}", edge.source_id, edge.target_id)
}

#[cfg(test)]
mod tests {
    use proto::event::Verb;

    use super::*;

    fn event() -> Event {
        let edge = |kind: EdgeKind, op: EdgeOp| EdgeChange {
            kind: kind.into(),
            op: op.into(),
            source_id: "a".to_owned(),
            target_id: "b".to_owned(),
            position: 7,
            created_at: Some(prost_types::Timestamp { seconds: 1, nanos: 0 }),
            expires_at: None,
        };
        Event {
            epoch: 1,
            revision: 901,
            verb: Verb::Block.into(),
            actor_id: "a".to_owned(),
            edges: vec![
                edge(EdgeKind::Block, EdgeOp::Added),
                edge(EdgeKind::Follow, EdgeOp::Removed),
                edge(EdgeKind::FollowRequest, EdgeOp::Removed),
                edge(EdgeKind::Mute, EdgeOp::Updated),
            ],
            accounts: vec![AccountChange { user_id: "c".to_owned(), op: AccountOp::MadePrivate.into() }],
            committed_at: Some(prost_types::Timestamp { seconds: 0, nanos: 0 }),
            ..Event::default()
        }
    }

    #[test]
    fn people_see_a_line() {
        assert_eq!(
            text(&event()),
            "901  1970-01-01T00:00:00Z  block  +a -> b (block), -a -> b, -a -> b (follow request), and 1 more, \
             c made private"
        );
    }

    #[test]
    fn programs_see_every_field() {
        let row = serde_json::to_value(row(&event(), "token")).unwrap();
        assert_eq!((row["resume_token"].as_str(), row["verb"].as_str()), (Some("token"), Some("block")));
        assert_eq!(row["edges"][3]["op"], "updated");
        assert_eq!(row["edges"][2]["kind"], "follow_request");
        assert_eq!(row["edges"][0]["created_at"], "1970-01-01T00:00:01Z");
        assert_eq!(row["accounts"][0]["op"], "made_private");
    }
}
