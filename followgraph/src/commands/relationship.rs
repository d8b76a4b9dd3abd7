//! `relationship`: all relations of an account with others.

use proto::graph::v1::Relationship;
use proto::query::v1::GetRelationshipsRequest;

use super::check::CheckArgs;
use super::pair_state::{Pair, words};
use super::reads::{BATCH, Measured, QueryRpc, Reads};
use crate::global::{GlobalArgs, Outcome};
use crate::ids;
use crate::output::{Rows, json_row};

json_row! {
    struct Answer<'a> from viewer_id: &'a str, pair: &Relationship, measured: &'a Measured {
        viewer_id: &'a str = viewer_id,
        #[serde(flatten)]
        pair: Pair = Pair::new(pair),
        #[serde(flatten)]
        measured: &'a Measured = measured,
    }
}

pub async fn run(global: &GlobalArgs, args: &CheckArgs) -> anyhow::Result<Outcome> {
    let mut reads = Reads::open(global).await?;
    let viewer_id = args.viewer.user().to_string();
    let mut rows = Rows::new(global.output, &["TARGET", "RELATIONSHIP", "ETAG"]);
    for batch in args.targets.chunks(BATCH) {
        let request = GetRelationshipsRequest {
            viewer_id: viewer_id.clone(),
            target_ids: ids::texts(batch),
            consistency: args.fresh.consistency(),
            explain: args.fresh.explain,
        };
        let (answer, measured) = reads.call(request, QueryRpc::get_relationships).await?;
        rows.add(
            &answer.relationships,
            |pair| Answer::new(&viewer_id, pair, &measured),
            |pair| [pair.user_id.clone(), words(pair), pair.etag.clone()],
        )?;
    }
    rows.finish(|| reads.origin.text());
    Ok(Outcome::Done)
}
