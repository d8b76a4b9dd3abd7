//! `counts`: how many follow an account, how many it follows, and for itself the rest.

use std::time::Instant;

use proto::query::v1::GetCountsRequest;
use serde::Serialize;

use crate::args::{ConnectionArgs, CountsArgs, Format};
use crate::client;
use crate::commands::explanation::{self, Body};
use crate::commands::{BATCH, Outcome, consistency};
use crate::output::{self, Origin};

/// One answer for programs.
#[derive(Debug, Serialize)]
struct Answer<'a> {
    user_id: &'a str,
    followers: u64,
    following: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    muting: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    blocking: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    requests_sent: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    requests_received: Option<u64>,
    source: &'a str,
    as_of: &'a str,
    revision: Option<u64>,
    elapsed_ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    explanation: Option<Body<'a>>,
}

/// Tells the counts of accounts.
pub async fn run(connection: &ConnectionArgs, format: Format, args: &CountsArgs) -> anyhow::Result<Outcome> {
    let mut client = client::query(connection).await?;
    let viewer_id = args.viewer.map(|viewer| viewer.user().to_string()).unwrap_or_default();
    let mut header = vec!["USER", "FOLLOWERS", "FOLLOWING"];
    if args.viewer.is_some() {
        header.extend(["MUTING", "BLOCKING", "REQUESTS SENT", "RECEIVED"]);
    }
    let mut table = output::table(&header);
    let mut origin = Origin::default();
    let mut explanations = Vec::new();
    for batch in args.users.chunks(BATCH) {
        let request = client.request(GetCountsRequest {
            user_ids: batch.iter().map(|u| u.user().to_string()).collect(),
            consistency: consistency(&args.fresh),
            viewer_id: viewer_id.clone(),
            explain: args.fresh.explain,
        });
        let started = Instant::now();
        let answer = client.rpc.get_counts(request).await;
        let elapsed = started.elapsed();
        let answer = answer.map_err(|s| client.failed(s))?.into_inner();
        origin.add(answer.source(), &answer.as_of, elapsed);
        let explanation = answer.explanation.as_ref().map(Body::from);
        match format {
            Format::Json => output::json_rows(answer.counts.iter().map(|counts| Answer {
                user_id: &counts.user_id,
                followers: counts.followers,
                following: counts.following,
                muting: counts.muting,
                blocking: counts.blocking,
                requests_sent: counts.requests_sent,
                requests_received: counts.requests_received,
                source: output::source_name(answer.source()),
                as_of: &answer.as_of,
                revision: output::revision(&answer.as_of),
                elapsed_ms: output::elapsed_ms(elapsed),
                explanation: explanation.clone(),
            }))?,
            Format::Text => {
                for counts in &answer.counts {
                    let mut row = vec![
                        counts.user_id.clone(),
                        counts.followers.to_string(),
                        counts.following.to_string(),
                    ];
                    if args.viewer.is_some() {
                        let own =
                            [counts.muting, counts.blocking, counts.requests_sent, counts.requests_received];
                        row.extend(own.map(|count| count.map_or_else(|| "-".to_owned(), |n| n.to_string())));
                    }
                    table.add_row(row);
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
