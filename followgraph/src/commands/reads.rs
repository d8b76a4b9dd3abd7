//! What the commands that read share: the required freshness, and calls whose answers say where they came from.

use std::mem::take;
use std::time::Instant;

use proto::query::v1::{self as wire, Consistency, Explanation, Source, consistency::Requirement};
use serde::Serialize;
use tonic::{Request, Response, Status};

use super::explanation::Explained;
use super::origin::{Origin, Provenance};
use crate::client::QueryClient;
pub use crate::client::QueryRpc;
use crate::global::GlobalArgs;
use crate::{output, text};

/// Number of ids that one call may contain.
pub const BATCH: usize = 1_000;

/// Required freshness of an answer, and whether to explain it.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct FreshArgs {
    /// Read at least as fresh as this revision token (printed by a write; `as_of` in JSON)
    #[arg(long, value_name = "TOKEN", conflicts_with = "consistent", value_parser = text::argument)]
    pub fresh: Option<String>,
    /// Read from PostgreSQL, the source of truth
    #[arg(long)]
    pub consistent: bool,
    /// Show each store that was asked, its question and time, and the reason of a fallback to PostgreSQL
    #[arg(long)]
    pub explain: bool,
}

impl FreshArgs {
    /// The requirement for a request; `None` leaves it to the service.
    pub fn consistency(&self) -> Option<Consistency> {
        let requirement = match (&self.fresh, self.consistent) {
            (Some(token), _) => Requirement::AtLeastAsFresh(token.clone()),
            (None, true) => Requirement::FullyConsistent(true),
            (None, false) => return None,
        };
        Some(Consistency { requirement: Some(requirement) })
    }
}

/// A response of query-service that says where it came from.
pub trait Sourced {
    /// Takes source, token and explanation out of the response.
    fn take_origin(&mut self) -> (Source, String, Option<Explanation>);
}

macro_rules! sourced {
    ($($response:ident),*) => {
        $(impl Sourced for wire::$response {
            fn take_origin(&mut self) -> (Source, String, Option<Explanation>) {
                (self.source(), take(&mut self.as_of), self.explanation.take())
            }
        })*
    };
}

sourced! {
    BatchCheckResponse, CheckResponse, GetCountsResponse, GetRelationshipsResponse, ListBlocksResponse,
    ListFollowRequestsResponse, ListFollowersResponse, ListFollowersYouKnowResponse, ListFollowingResponse,
    ListMutesResponse, ListMutualsResponse, ListSetOperationResponse, SuggestAccountsResponse
}

/// Where the answer of one call came from and how long it took; the last fields of a JSON row.
#[derive(Clone, Debug, Serialize)]
pub struct Measured {
    #[serde(flatten)]
    pub from: Provenance,
    elapsed_ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    explanation: Option<Explained>,
}

/// The calls of one command, and where their answers came from.
pub struct Reads {
    client: QueryClient,
    pub origin: Origin,
}

impl Reads {
    pub async fn open(global: &GlobalArgs) -> anyhow::Result<Self> {
        Ok(Self { client: global.connection.query_client().await?, origin: Origin::default() })
    }

    pub async fn call<M, R: Sourced>(
        &mut self,
        message: M,
        method: impl AsyncFnOnce(&mut QueryRpc, Request<M>) -> Result<Response<R>, Status>,
    ) -> anyhow::Result<(R, Measured)> {
        let started = Instant::now();
        let mut answer = self.client.call(message, method).await?;
        let elapsed = started.elapsed();
        let (source, as_of, explanation) = answer.take_origin();
        let from = Provenance::new(source, &as_of);
        let explanation = explanation.as_ref().map(Explained::new);
        self.origin.add(&from, elapsed, explanation.clone());
        Ok((answer, Measured { from, elapsed_ms: output::elapsed_ms(elapsed), explanation }))
    }
}
