//! `watch`: prints events as they happen. A broken stream resumes without a gap or a repetition.

use std::ops::ControlFlow;
use std::time::Duration;

use proto::event::Verb;
use proto::events::v1::{AccountChange, AccountCounts, AccountOp, EdgeChange, EdgeOp, Event};
use proto::graph::v1::EdgeKind;
use proto::query::v1::{WatchEventsRequest, WatchEventsResponse};
use proto::subjects::verb_name;
use serde::Serialize;
use tonic::{Request, Status};

use crate::client::{CallFailed, QueryClient};
use crate::dates::format_proto;
use crate::global::{GlobalArgs, Outcome};
use crate::ids::{self, Id};
use crate::output::{self, Format, json_row};
use crate::retry::Backoff;
use crate::text;

/// Text after the help of `watch`.
pub const WATCH_HELP: &str = "\
With -o json, each event is one object per line. Its `resume_token` is the value of --after that starts after it.
A broken connection is resumed. Ctrl-C ends the watch and prints the last token on stderr.

An event must match all kinds of filters, and at least one filter of each kind.";

/// Events to watch.
#[derive(Debug, clap::Args)]
pub struct WatchArgs {
    /// Start after this token [default: after the newest event]
    #[arg(long, value_name = "TOKEN", value_parser = text::argument)]
    pub after: Option<String>,
    /// Only events of this command, such as follow or remove-follower; may be repeated
    #[arg(long = "verb", value_name = "VERB", value_parser = verb)]
    pub verbs: Vec<Verb>,
    /// Only events of this actor; may be repeated
    #[arg(long = "actor", value_name = "ID")]
    pub actors: Vec<Id>,
    /// Only events that change an edge to this account; may be repeated
    #[arg(long = "target", value_name = "ID")]
    pub targets: Vec<Id>,
    /// End after this many events
    #[arg(long, value_name = "EVENTS", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,
    /// Give up after this many seconds of failed connections
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = text::seconds)]
    pub retry_for: Duration,
}

/// Parses a verb with dashes or underscores.
fn verb(text: &str) -> Result<Verb, String> {
    let name = format!("VERB_{}", text.to_ascii_uppercase().replace('-', "_"));
    Verb::from_str_name(&name).filter(|verb| *verb != Verb::Unspecified).ok_or_else(|| {
        let known = (1..).map_while(|number| Verb::try_from(number).ok());
        let known: Vec<_> = known.map(|verb| proto::subjects::verb_name(verb).replace('_', "-")).collect();
        format!("must be one of {}", known.join(", "))
    })
}

#[derive(Debug, Serialize)]
struct Row<'a> {
    resume_token: &'a str,
    #[serde(flatten)]
    event: EventRow,
}

json_row! {
    struct EventRow from event: &Event {
        epoch: u64 = event.epoch,
        revision: u64 = event.revision,
        event_id: String = event.event_id.clone(),
        committed_at: Option<String> = format_proto(event.committed_at),
        verb: String = verb_name(event.verb()),
        actor_id: Option<String> = (!event.actor_id.is_empty()).then(|| event.actor_id.clone()),
        edges: Vec<EdgeRow> = event.edges.iter().map(EdgeRow::new).collect(),
        accounts: Vec<AccountRow> = event.accounts.iter().map(AccountRow::new).collect(),
        counts: Vec<CountsRow> = event.counts.iter().map(CountsRow::new).collect(),
    }
}

json_row! {
    struct EdgeRow from edge: &EdgeChange {
        kind: String = kind(edge),
        op: String = name(edge.op().as_str_name(), "EDGE_OP_"),
        source_id: String = edge.source_id.clone(),
        target_id: String = edge.target_id.clone(),
        created_at: Option<String> = format_proto(edge.created_at),
        expires_at: Option<String> = format_proto(edge.expires_at),
        position: u64 = edge.position,
    }
}

json_row! {
    struct AccountRow from change: &AccountChange {
        user_id: String = change.user_id.clone(),
        op: String = name(change.op().as_str_name(), "ACCOUNT_OP_"),
    }
}

json_row! {
    struct CountsRow from counts: &AccountCounts {
        user_id: String = counts.user_id.clone(),
        followers: u64 = counts.followers,
        following: u64 = counts.following,
        muting: u64 = counts.muting,
        blocking: u64 = counts.blocking,
        requests_sent: u64 = counts.requests_sent,
        requests_received: u64 = counts.requests_received,
    }
}

