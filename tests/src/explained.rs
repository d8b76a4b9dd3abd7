//! Reads that return the store that answered.

use std::time::Duration;

use proto::query::v1::{CheckRequest, CheckResponse, Explanation};
use tonic::{Request, Status};

use crate::clients::{Queries, fresh};
use crate::{new_user, until};

/// The deadline of each read: enough for two slow stores.
const PATIENCE: Duration = Duration::from_secs(20);

/// A request with a deadline that a slow machine meets.
pub fn in_time<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(PATIENCE);
    request
}

/// Checks, at least as fresh as a token if there is one.
pub async fn check(
    queries: &mut Queries,
    viewer: &str,
    target: &str,
    token: Option<&str>,
) -> Result<CheckResponse, Status> {
    let request = CheckRequest {
        viewer_id: viewer.into(),
        target_id: target.into(),
        consistency: token.and_then(fresh),
        explain: true,
    };
    queries.check(in_time(request)).await.map(tonic::Response::into_inner)
}

/// The replica of the read model that answered: the last one that was tried. `None` if PostgreSQL answered.
///
/// # Panics
/// If the answer has no explanation.
pub fn answered_by(explanation: Option<Explanation>) -> Option<String> {
    let steps = explanation.expect("an explanation").steps;
    let last = steps.last().expect("at least one step");
    assert_eq!(last.outcome, "ok", "{steps:?}");
    (last.store == "neo4j").then(|| last.replica.clone())
}

/// Pause between two reads that wait for a replica: its Neo4j starts on the same machine.
const REST: Duration = Duration::from_millis(100);

/// Waits until a replica has answered, which an empty or incomplete one never does.
pub async fn wait_answering(queries: &Queries, replica: &str) {
    until("a replica to answer", || async {
        tokio::time::sleep(REST).await;
        let answer = check(&mut queries.clone(), &new_user(), &new_user(), None).await;
        let by = answered_by(answer.map_err(|status| status.to_string())?.explanation);
        if by.as_deref() == Some(replica) { Ok(()) } else { Err(format!("{by:?} answered")) }
    })
    .await;
}
