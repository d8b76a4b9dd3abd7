//! `check`: one target is a Check, several are BatchChecks.

use std::time::Instant;

use proto::query::v1::{BatchCheckRequest, CheckRequest};
use serde::Serialize;

use crate::args::{CheckArgs, ConnectionArgs, Format};
use crate::client;
use crate::commands::explanation::{self, Body};
use crate::commands::{BATCH, Outcome, consistency};
use crate::ids::Id;
use crate::output::{self, Origin};

/// One answer for programs.
#[derive(Debug, Serialize)]
struct Answer<'a> {
    viewer_id: &'a str,
    target_id: &'a str,
    following: bool,
    source: &'a str,
    as_of: &'a str,
    revision: Option<u64>,
    elapsed_ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    explanation: Option<Body<'a>>,
}

/// Tells whether one account follows others.
pub async fn run(connection: &ConnectionArgs, format: Format, args: &CheckArgs) -> anyhow::Result<Outcome> {
    match args.targets.as_slice() {
        [target] => one(connection, format, args, *target).await,
        targets => many(connection, format, args, targets).await,
    }
}

async fn one(
    connection: &ConnectionArgs,
    format: Format,
    args: &CheckArgs,
    target: Id,
) -> anyhow::Result<Outcome> {
    let mut client = client::query(connection).await?;
    let (viewer_id, target_id) = (args.viewer.user().to_string(), target.user().to_string());
    let request = client.request(CheckRequest {
        viewer_id: viewer_id.clone(),
        target_id: target_id.clone(),
        consistency: consistency(&args.fresh),
        explain: args.fresh.explain,
    });
    let started = Instant::now();
    let answer = client.rpc.check(request).await;
    let elapsed = started.elapsed();
    let answer = answer.map_err(|s| client.failed(s))?.into_inner();
    let explanation = answer.explanation.as_ref().map(Body::from);
    match format {
        Format::Json => output::json(&Answer {
            viewer_id: &viewer_id,
            target_id: &target_id,
            following: answer.following,
            source: output::source_name(answer.source()),
            as_of: &answer.as_of,
            revision: output::revision(&answer.as_of),
            elapsed_ms: output::elapsed_ms(elapsed),
            explanation: explanation.clone(),
        })?,
        Format::Text => {
            let words = if answer.following {
                format!("yes: {viewer_id} follows {target_id}")
            } else {
                format!("no: {viewer_id} does not follow {target_id}")
            };
            let origin = Origin::of(answer.source(), &answer.as_of, elapsed);
            output::line(format!("{words}\n{}", origin.text()));
            explanation::print(answer.explanation.as_slice());
        }
    }
    Ok(Outcome::from(answer.following))
}

async fn many(
    connection: &ConnectionArgs,
    format: Format,
    args: &CheckArgs,
    targets: &[Id],
) -> anyhow::Result<Outcome> {
    let mut client = client::query(connection).await?;
    let viewer_id = args.viewer.user().to_string();
    let mut table = output::table(&["TARGET", "FOLLOWING"]);
    let mut origin = Origin::default();
    let mut explanations = Vec::new();
    let mut followed = 0;
    for batch in targets.chunks(BATCH) {
        let request = client.request(BatchCheckRequest {
            viewer_id: viewer_id.clone(),
            target_ids: batch.iter().map(|t| t.user().to_string()).collect(),
            consistency: consistency(&args.fresh),
            explain: args.fresh.explain,
        });
        let started = Instant::now();
        let answer = client.rpc.batch_check(request).await;
        let elapsed = started.elapsed();
        let answer = answer.map_err(|s| client.failed(s))?.into_inner();
        followed += answer.results.iter().filter(|r| r.following).count();
        origin.add(answer.source(), &answer.as_of, elapsed);
        let explanation = answer.explanation.as_ref().map(Body::from);
        match format {
            Format::Json => output::json_rows(answer.results.iter().map(|result| Answer {
                viewer_id: &viewer_id,
                target_id: &result.target_id,
                following: result.following,
                source: output::source_name(answer.source()),
                as_of: &answer.as_of,
                revision: output::revision(&answer.as_of),
                elapsed_ms: output::elapsed_ms(elapsed),
                explanation: explanation.clone(),
            }))?,
            Format::Text => {
                for result in &answer.results {
                    let following = if result.following { "yes" } else { "no" };
                    table.add_row([result.target_id.as_str(), following]);
                }
            }
        }
        explanations.extend(answer.explanation);
    }
    if format == Format::Text {
        output::line(format!(
            "{}\n{viewer_id} follows {followed} of {}\n{}",
            output::table_text(table),
            targets.len(),
            origin.text()
        ));
        explanation::print(&explanations);
    }
    Ok(Outcome::from(followed == targets.len()))
}