/// Prints events until Ctrl-C, or the limit.
pub async fn run(global: &GlobalArgs, args: &WatchArgs) -> anyhow::Result<Outcome> {
    let mut watch = Watch {
        client: global.connection.query_client().await?,
        args,
        format: global.output,
        backoff: Backoff::new(args.retry_for),
        after: args.after.clone().unwrap_or_default(),
        printed: 0,
    };
    tokio::select! {
        ended = watch.run() => ended?,
        signal = tokio::signal::ctrl_c() => signal?,
    }
    if !watch.after.is_empty() && !output::is_closed_pipe() {
        output::note(format!("resume with --after {}", watch.after));
    }
    Ok(Outcome::Done)
}

struct Watch<'a> {
    client: QueryClient,
    args: &'a WatchArgs,
    format: Format,
    backoff: Backoff,
    /// Token of the last printed event.
    after: String,
    printed: u64,
}

impl Watch<'_> {
    /// Reads streams until enough events are printed, over as many connections as necessary.
    async fn run(&mut self) -> anyhow::Result<()> {
        loop {
            let failed = match self.stream().await {
                Ok(ControlFlow::Break(())) => return Ok(()),
                Ok(ControlFlow::Continue(())) => {
                    self.client.failed(Status::unavailable("the service ended the stream"))
                }
                Err(error) => error.downcast::<CallFailed>()?,
            };
            let delay = self.backoff.after(failed, |text| output::note(text))?;
            tokio::time::sleep(delay).await;
        }
    }

    async fn stream(&mut self) -> anyhow::Result<ControlFlow<()>> {
        let request = WatchEventsRequest {
            after: self.after.clone(),
            verbs: self.args.verbs.iter().map(|verb| i32::from(*verb)).collect(),
            actor_ids: ids::texts(&self.args.actors),
            target_ids: ids::texts(&self.args.targets),
        };
        // Without a deadline: a watch does not end.
        let answer = self.client.rpc.watch_events(Request::new(request)).await;
        let mut messages = answer.map_err(|status| self.client.failed(status))?.into_inner();
        while let Some(message) = messages.message().await.map_err(|status| self.client.failed(status))? {
            self.print(message)?;
            if !output::is_open() || self.args.limit.is_some_and(|limit| self.printed >= limit) {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn print(&mut self, message: WatchEventsResponse) -> anyhow::Result<()> {
        if let Some(event) = &message.event {
            let row = Row { resume_token: &message.resume_token, event: EventRow::new(event) };
            self.format.show(&row, || event_text(event))?;
            if !output::is_open() {
                // The event was not read: a later watch starts with it.
                return Ok(());
            }
            self.printed += 1;
        }
        self.after = message.resume_token;
        self.backoff.reset();
        Ok(())
    }
}

/// Name of a value of an enum of the contract, without the prefix and in lower case.
fn name(full: &str, prefix: &str) -> String {
    full.trim_start_matches(prefix).to_ascii_lowercase()
}

fn kind(edge: &EdgeChange) -> String {
    name(edge.kind().as_str_name(), "EDGE_KIND_")
}

/// An event for people: revision, time, verb, and some of its changes.
fn event_text(event: &Event) -> String {
    const SHOWN: usize = 3;
    let committed_at = format_proto(event.committed_at).unwrap_or_default();
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
    fn text_is_one_line() {
        assert_eq!(
            event_text(&event()),
            "901  1970-01-01T00:00:00Z  block  +a -> b (block), -a -> b, -a -> b (follow request), and 1 more, \
             c made private"
        );
    }

    #[test]
    fn json_has_every_field() {
        let row =
            serde_json::to_value(Row { resume_token: "token", event: EventRow::new(&event()) }).unwrap();
        assert_eq!((row["resume_token"].as_str(), row["verb"].as_str()), (Some("token"), Some("block")));
        assert_eq!(row["edges"][3]["op"], "updated");
        assert_eq!(row["edges"][2]["kind"], "follow_request");
        assert_eq!(row["edges"][0]["created_at"], "1970-01-01T00:00:01Z");
        assert_eq!(row["accounts"][0]["op"], "made_private");
    }

    #[test]
    fn verbs_have_dashes_or_underscores() {
        assert_eq!(verb("follow"), Ok(Verb::Follow));
        assert_eq!(verb("remove-follower"), Ok(Verb::RemoveFollower));
        assert_eq!(verb("remove_follower"), Ok(Verb::RemoveFollower));
        for wrong in ["", "unspecified", "befriend"] {
            let error = verb(wrong).unwrap_err();
            assert!(error.contains("remove-follower") && error.contains("restore-account"), "{error}");
        }
    }
}
