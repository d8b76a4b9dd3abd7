//! `counts`: numbers of followers and followed accounts; for the account itself also the private counts.

use proto::query::v1::{Counts, GetCountsRequest};
use serde::Serialize;

use super::reads::{BATCH, FreshArgs, Measured, QueryRpc, Reads};
use crate::global::{GlobalArgs, Outcome};
use crate::ids::{self, Id};
use crate::output::{self, Rows, json_row};

/// Accounts to count.
#[derive(Debug, clap::Args)]
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

json_row! {
    struct Row from counts: &Counts {
        user_id: String = counts.user_id.clone(),
        followers: u64 = counts.followers,
        following: u64 = counts.following,
        #[serde(skip_serializing_if = "Option::is_none")]
        muting: Option<u64> = counts.muting,
        #[serde(skip_serializing_if = "Option::is_none")]
        blocking: Option<u64> = counts.blocking,
        #[serde(skip_serializing_if = "Option::is_none")]
        requests_sent: Option<u64> = counts.requests_sent,
        #[serde(skip_serializing_if = "Option::is_none")]
        requests_received: Option<u64> = counts.requests_received,
    }
}

#[derive(Debug, Serialize)]
struct Answer<'a> {
    #[serde(flatten)]
    row: Row,
    #[serde(flatten)]
    measured: &'a Measured,
}

pub async fn run(global: &GlobalArgs, args: &CountsArgs) -> anyhow::Result<Outcome> {
    let mut reads = Reads::open(global).await?;
    let mut header = vec!["USER", "FOLLOWERS", "FOLLOWING"];
    if args.viewer.is_some() {
        header.extend(["MUTING", "BLOCKING", "REQUESTS SENT", "RECEIVED"]);
    }
    let mut rows = Rows::new(global.output, &header);
    for batch in args.users.chunks(BATCH) {
        let request = GetCountsRequest {
            user_ids: ids::texts(batch),
            consistency: args.fresh.consistency(),
            viewer_id: ids::text_or_empty(args.viewer),
            explain: args.fresh.explain,
        };
        let (answer, measured) = reads.call(request, QueryRpc::get_counts).await?;
        rows.add(
            &answer.counts,
            |counts| Answer { row: Row::new(counts), measured: &measured },
            |counts| cells(counts, args.viewer.is_some()),
        )?;
    }
    rows.finish(|| reads.origin.text());
    Ok(Outcome::Done)
}

fn cells(counts: &Counts, with_own: bool) -> Vec<String> {
    let mut cells = output::numbers(&counts.user_id, [counts.followers, counts.following]);
    if with_own {
        let own = [counts.muting, counts.blocking, counts.requests_sent, counts.requests_received];
        cells.extend(own.map(|count| count.map_or_else(|| "-".to_owned(), |n| n.to_string())));
    }
    cells
}
