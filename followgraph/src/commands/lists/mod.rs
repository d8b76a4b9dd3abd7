//! The lists: pages of accounts, printed as they arrive.

mod sets;

use anyhow::bail;
use clap::Subcommand;
use proto::query::v1::{self as wire, ListedEdge, RequestDirection, SetOperation};

use self::sets::{Operation, SetArg};
use super::ending::Ending;
use super::origin::Provenance;
use super::pair_state::{Pair, words};
use super::reads::{FreshArgs, QueryRpc, Reads};
use crate::dates::format_proto;
use crate::global::{GlobalArgs, Outcome};
use crate::ids::{self, Id};
use crate::output::{self, Rows, json_row};
use crate::text;

/// Largest page of the service.
const LARGEST_PAGE: i32 = 1_000;

/// Which part of a list to print.
#[derive(Debug, clap::Args)]
pub struct PageArgs {
    /// Number of rows
    #[arg(long, value_name = "ROWS", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: u64,
    /// Print the whole list
    #[arg(long, conflicts_with = "limit")]
    pub all: bool,
    /// Rows per call, 1 to 1,000 [default: all that are needed, at most 1,000]
    #[arg(long, value_name = "ROWS", value_parser = clap::value_parser!(i32).range(1..=1000))]
    pub page_size: Option<i32>,
    /// Continue after an earlier answer of the same list, which printed this token
    #[arg(long, value_name = "TOKEN", default_value = "", hide_default_value = true,
          allow_hyphen_values = true, value_parser = text::argument)]
    pub page_token: String,
    /// Freshness, and whether to explain.
    #[command(flatten)]
    pub fresh: FreshArgs,
}

/// A list of one account.
#[derive(Debug, clap::Args)]
pub struct ListArgs {
    /// Account whose list it is
    pub user: Id,
    /// Which part of it.
    #[command(flatten)]
    pub page: PageArgs,
}

/// A list that other accounts may read.
#[derive(Debug, clap::Args)]
pub struct PublicListArgs {
    /// The list.
    #[command(flatten)]
    pub list: ListArgs,
    /// Account that reads: leave out accounts that it blocks, or that block it
    #[arg(long, value_name = "ACCOUNT")]
    pub viewer: Option<Id>,
    /// Show the relations between the viewer and each account
    #[arg(long, requires = "viewer")]
    pub relationships: bool,
}

impl PublicListArgs {
    /// User, viewer, and whether to add relationships, as requests have them.
    fn fields(&self) -> (String, String, bool) {
        (self.list.user.user().to_string(), ids::text_or_empty(self.viewer), self.relationships)
    }
}

/// Requests to follow.
#[derive(Debug, clap::Args)]
pub struct RequestsArgs {
    /// The list.
    #[command(flatten)]
    pub list: ListArgs,
    /// List the requests of USER to follow others instead
    #[arg(long)]
    pub outgoing: bool,
}

/// Known followers of an account.
#[derive(Debug, clap::Args)]
pub struct KnownArgs {
    /// Account that follows them
    pub viewer: Id,
    /// Account whose followers they are
    pub target: Id,
    /// Which part of the list.
    #[command(flatten)]
    pub page: PageArgs,
}

/// An operation on two sets.
#[derive(Debug, clap::Args)]
pub struct SetArgs {
    /// Operation
    #[arg(value_enum)]
    pub operation: Operation,
    /// The first set, such as 88.followers
    pub first: SetArg,
    /// The second set, such as 99.following
    pub second: SetArg,
    /// Which part of the list.
    #[command(flatten)]
    pub page: PageArgs,
}

/// A list of accounts.
#[derive(Debug, Subcommand)]
pub enum List {
    /// List the followers of USER, newest first
    Followers(PublicListArgs),
    /// List the accounts that USER follows, newest first
    Following(PublicListArgs),
    /// List the accounts that USER mutes, newest first
    Mutes(ListArgs),
    /// List the accounts that USER blocks, newest first
    Blocks(ListArgs),
    /// List the pending requests to follow USER, newest first
    Requests(RequestsArgs),
    /// List the accounts that USER follows and that follow USER
    Mutuals(ListArgs),
    /// List the followers of TARGET that VIEWER follows
    Known(KnownArgs),
    /// List the union, intersection or difference of two sets, such as 88.followers and 99.following
    Set(SetArgs),
}

impl List {
    fn page(&self) -> &PageArgs {
        match self {
            Self::Followers(args) | Self::Following(args) => &args.list.page,
            Self::Mutes(args) | Self::Blocks(args) | Self::Mutuals(args) => &args.page,
            Self::Requests(args) => &args.list.page,
            Self::Known(args) => &args.page,
            Self::Set(args) => &args.page,
        }
    }
}

struct Page {
    edges: Vec<ListedEdge>,
    total: Option<u64>,
    next_page_token: String,
    from: Provenance,
}

json_row! {
    struct Row<'a> from edge: &'a ListedEdge, page: &'a Page, dated: bool {
        user_id: &'a str = &edge.user_id,
        /// Absent in sets, which have no dates; null if the server sends none.
        #[serde(skip_serializing_if = "Option::is_none")]
        created_at: Option<Option<String>> = dated.then(|| format_proto(edge.created_at)),
        #[serde(skip_serializing_if = "Option::is_none")]
        expires_at: Option<String> = format_proto(edge.expires_at),
        #[serde(skip_serializing_if = "Option::is_none")]
        relationship: Option<Pair> = edge.relationship.as_ref().map(Pair::new),
        #[serde(skip_serializing_if = "Option::is_none")]
        total: Option<u64> = page.total,
        #[serde(flatten)]
        from: &'a Provenance = &page.from,
    }
}

