//! `check`: a Check for one target, BatchChecks for several.

use proto::query::v1::{BatchCheckRequest, CheckRequest};
use serde::Serialize;

use super::reads::{BATCH, FreshArgs, Measured, QueryRpc, Reads};
use crate::global::{GlobalArgs, Outcome};
use crate::ids::{self, Id};
use crate::output::{self, Format};

/// A viewer and other accounts.
#[derive(Debug, clap::Args)]
pub struct CheckArgs {
    /// Account whose view it is
    pub viewer: Id,
    /// The other accounts, any number (1,000 per call)
    #[arg(required = true)]
    pub targets: Vec<Id>,
    /// Freshness, and whether to explain.
    #[command(flatten)]
    pub fresh: FreshArgs,
}

#[derive(Debug, Serialize)]
struct Answer<'a> {
    viewer_id: &'a str,
    target_id: &'a str,
    following: bool,
    #[serde(flatten)]
    measured: &'a Measured,
}

pub async fn run(global: &GlobalArgs, args: &CheckArgs) -> anyhow::Result<Outcome> {
    let viewer_id = args.viewer.user().to_string();
    match args.targets.as_slice() {
        [target] => one(global, args, &viewer_id, &target.user().to_string()).await,
        _ => many(global, args, &viewer_id).await,
    }
}

async fn one(
    global: &GlobalArgs,
    args: &CheckArgs,
    viewer_id: &str,
    target_id: &str,
) -> anyhow::Result<Outcome> {
    let mut reads = Reads::open(global).await?;
    let request = CheckRequest {
        viewer_id: viewer_id.to_owned(),
        target_id: target_id.to_owned(),
        consistency: args.fresh.consistency(),
        explain: args.fresh.explain,
    };
    let (answer, measured) = reads.call(request, QueryRpc::check).await?;
    let following = answer.following;
    global.output.show(&Answer { viewer_id, target_id, following, measured: &measured }, || {
        let word = if following { "yes" } else { "no" };
        let verb = if following { "follows" } else { "does not follow" };
        format!("{word}: {viewer_id} {verb} {target_id}\n{}", reads.origin.text())
    })?;
    Ok(Outcome::from(following))
}

async fn many(global: &GlobalArgs, args: &CheckArgs, viewer_id: &str) -> anyhow::Result<Outcome> {
    let mut reads = Reads::open(global).await?;
    let mut table = output::table(&["TARGET", "FOLLOWING"]);
    let mut followed = 0;
    for batch in args.targets.chunks(BATCH) {
        let request = BatchCheckRequest {
            viewer_id: viewer_id.to_owned(),
            target_ids: ids::texts(batch),
            consistency: args.fresh.consistency(),
            explain: args.fresh.explain,
        };
        let (answer, measured) = reads.call(request, QueryRpc::batch_check).await?;
        followed += answer.results.iter().filter(|r| r.following).count();
        match global.output {
            Format::Json => output::json_rows(answer.results.iter().map(|result| Answer {
                viewer_id,
                target_id: &result.target_id,
                following: result.following,
                measured: &measured,
            }))?,
            Format::Text => {
                for result in &answer.results {
                    let following = if result.following { "yes" } else { "no" };
                    table.add_row([result.target_id.as_str(), following]);
                }
            }
        }
    }
    if global.output == Format::Text {
        let (table, all) = (output::table_text(table), args.targets.len());
        output::line(format!("{table}\n{viewer_id} follows {followed} of {all}\n{}", reads.origin.text()));
    }
    Ok(Outcome::from(followed == args.targets.len()))
}
