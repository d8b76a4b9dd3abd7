//! `known`, `set` and `suggest`: over more than one hop.
//!
//! Owns: walking their pages, and the form of their rows. It must not know how they are found.
//! What can go wrong: a page that is empty is not the end; only an empty token is.

use std::time::Instant;

use anyhow::bail;
use proto::query::v1::{
    Explanation, ListFollowersYouKnowRequest, ListSetOperationRequest, SetOperation, Source,
    SuggestAccountsRequest,
};
use serde::Serialize;

use super::ending::Ending;
use super::explanation;
use crate::args::{ConnectionArgs, Format, KnownArgs, PartArgs, SetArgs, SuggestArgs};
use crate::client::{self, QueryClient};
use crate::commands::{Outcome, consistency};
use crate::dates;
use crate::output::{self, Origin};

/// The largest page that the service gives.
const LARGEST_PAGE: i32 = 1_000;

/// A page of accounts.
struct Page {
    /// Each account, and since when where that is told.
    rows: Vec<(String, Option<String>)>,
    /// How many there are in all, where that is told.
    total: Option<u64>,
    next_page_token: String,
    as_of: String,
    source: Source,
    explanation: Option<Explanation>,
}

/// One row for programs.
#[derive(Debug, Serialize)]
struct Row<'a> {
    user_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    created_at: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    total: Option<u64>,
    source: &'a str,
    as_of: &'a str,
    revision: Option<u64>,
}

/// One suggestion for programs.
#[derive(Debug, Serialize)]
struct Suggested<'a> {
    user_id: &'a str,
    followed_by_count: u32,
    followed_by: &'a [String],
    source: &'a str,
    as_of: &'a str,
    revision: Option<u64>,
}

/// Lists known followers.
pub async fn known(connection: &ConnectionArgs, format: Format, args: &KnownArgs) -> anyhow::Result<Outcome> {
    let fetch = async |client: &mut QueryClient, page_size, page_token| {
        let request = client.request(ListFollowersYouKnowRequest {
            viewer_id: args.viewer.user().to_string(),
            target_id: args.target.user().to_string(),
            page_size,
            page_token,
            consistency: consistency(&args.part.fresh),
            explain: args.part.fresh.explain,
        });
        let answer =
            client.rpc.list_followers_you_know(request).await.map_err(|s| client.failed(s))?.into_inner();
        let source = answer.source();
        let row = |edge: proto::query::v1::ListedEdge| {
            let since = edge.created_at.as_ref().and_then(dates::format_proto);
            (edge.user_id, Some(since.unwrap_or_default()))
        };
        anyhow::Ok(Page {
            rows: answer.edges.into_iter().map(row).collect(),
            total: Some(answer.total),
            next_page_token: answer.next_page_token,
            as_of: answer.as_of,
            source,
            explanation: answer.explanation,
        })
    };
    walk(connection, format, &args.part, fetch).await
}

/// Lists two sets put together.
pub async fn set(connection: &ConnectionArgs, format: Format, args: &SetArgs) -> anyhow::Result<Outcome> {
    let fetch = async |client: &mut QueryClient, page_size, page_token| {
        let request = client.request(ListSetOperationRequest {
            operation: SetOperation::from(args.operation).into(),
            first: Some(args.first.into()),
            second: Some(args.second.into()),
            page_size,
            page_token,
            consistency: consistency(&args.part.fresh),
            explain: args.part.fresh.explain,
        });
        let answer = client.rpc.list_set_operation(request).await.map_err(|s| client.failed(s))?.into_inner();
        let source = answer.source();
        anyhow::Ok(Page {
            rows: answer.user_ids.into_iter().map(|user| (user, None)).collect(),
            total: None,
            next_page_token: answer.next_page_token,
            as_of: answer.as_of,
            source,
            explanation: answer.explanation,
        })
    };
    walk(connection, format, &args.part, fetch).await
}