/// Prints pages until there are enough rows. A page may be empty; only an empty token ends the list.
pub async fn run(global: &GlobalArgs, list: &List) -> anyhow::Result<Outcome> {
    let args = list.page();
    let mut reads = Reads::open(global).await?;
    let (header, dated) = (header(list), !matches!(list, List::Set(_)));
    let mut rows = Rows::new(global.output, &header);
    let limit = if args.all { u64::MAX } else { args.limit };
    let mut ending = Ending { next_page_token: args.page_token.clone(), ..Ending::default() };
    while ending.printed < limit && output::is_open() {
        let page_size = page_size(args.page_size, limit - ending.printed);
        let page = fetch(&mut reads, &args.fresh, list, page_size, ending.next_page_token.clone()).await?;
        if !page.next_page_token.is_empty() && page.next_page_token == ending.next_page_token {
            bail!("the service returned the same page token twice");
        }
        rows.add(&page.edges, |edge| Row::new(edge, &page, dated), |edge| cells(edge, &header))?;
        rows.flush();
        ending.printed += page.edges.len() as u64;
        ending.total = page.total;
        ending.next_page_token = page.next_page_token;
        if ending.next_page_token.is_empty() {
            break;
        }
    }
    ending.print(global.output, &reads.origin)?;
    Ok(Outcome::Done)
}

/// As requested, but not more rows than needed.
fn page_size(requested: Option<i32>, needed: u64) -> i32 {
    let needed = i32::try_from(needed).unwrap_or(LARGEST_PAGE);
    requested.unwrap_or(LARGEST_PAGE).min(needed)
}

async fn fetch(
    reads: &mut Reads,
    fresh: &FreshArgs,
    list: &List,
    page_size: i32,
    page_token: String,
) -> anyhow::Result<Page> {
    let (consistency, explain) = (fresh.consistency(), fresh.explain);
    // Requests and answers differ in the names of their types, and in the fields that only some of them have.
    macro_rules! page {
        ($method:ident, $request:ident { $($fields:tt)* }) => {
            page!($method, $request { $($fields)* }, answer => answer.edges, None)
        };
        ($method:ident, $request:ident { $($fields:tt)* }, $answer:ident => $edges:expr, $total:expr) => {{
            let request = wire::$request { page_size, page_token, consistency, explain, $($fields)* };
            let ($answer, measured) = reads.call(request, QueryRpc::$method).await?;
            let total = $total;
            let next_page_token = $answer.next_page_token;
            Page { edges: $edges, total, next_page_token, from: measured.from }
        }};
    }
    let id = |id: Id| id.user().to_string();
    // A member of a set has no date.
    let undated = |user_id| ListedEdge { user_id, ..ListedEdge::default() };
    Ok(match list {
        List::Followers(args) => {
            let (user_id, viewer_id, with_relationships) = args.fields();
            page!(list_followers, ListFollowersRequest { user_id, viewer_id, with_relationships })
        }
        List::Following(args) => {
            let (user_id, viewer_id, with_relationships) = args.fields();
            page!(list_following, ListFollowingRequest { user_id, viewer_id, with_relationships })
        }
        List::Mutes(args) => page!(list_mutes, ListMutesRequest { user_id: id(args.user) }),
        List::Blocks(args) => page!(list_blocks, ListBlocksRequest { user_id: id(args.user) }),
        List::Mutuals(args) => page!(list_mutuals, ListMutualsRequest { user_id: id(args.user) }),
        List::Requests(args) => {
            let direction =
                if args.outgoing { RequestDirection::Outgoing } else { RequestDirection::Incoming };
            let (user_id, direction) = (id(args.list.user), direction.into());
            page!(list_follow_requests, ListFollowRequestsRequest { user_id, direction })
        }
        List::Known(args) => {
            let (viewer_id, target_id) = (id(args.viewer), id(args.target));
            page!(list_followers_you_know, ListFollowersYouKnowRequest { viewer_id, target_id },
                  answer => answer.edges, Some(answer.total))
        }
        List::Set(args) => {
            let operation = SetOperation::from(args.operation).into();
            let (first, second) = (Some(args.first.into()), Some(args.second.into()));
            page!(list_set_operation, ListSetOperationRequest { operation, first, second },
                  answer => answer.user_ids.into_iter().map(undated).collect(), None)
        }
    })
}

fn header(list: &List) -> Vec<&'static str> {
    match list {
        List::Followers(args) | List::Following(args) if args.relationships => {
            vec!["USER", "SINCE", "RELATIONSHIP"]
        }
        List::Mutes(_) | List::Blocks(_) => vec!["USER", "SINCE", "UNTIL"],
        List::Set(_) => vec!["USER"],
        _ => vec!["USER", "SINCE"],
    }
}

fn cells(edge: &ListedEdge, header: &[&str]) -> Vec<String> {
    let cell = |name: &&str| match *name {
        "USER" => edge.user_id.clone(),
        "SINCE" => format_proto(edge.created_at).unwrap_or_default(),
        "UNTIL" => format_proto(edge.expires_at).unwrap_or_else(|| "-".to_owned()),
        _ => edge.relationship.as_ref().map(words).unwrap_or_default(),
    };
    header.iter().map(cell).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_as_large_as_needed() {
        assert_eq!(page_size(None, 50), 50);
        assert_eq!(page_size(None, 5_000), 1_000);
        assert_eq!(page_size(None, u64::MAX), 1_000);
        assert_eq!(page_size(Some(7), 5_000), 7);
        assert_eq!(page_size(Some(7), 3), 3);
    }
}
