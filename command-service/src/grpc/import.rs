//! ImportEdges: a stream of chunks, with one response for each, in order.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::{Stream, StreamExt as _};
use proto::command::v1 as wire;
use proto::error::{Reason, ServiceError};
use tonic::{Status, Streaming};

use super::gateway::{CommandGateway, Origin};
use super::{errors, parse};
use crate::clock::DatabaseClock;
use crate::committer::{Failure, Lane};
use crate::domain::{Body, Command, RefusedEdge};
use crate::projectors::Projectors;

/// Chunks of one stream that are executed at the same time.
const IN_FLIGHT: usize = 4;

/// Imports chunks of edges. Clones share everything.
#[derive(Clone, Debug)]
pub struct Importer {
    /// Executes the chunks.
    pub gateway: CommandGateway,
    /// Throttles imports while read models lag.
    pub projectors: Projectors,
    /// Lag of a read model above which imports are throttled.
    pub max_lag: Duration,
    /// Decides which dates are in the future.
    pub clock: DatabaseClock,
}

impl Importer {
    /// Returns the responses to a stream of chunks. The stream ends with the first error: after it, the client cannot
    /// know which later chunks were imported.
    pub fn responses(
        self,
        chunks: Streaming<wire::ImportEdgesRequest>,
        origin: Origin,
    ) -> impl Stream<Item = Result<wire::ImportEdgesResponse, Status>> + Send {
        let throttle = self.clone();
        chunks
            // One after the other: concurrent waits could end in another order, which is the order of edges in lists.
            .then(move |chunk| {
                let Self { gateway, projectors, max_lag, .. } = throttle.clone();
                async move {
                    gateway.wait_checked().await?;
                    projectors.throttle(max_lag).await;
                    chunk
                }
            })
            .map(move |chunk| {
                let (importer, origin) = (self.clone(), origin.clone());
                async move { Ok(importer.import(chunk?, origin).await?) }
            })
            .buffered(IN_FLIGHT)
            .scan(false, |failed, response: Result<_, Status>| {
                let over = std::mem::replace(failed, response.is_err());
                std::future::ready((!over).then_some(response))
            })
    }

    async fn import(
        &self,
        chunk: wire::ImportEdgesRequest,
        origin: Origin,
    ) -> Result<wire::ImportEdgesResponse, ServiceError> {
        let (mut edges, on_conflict, refused) = parse::chunk(&chunk, self.clock.latest())?;
        let mut response = wire::ImportEdgesResponse { chunk: chunk.chunk, refused, ..Default::default() };
        loop {
            let command = Command::Import { edges: edges.clone(), on_conflict };
            let answer = self.gateway.execute(command, None, origin.clone(), Lane::Bulk).await?;
            let Body::Import(report) = answer.body else { return Err(errors::failure(&Failure::Internal)) };
            response.accepted += report.accepted;
            response.unchanged += report.unchanged;
            response.written_at = answer.written_at.to_string();
            // Edges that did not fit into the event are imported by another command; each command takes hundreds of
            // them.
            let (left, refused): (Vec<_>, Vec<_>) =
                report.refused.into_iter().partition(|edge| edge.reason == Reason::TooManyItems);
            response.refused.extend(refused.into_iter().map(refused_edge));
            if left.is_empty() {
                response.refused.sort_by_key(|edge| edge.index);
                return Ok(response);
            }
            let left: BTreeSet<_> = left.into_iter().map(|edge| edge.index).collect();
            edges.retain(|edge| left.contains(&edge.index));
        }
    }
}

fn refused_edge(edge: RefusedEdge) -> wire::RefusedEdge {
    let message = match edge.reason {
        Reason::Blocked => "one of the two accounts has blocked the other",
        Reason::AccountArchived => "one of the two accounts is archived",
        Reason::AccountErasing => "one of the two accounts is being erased",
        Reason::EdgeExists => "the edge exists",
        Reason::InvalidTimestamp => "expires_at must lie in the future, at most ten years ahead",
        _ => "refused",
    };
    wire::RefusedEdge { index: edge.index, reason: edge.reason.into(), message: message.to_owned() }
}
