//! An import like that of a careful client: chunks in order, and after an interruption the unanswered ones again.

use futures::stream;
use proto::command::v1::{ImportEdge, ImportEdgesRequest, ImportEdgesResponse};
use tonic::{Code, Status};

use crate::clients::Commands;

/// One chunk, sent once.
pub async fn chunk(
    commands: &mut Commands,
    request: ImportEdgesRequest,
) -> Result<ImportEdgesResponse, Status> {
    let mut answers = commands.import_edges(stream::iter([request])).await?.into_inner();
    answers.message().await?.ok_or_else(|| Status::unavailable("the stream ended without an answer"))
}

/// Sends all edges in chunks, each repeatedly until it is answered; returns the numbers of accepted and of existing
/// edges.
///
/// # Panics
/// On a non-retryable error, and at the timeout.
pub async fn all(commands: &mut Commands, edges: &[(String, String)], per_chunk: usize) -> (u32, u32) {
    let (mut accepted, mut unchanged) = (0, 0);
    for (edges, chunk_number) in edges.chunks(per_chunk).zip(0..) {
        let request = ImportEdgesRequest {
            chunk: chunk_number,
            edges: edges
                .iter()
                .map(|(source, target)| ImportEdge {
                    source_id: source.clone(),
                    target_id: target.clone(),
                    ..ImportEdge::default()
                })
                .collect(),
            ..Default::default()
        };
        let answer = retried(|| {
            let (mut commands, request) = (commands.clone(), request.clone());
            async move { chunk(&mut commands, request).await }
        })
        .await;
        assert_eq!(answer.refused, [], "no edge is rejected");
        accepted += answer.accepted;
        unchanged += answer.unchanged;
    }
    (accepted, unchanged)
}

/// Calls until it succeeds; repeats the call on retryable errors only.
///
/// # Panics
/// On any other error, and at the timeout.
pub async fn retried<T, F>(mut call: impl FnMut() -> F) -> T
where
    F: Future<Output = Result<T, Status>>,
{
    crate::until("a call to get through", || {
        let outcome = call();
        async move {
            match outcome.await {
                Ok(answer) => Ok(answer),
                Err(status) if invites_repeat(&status) => Err(status.to_string()),
                Err(status) => panic!("a call failed with a non-retryable error: {status}"),
            }
        }
    })
    .await
}

/// A killed server shows as UNAVAILABLE, or as an unknown or cancelled transport error on a call in flight.
pub fn invites_repeat(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Unavailable
            | Code::Unknown
            | Code::Cancelled
            | Code::DeadlineExceeded
            | Code::ResourceExhausted
    )
}
