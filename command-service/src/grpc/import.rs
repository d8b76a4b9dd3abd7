//! ImportEdges: chunks in, an answer for each, in order.

use std::collections::BTreeSet;

use futures::{Stream, StreamExt as _};
use proto::command::v1 as wire;
use proto::error::{Reason, ServiceError};
use tonic::{Status, Streaming};

use super::door::Origin;
use super::service::Service;
use super::{errors, parse};
use crate::committer::{Failure, Lane};
use crate::domain::{Body, Command, RefusedEdge};

/// How many chunks of one stream are under way at once.
const IN_FLIGHT: usize = 4;

/// The answers to a stream of chunks. Ends with the first error.
pub fn answers(
    service: Service,
    chunks: Streaming<wire::ImportEdgesRequest>,
    origin: Origin,
) -> impl Stream<Item = Result<wire::ImportEdgesResponse, Status>> + Send {
    let braked = service.clone();
    chunks
        // One after the other: were those under way held up each for itself, a later chunk could pass an earlier one,
        // and edges get their places in lists in another order.
        .then(move |chunk| {
            let service = braked.clone();
            async move {
                service.projectors.brake(service.import_max_lag).await;
                chunk
            }
        })
        .map(move |chunk| {
            let (service, origin) = (service.clone(), origin.clone());
            async move { Ok(answer(&service, chunk?, origin).await?) }
        })
        .buffered(IN_FLIGHT)
        // After an error the client cannot know which later chunks went in.
        .scan(false, |failed, answer: Result<_, Status>| {
            let over = std::mem::replace(failed, answer.is_err());
            std::future::ready((!over).then_some(answer))
        })
}

async fn answer(
    service: &Service,
    chunk: wire::ImportEdgesRequest,
    origin: Origin,
) -> Result<wire::ImportEdgesResponse, ServiceError> {
    let (mut edges, on_conflict, refused) = parse::chunk(&chunk, service.clock.latest())?;
    let mut response = wire::ImportEdgesResponse { chunk: chunk.chunk, refused, ..Default::default() };
    loop {
        let command = Command::Import { edges: edges.clone(), on_conflict };
        let answer = service.door.carry_out(command, None, origin.clone(), Lane::Bulk).await?;
        let Body::Import(report) = answer.body else { return Err(errors::failure(&Failure::Internal)) };
        response.accepted += report.accepted;
        response.unchanged += report.unchanged;
        response.written_at = answer.written_at.to_string();
        // What ends more than one event holds goes on in another one; each takes hundreds of them.
        let (left, refused): (Vec<_>, Vec<_>) =
            report.refused.into_iter().partition(|edge| edge.reason == Reason::TooManyItems);
        response.refused.extend(refused.into_iter().map(refusal));
        if left.is_empty() {
            response.refused.sort_by_key(|edge| edge.index);
            return Ok(response);
        }
        let left: BTreeSet<_> = left.into_iter().map(|edge| edge.index).collect();
        edges.retain(|edge| left.contains(&edge.index));
    }
}

fn refusal(edge: RefusedEdge) -> wire::RefusedEdge {
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
