//! `followers` and `following`: pages of a list, printed as they come.

use std::time::Instant;

use anyhow::bail;
use proto::query::v1::{ListFollowersRequest, ListFollowingRequest, ListedEdge, Source};
use serde::Serialize;

use crate::args::{ConnectionArgs, Format, ListArgs};
use crate::client::{self, QueryClient};
use crate::commands::{Outcome, consistency};
use crate::dates;
use crate::output::{self, Origin};

/// The largest page that the service gives.
const LARGEST_PAGE: i32 = 1_000;

/// Which list of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Who follows it.
    Followers,
    /// Whom it follows.
    Following,
}

/// A page of either list.
struct Page {
    edges: Vec<ListedEdge>,
    next_page_token: String,
    as_of: String,
    source: Source,
}

/// One row for programs.
#[derive(Debug, Serialize)]
struct Row<'a> {
    user_id: &'a str,
    created_at: Option<String>,
    source: &'a str,
    as_of: &'a str,
    revision: Option<u64>,
}

/// Prints a list.
pub async fn run(
    connection: &ConnectionArgs,
    format: Format,
    args: &ListArgs,
    side: Side,
) -> anyhow::Result<Outcome> {
    let mut client = client::query(connection).await?;
    let limit = if args.all { u64::MAX } else { args.limit };
    let mut origin = Origin::default();
    let mut printed = 0;
    let mut page_token = String::new();
    while printed < limit {
        let page_size = page_size(args.page_size, limit - printed);
        let started = Instant::now();
        let page = fetch(&mut client, args, side, page_size, page_token.clone()).await?;
        origin.add(page.source, &page.as_of, started.elapsed());
        if !page.next_page_token.is_empty() && page.next_page_token == page_token {
            bail!("the service gave the same page token twice");
        }
        print(format, &page, printed == 0)?;
        printed += page.edges.len() as u64;
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    if format == Format::Text {
        let rows = if printed == 1 { "row" } else { "rows" };
        let more =
            if page_token.is_empty() || printed == 0 { "" } else { ", and there are more (--limit, --all)" };
        output::line(format!("{printed} {rows}{more}\n{}", origin.text()))?;
    }
    Ok(Outcome::Done)
}

/// As asked for, but never more rows than are wanted.
fn page_size(asked: Option<i32>, wanted: u64) -> i32 {
    let wanted = i32::try_from(wanted).unwrap_or(LARGEST_PAGE);
    asked.unwrap_or(LARGEST_PAGE).min(wanted)
}

async fn fetch(
    client: &mut QueryClient,
    args: &ListArgs,
    side: Side,
    page_size: i32,
    page_token: String,
) -> anyhow::Result<Page> {
    let user_id = args.user.user().to_string();
    let consistency = consistency(&args.fresh);
    // The answers differ in the names of their types only.
    macro_rules! page {
        ($method:ident, $message:expr) => {{
            let request = client.request($message);
            let answer = client.rpc.$method(request).await.map_err(|s| client.failed(s))?.into_inner();
            Page {
                source: answer.source(),
                edges: answer.edges,
                next_page_token: answer.next_page_token,
                as_of: answer.as_of,
            }
        }};
    }
    Ok(match side {
        Side::Followers => {
            page!(
                list_followers,
                ListFollowersRequest { user_id, page_size, page_token, consistency, ..Default::default() }
            )
        }
        Side::Following => {
            page!(
                list_following,
                ListFollowingRequest { user_id, page_size, page_token, consistency, ..Default::default() }
            )
        }
    })
}

fn print(format: Format, page: &Page, first: bool) -> anyhow::Result<()> {
    match format {
        Format::Json => output::json_rows(page.edges.iter().map(|edge| Row {
            user_id: &edge.user_id,
            created_at: edge.created_at.as_ref().and_then(dates::format_proto),
            source: output::source_name(page.source),
            as_of: &page.as_of,
            revision: output::revision(&page.as_of),
        })),
        Format::Text if page.edges.is_empty() => Ok(()),
        Format::Text => {
            let mut table = if first { output::table(&["USER", "SINCE"]) } else { output::headless_table() };
            for edge in &page.edges {
                let since = edge.created_at.as_ref().and_then(dates::format_proto);
                table.add_row([edge.user_id.clone(), since.unwrap_or_default()]);
            }
            Ok(output::line(output::table_text(table))?)
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
