//! `check`: a Check for one target, BatchChecks for several.

use proto::query::v1::{BatchCheckRequest, CheckRequest};

use super::reads::{BATCH, FreshArgs, Measured, QueryRpc, Reads};
use crate::global::{GlobalArgs, Outcome};
use crate::ids::{self, Id};
use crate::output::{Rows, json_row};

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

json_row! {
    struct Answer<'a> from viewer_id: &'a str, target_id: &'a str, following: bool, measured: &'a Measured {
        viewer_id: &'a str = viewer_id,
        target_id: &'a str = target_id,
        following: bool = following,
        #[serde(flatten)]
        measured: &'a Measured = measured,
    }
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
    global.output.show(&Answer::new(viewer_id, target_id, following, &measured), || {
        let (word, verb) = if following { ("yes", "follows") } else { ("no", "does not follow") };
        format!("{word}: {viewer_id} {verb} {target_id}\n{}", reads.origin.text())
    })?;
    Ok(Outcome::from(following))
}

async fn many(global: &GlobalArgs, args: &CheckArgs, viewer_id: &str) -> anyhow::Result<Outcome> {
    let mut reads = Reads::open(global).await?;
    let mut rows = Rows::new(global.output, &["TARGET", "FOLLOWING"]);
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
        rows.add(
            &answer.results,
            |result| Answer::new(viewer_id, &result.target_id, result.following, &measured),
            |result| [result.target_id.as_str(), if result.following { "yes" } else { "no" }],
        )?;
    }
    rows.finish(|| {
        let all = args.targets.len();
        format!("{viewer_id} follows {followed} of {all}\n{}", reads.origin.text())
    });
    Ok(Outcome::from(followed == args.targets.len()))
}
