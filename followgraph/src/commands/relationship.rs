//! `relationship`: all that links an account with others.

use std::time::Instant;

use proto::graph::v1::Relationship;
use proto::query::v1::GetRelationshipsRequest;
use serde::Serialize;

use crate::args::{CheckArgs, ConnectionArgs, Format};
use crate::client;
use crate::commands::explanation::{self, Body};
use crate::commands::{BATCH, Outcome, consistency};
use crate::dates;
use crate::output::{self, Origin};

/// A pair for programs.
#[derive(Debug, Serialize)]
pub struct Pair<'a> {
    user_id: &'a str,
    following: bool,
    followed_by: bool,
    mutual: bool,
    requested: bool,
    request_received: bool,
    muting: bool,
    blocking: bool,
    blocked_by: bool,
    following_since: Option<String>,
    followed_by_since: Option<String>,
    muting_until: Option<String>,
    blocking_until: Option<String>,
    etag: &'a str,
}

/// One answer for programs.
#[derive(Debug, Serialize)]
struct Answer<'a> {
    viewer_id: &'a str,
    #[serde(flatten)]
    pair: Pair<'a>,
    source: &'a str,
    as_of: &'a str,
    elapsed_ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    explanation: Option<Body<'a>>,
}

impl<'a> From<&'a Relationship> for Pair<'a> {
    fn from(pair: &'a Relationship) -> Self {
        let date = |at: &Option<prost_types::Timestamp>| at.as_ref().and_then(dates::format_proto);
        Self {
            user_id: &pair.user_id,
            following: pair.following,
            followed_by: pair.followed_by,
            mutual: pair.following && pair.followed_by,
            requested: pair.requested,
            request_received: pair.request_received,
            muting: pair.muting,
            blocking: pair.blocking,
            blocked_by: pair.blocked_by,
            following_since: date(&pair.following_since),
            followed_by_since: date(&pair.followed_by_since),
            muting_until: date(&pair.muting_until),
            blocking_until: date(&pair.blocking_until),
            etag: &pair.etag,
        }
    }
}

/// A pair in a few words: `mutual, muting until ...`, or `-`.
pub fn words(pair: &Relationship) -> String {
    let until = |at: &Option<prost_types::Timestamp>| {
        at.as_ref().and_then(dates::format_proto).map(|at| format!(" until {at}")).unwrap_or_default()
    };
    let mut words = Vec::new();
    match (pair.following, pair.followed_by) {
        (true, true) => words.push("mutual".to_owned()),
        (true, false) => words.push("following".to_owned()),
        (false, true) => words.push("followed by".to_owned()),
        (false, false) => {}
    }
    for (set, word) in [(pair.requested, "requested"), (pair.request_received, "request received")] {
        words.extend(set.then(|| word.to_owned()));
    }
    words.extend(pair.muting.then(|| format!("muting{}", until(&pair.muting_until))));
    words.extend(pair.blocking.then(|| format!("blocking{}", until(&pair.blocking_until))));
    words.extend(pair.blocked_by.then(|| "blocked by".to_owned()));
    if words.is_empty() { "-".to_owned() } else { words.join(", ") }
}

/// Shows all that links the viewer with each target.
pub async fn run(connection: &ConnectionArgs, format: Format, args: &CheckArgs) -> anyhow::Result<Outcome> {
    let mut client = client::query(connection).await?;
    let viewer_id = args.viewer.user().to_string();
    let mut table = output::table(&["TARGET", "RELATIONSHIP", "ETAG"]);
    let mut origin = Origin::default();
    let mut explanations = Vec::new();
    for batch in args.targets.chunks(BATCH) {
        let request = client.request(GetRelationshipsRequest {
            viewer_id: viewer_id.clone(),
            target_ids: batch.iter().map(|target| target.user().to_string()).collect(),
            consistency: consistency(&args.fresh),
            explain: args.fresh.explain,
        });
        let started = Instant::now();
        let answer = client.rpc.get_relationships(request).await;
        let elapsed = started.elapsed();
        let answer = answer.map_err(|s| client.failed(s))?.into_inner();
        origin.add(answer.source(), &answer.as_of, elapsed);
        let explanation = answer.explanation.as_ref().map(Body::from);
        match format {
            Format::Json => output::json_rows(answer.relationships.iter().map(|pair| Answer {
                viewer_id: &viewer_id,
                pair: Pair::from(pair),
                source: output::source_name(answer.source()),
                as_of: &answer.as_of,
                elapsed_ms: output::elapsed_ms(elapsed),
                explanation: explanation.clone(),
            }))?,
            Format::Text => {
                for pair in &answer.relationships {
                    table.add_row([pair.user_id.clone(), words(pair), pair.etag.clone()]);
                }
            }
        }
        explanations.extend(answer.explanation);
    }
    if format == Format::Text {
        output::line(format!("{}\n{}", output::table_text(table), origin.text()));
        explanation::print(&explanations);
    }
    Ok(Outcome::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_reads_as_words() {
        assert_eq!(words(&Relationship::default()), "-");
        let pair = Relationship {
            following: true,
            followed_by: true,
            muting: true,
            muting_until: Some(prost_types::Timestamp { seconds: 1_341_100_972, nanos: 0 }),
            ..Relationship::default()
        };
        assert_eq!(words(&pair), "mutual, muting until 2012-07-01T00:02:52Z");
        let pair = Relationship { request_received: true, blocked_by: true, ..Relationship::default() };
        assert_eq!(words(&pair), "request received, blocked by");
    }
}