/// Prints pages until there are enough rows.
async fn walk(
    connection: &ConnectionArgs,
    format: Format,
    part: &PartArgs,
    fetch: impl AsyncFn(&mut QueryClient, i32, String) -> anyhow::Result<Page>,
) -> anyhow::Result<Outcome> {
    let mut client = client::query(connection).await?;
    let limit = if part.all { u64::MAX } else { part.limit };
    let mut ending = Ending { next_page_token: part.page_token.clone(), ..Ending::default() };
    while ending.printed < limit && output::is_open() {
        let wanted = i32::try_from(limit - ending.printed).unwrap_or(LARGEST_PAGE);
        let page_size = part.page_size.unwrap_or(LARGEST_PAGE).min(wanted);
        let started = Instant::now();
        let page = fetch(&mut client, page_size, ending.next_page_token.clone()).await?;
        ending.origin.add(page.source, &page.as_of, started.elapsed());
        if !page.next_page_token.is_empty() && page.next_page_token == ending.next_page_token {
            bail!("the service gave the same page token twice");
        }
        print(format, &page, ending.printed == 0)?;
        ending.printed += page.rows.len() as u64;
        ending.total = page.total;
        ending.next_page_token = page.next_page_token;
        ending.explanations.extend(page.explanation);
        if ending.next_page_token.is_empty() {
            break;
        }
    }
    ending.print(format)?;
    Ok(Outcome::Done)
}

fn print(format: Format, page: &Page, first: bool) -> anyhow::Result<()> {
    match format {
        Format::Json => output::json_rows(page.rows.iter().map(|(user, since)| Row {
            user_id: user,
            created_at: since.as_deref(),
            total: page.total,
            source: output::source_name(page.source),
            as_of: &page.as_of,
            revision: output::revision(&page.as_of),
        })),
        Format::Text if page.rows.is_empty() => Ok(()),
        Format::Text => {
            let dated = page.rows.iter().any(|(_, since)| since.is_some());
            let header: &[&str] = if dated { &["USER", "SINCE"] } else { &["USER"] };
            let mut table = if first { output::table(header) } else { output::headless_table() };
            for (user, since) in &page.rows {
                table.add_row(std::iter::once(user).chain(since));
            }
            {
                output::line(output::table_text(table));
                Ok(())
            }
        }
    }
}

/// Prints suggestions.
pub async fn suggest(
    connection: &ConnectionArgs,
    format: Format,
    args: &SuggestArgs,
) -> anyhow::Result<Outcome> {
    let mut client = client::query(connection).await?;
    let request = client.request(SuggestAccountsRequest {
        viewer_id: args.viewer.user().to_string(),
        limit: args.limit,
        consistency: consistency(&args.fresh),
        explain: args.fresh.explain,
    });
    let started = Instant::now();
    let answer = client.rpc.suggest_accounts(request).await;
    let elapsed = started.elapsed();
    let answer = answer.map_err(|s| client.failed(s))?.into_inner();
    match format {
        Format::Json => output::json_rows(answer.suggestions.iter().map(|suggestion| Suggested {
            user_id: &suggestion.user_id,
            followed_by_count: suggestion.followed_by_count,
            followed_by: &suggestion.followed_by,
            source: output::source_name(answer.source()),
            as_of: &answer.as_of,
            revision: output::revision(&answer.as_of),
        }))?,
        Format::Text => {
            if !answer.suggestions.is_empty() {
                let mut table = output::table(&["USER", "FOLLOWED BY", "AMONG THEM"]);
                for suggestion in &answer.suggestions {
                    table.add_row([
                        suggestion.user_id.clone(),
                        suggestion.followed_by_count.to_string(),
                        suggestion.followed_by.join(" "),
                    ]);
                }
                output::line(output::table_text(table));
            }
            let number = answer.suggestions.len();
            let noun = if number == 1 { "suggestion" } else { "suggestions" };
            let origin = Origin::of(answer.source(), &answer.as_of, elapsed);
            output::line(format!("{number} {noun}\n{}", origin.text()));
            explanation::print(answer.explanation.as_slice());
            return Ok(Outcome::Done);
        }
    }
    let explanations = answer.explanation.into_iter().collect();
    Ending { explanations, ..Ending::default() }.print(format)?;
    Ok(Outcome::Done)
}
