//! `counts`: numbers of followers and followed accounts; for the account itself also the private counts.

use clap::Args as Group;
use proto::query::v1::GetCountsRequest;
use proto::query::v1::query_service_client::QueryServiceClient;
use serde::Serialize;

use super::reads::{BATCH, FreshArgs, Measured, Reads};
use crate::global::GlobalArgs;
use crate::ids::{self, Id};
use crate::outcome::Outcome;
use crate::output::{self, Format};

/// Accounts to count.
#[derive(Debug, Group)]
pub struct CountsArgs {
    /// Accounts, any number (1,000 per call)
    #[arg(required = true)]
    pub users: Vec<Id>,
    /// Account that asks: its own row also has mutes, blocks and pending requests
    #[arg(long, value_name = "ACCOUNT")]
    pub viewer: Option<Id>,
    /// Freshness, and whether to explain.
    #[command(flatten)]
    pub fresh: FreshArgs,
}

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
    #[serde(flatten)]
    measured: &'a Measured,
}

pub async fn run(global: &GlobalArgs, args: &CountsArgs) -> anyhow::Result<Outcome> {
    let mut reads = Reads::open(global).await?;
    let mut header = vec!["USER", "FOLLOWERS", "FOLLOWING"];
    if args.viewer.is_some() {
        header.extend(["MUTING", "BLOCKING", "REQUESTS SENT", "RECEIVED"]);
    }
    let mut table = output::table(&header);
    for batch in args.users.chunks(BATCH) {
        let request = GetCountsRequest {
            user_ids: ids::texts(batch),
            consistency: args.fresh.consistency(),
            viewer_id: ids::text_or_empty(args.viewer),
            explain: args.fresh.explain,
        };
        let (answer, measured) = reads.call(request, QueryServiceClient::get_counts).await?;
        match global.output {
            Format::Json => output::json_rows(answer.counts.iter().map(|counts| Answer {
                user_id: &counts.user_id,
                followers: counts.followers,
                following: counts.following,
                muting: counts.muting,
                blocking: counts.blocking,
                requests_sent: counts.requests_sent,
                requests_received: counts.requests_received,
                measured: &measured,
            }))?,
            Format::Text => {
                for counts in &answer.counts {
                    let public = [counts.followers, counts.following];
                    let mut row = vec![counts.user_id.clone()];
                    row.extend(public.map(|count| count.to_string()));
                    if args.viewer.is_some() {
                        let own =
                            [counts.muting, counts.blocking, counts.requests_sent, counts.requests_received];
                        row.extend(own.map(|count| count.map_or_else(|| "-".to_owned(), |n| n.to_string())));
                    }
                    table.add_row(row);
                }
            }
        }
    }
    if global.output == Format::Text {
        output::line(format!("{}\n{}", output::table_text(table), reads.origin.text()));
    }
    Ok(Outcome::Done)
}
