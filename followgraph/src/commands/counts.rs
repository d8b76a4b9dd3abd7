//! `counts`: how many follow an account, and how many it follows.

use std::time::Instant;

use proto::query::v1::GetCountsRequest;
use serde::Serialize;

use crate::args::{ConnectionArgs, CountsArgs, Format};
use crate::client;
use crate::commands::{BATCH, Outcome, consistency};
use crate::output::{self, Origin};

/// One answer for programs.
#[derive(Debug, Serialize)]
struct Answer<'a> {
    user_id: &'a str,
    followers: u64,
    following: u64,
    source: &'a str,
    as_of: &'a str,
    revision: Option<u64>,
    elapsed_ms: f64,
}

/// Tells the counts of accounts.
pub async fn run(connection: &ConnectionArgs, format: Format, args: &CountsArgs) -> anyhow::Result<Outcome> {
    let mut client = client::query(connection).await?;
    let mut table = output::table(&["USER", "FOLLOWERS", "FOLLOWING"]);
    let mut origin = Origin::default();
    for batch in args.users.chunks(BATCH) {
        let request = client.request(GetCountsRequest {
            user_ids: batch.iter().map(|u| u.user().to_string()).collect(),
            consistency: consistency(&args.fresh),
            ..Default::default()
        });
        let started = Instant::now();
        let answer = client.rpc.get_counts(request).await;
        let elapsed = started.elapsed();
        let answer = answer.map_err(|s| client.failed(s))?.into_inner();
        origin.add(answer.source(), &answer.as_of, elapsed);
        match format {
            Format::Json => output::json_rows(answer.counts.iter().map(|counts| Answer {
                user_id: &counts.user_id,
                followers: counts.followers,
                following: counts.following,
                source: output::source_name(answer.source()),
                as_of: &answer.as_of,
                revision: output::revision(&answer.as_of),
                elapsed_ms: output::elapsed_ms(elapsed),
            }))?,
            Format::Text => {
                for counts in &answer.counts {
                    table.add_row([
                        counts.user_id.clone(),
                        counts.followers.to_string(),
                        counts.following.to_string(),
                    ]);
                }
            }
        }
    }
    if format == Format::Text {
        output::line(format!("{}\n{}", output::table_text(table), origin.text()))?;
    }
    Ok(Outcome::Done)
}
