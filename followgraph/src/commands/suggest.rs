//! `suggest`: accounts that an account may want to follow.

use proto::query::v1::{SuggestAccountsRequest, Suggestion};

use super::ending::Ending;
use super::origin::Provenance;
use super::reads::{FreshArgs, QueryRpc, Reads};
use crate::global::{GlobalArgs, Outcome};
use crate::ids::Id;
use crate::output::{self, Format, Rows, json_row};

/// For whom to find suggestions.
#[derive(Debug, clap::Args)]
pub struct SuggestArgs {
    /// Account to suggest others to
    pub viewer: Id,
    /// Number of suggestions, at most 100
    #[arg(long, value_name = "ROWS", default_value_t = 20, value_parser = clap::value_parser!(i32).range(1..=100))]
    pub limit: i32,
    /// Freshness, and whether to explain.
    #[command(flatten)]
    pub fresh: FreshArgs,
}

json_row! {
    struct Row<'a> from suggestion: &'a Suggestion, from: &'a Provenance {
        user_id: &'a str = &suggestion.user_id,
        followed_by_count: u32 = suggestion.followed_by_count,
        followed_by: &'a [String] = &suggestion.followed_by,
        #[serde(flatten)]
        from: &'a Provenance = from,
    }
}

pub async fn run(global: &GlobalArgs, args: &SuggestArgs) -> anyhow::Result<Outcome> {
    let mut reads = Reads::open(global).await?;
    let request = SuggestAccountsRequest {
        viewer_id: args.viewer.user().to_string(),
        limit: args.limit,
        consistency: args.fresh.consistency(),
        explain: args.fresh.explain,
    };
    let (answer, measured) = reads.call(request, QueryRpc::suggest_accounts).await?;
    let mut rows = Rows::new(global.output, &["USER", "FOLLOWED BY", "AMONG THEM"]);
    rows.add(
        &answer.suggestions,
        |one| Row::new(one, &measured.from),
        |one| [one.user_id.clone(), one.followed_by_count.to_string(), one.followed_by.join(" ")],
    )?;
    if global.output == Format::Json {
        Ending::default().print(global.output, &reads.origin)?;
    }
    rows.finish(|| {
        let number = output::counted(answer.suggestions.len() as u64, "suggestion");
        format!("{number}\n{}", reads.origin.text())
    });
    Ok(Outcome::Done)
}
