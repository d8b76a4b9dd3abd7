//! `followers`, `following`, `mutes`, `blocks`, `mutuals`, `requests`: pages of a list, printed as they come.

use std::time::Instant;

use anyhow::bail;
use proto::query::v1::{
    Explanation, ListBlocksRequest, ListFollowRequestsRequest, ListFollowersRequest, ListFollowingRequest,
    ListMutesRequest, ListMutualsRequest, ListedEdge, RequestDirection, Source,
};
use serde::Serialize;

use super::ending::Ending;
use super::relationship::{Pair, words};
use crate::args::{ConnectionArgs, Format, ListArgs, PublicListArgs};
use crate::client::{self, QueryClient};
use crate::commands::{Outcome, consistency};
use crate::dates;
use crate::output;

/// The largest page that the service gives.
const LARGEST_PAGE: i32 = 1_000;

/// Which list of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Who follows it.
    Followers,
    /// Whom it follows.
    Following,
    /// Whom it has muted.
    Mutes,
    /// Whom it has blocked.
    Blocks,
    /// Whom it follows and who follows it.
    Mutuals,
    /// Requests to follow.
    Requests(RequestDirection),
}

/// What is asked for.
#[derive(Clone, Debug)]
struct Wanted<'a> {
    kind: Kind,
    list: &'a ListArgs,
    viewer_id: String,
    with_relationships: bool,
}

/// A page of any list.
struct Page {
    edges: Vec<ListedEdge>,
    next_page_token: String,
    as_of: String,
    source: Source,
    explanation: Option<Explanation>,
}

/// One row for programs.
#[derive(Debug, Serialize)]
struct Row<'a> {
    user_id: &'a str,
    created_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    relationship: Option<Pair<'a>>,
    source: &'a str,
    as_of: &'a str,
    revision: Option<u64>,
}

/// Prints a list that others look at.
pub async fn public(
    connection: &ConnectionArgs,
    format: Format,
    args: &PublicListArgs,
    kind: Kind,
) -> anyhow::Result<Outcome> {
    let viewer_id = args.viewer.map(|viewer| viewer.user().to_string()).unwrap_or_default();
    let wanted = Wanted { kind, list: &args.list, viewer_id, with_relationships: args.relationships };
    run(connection, format, &wanted).await
}

/// Prints a list that is the account's own business.
pub async fn own(
    connection: &ConnectionArgs,
    format: Format,
    list: &ListArgs,
    kind: Kind,
) -> anyhow::Result<Outcome> {
    let wanted = Wanted { kind, list, viewer_id: String::new(), with_relationships: false };
    run(connection, format, &wanted).await
}

async fn run(connection: &ConnectionArgs, format: Format, wanted: &Wanted<'_>) -> anyhow::Result<Outcome> {
    let mut client = client::query(connection).await?;
    let args = wanted.list;
    let limit = if args.all { u64::MAX } else { args.limit };
    let mut ending = Ending { next_page_token: args.page_token.clone(), ..Ending::default() };
    while ending.printed < limit && output::is_open() {
        let page_size = page_size(args.page_size, limit - ending.printed);
        let started = Instant::now();
        let page = fetch(&mut client, wanted, page_size, ending.next_page_token.clone()).await?;
        ending.origin.add(page.source, &page.as_of, started.elapsed());
        if !page.next_page_token.is_empty() && page.next_page_token == ending.next_page_token {
            bail!("the service gave the same page token twice");
        }
        print(format, wanted, &page, ending.printed == 0)?;
        ending.printed += page.edges.len() as u64;
        ending.next_page_token = page.next_page_token;
        ending.explanations.extend(page.explanation);
        if ending.next_page_token.is_empty() {
            break;
        }
    }
    ending.print(format)?;
    Ok(Outcome::Done)
}

/// As asked for, but never more rows than are wanted.
fn page_size(asked: Option<i32>, wanted: u64) -> i32 {
    let wanted = i32::try_from(wanted).unwrap_or(LARGEST_PAGE);
    asked.unwrap_or(LARGEST_PAGE).min(wanted)
}

async fn fetch(
    client: &mut QueryClient,
    wanted: &Wanted<'_>,
    page_size: i32,
    page_token: String,
) -> anyhow::Result<Page> {
    let user_id = wanted.list.user.user().to_string();
    let consistency = consistency(&wanted.list.fresh);
    let explain = wanted.list.fresh.explain;
    // Requests and answers differ in the names of their types, and in what only some of them have.
    macro_rules! page {
        ($method:ident, $request:ident { $($field:ident: $value:expr),* }) => {{
            let request = client.request($request {
                user_id,
                page_size,
                page_token,
                consistency,
                explain,
                $($field: $value),*
            });
            let answer = client.rpc.$method(request).await.map_err(|s| client.failed(s))?.into_inner();
            Page {
                source: answer.source(),
                edges: answer.edges,
                next_page_token: answer.next_page_token,
                as_of: answer.as_of,
                explanation: answer.explanation,
            }
        }};
    }
    let viewer_id = wanted.viewer_id.clone();
    let with_relationships = wanted.with_relationships;
    Ok(match wanted.kind {
        Kind::Followers => page!(
            list_followers,
            ListFollowersRequest { viewer_id: viewer_id, with_relationships: with_relationships }
        ),
        Kind::Following => page!(
            list_following,
            ListFollowingRequest { viewer_id: viewer_id, with_relationships: with_relationships }
        ),
        Kind::Mutes => page!(list_mutes, ListMutesRequest {}),
        Kind::Blocks => page!(list_blocks, ListBlocksRequest {}),
        Kind::Mutuals => page!(list_mutuals, ListMutualsRequest {}),
        Kind::Requests(direction) => {
            page!(list_follow_requests, ListFollowRequestsRequest { direction: direction.into() })
        }
    })
}

fn print(format: Format, wanted: &Wanted<'_>, page: &Page, first: bool) -> anyhow::Result<()> {
    let date = |at: &Option<prost_types::Timestamp>| at.as_ref().and_then(dates::format_proto);
    match format {
        Format::Json => output::json_rows(page.edges.iter().map(|edge| Row {
            user_id: &edge.user_id,
            created_at: date(&edge.created_at),
            expires_at: date(&edge.expires_at),
            relationship: edge.relationship.as_ref().map(Pair::from),
            source: output::source_name(page.source),
            as_of: &page.as_of,
            revision: output::revision(&page.as_of),
        })),
        Format::Text if page.edges.is_empty() => Ok(()),
        Format::Text => {
            let expires = matches!(wanted.kind, Kind::Mutes | Kind::Blocks);
            let mut header = vec!["USER", "SINCE"];
            header.extend(expires.then_some("UNTIL"));
            header.extend(wanted.with_relationships.then_some("RELATIONSHIP"));
            let mut table = if first { output::table(&header) } else { output::headless_table() };
            for edge in &page.edges {
                let mut row = vec![edge.user_id.clone(), date(&edge.created_at).unwrap_or_default()];
                row.extend(expires.then(|| date(&edge.expires_at).unwrap_or_else(|| "-".to_owned())));
                row.extend(edge.relationship.as_ref().map(words));
                table.add_row(row);
            }
            {
                output::line(output::table_text(table));
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_as_large_as_useful() {
        assert_eq!(page_size(None, 50), 50);
        assert_eq!(page_size(None, 5_000), 1_000);
        assert_eq!(page_size(None, u64::MAX), 1_000);
        assert_eq!(page_size(Some(7), 5_000), 7);
        assert_eq!(page_size(Some(7), 3), 3);
    }
}
