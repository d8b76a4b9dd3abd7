//! The state of the stream in GetStatus.

use proto::command::v1::GetStatusRequest;
use proto::graph::v1::{StreamState, StreamStatus};

use crate::Commands;
use crate::wait::until;

/// Waits until a command-service reports this state of its stream, and a problem with this text.
///
/// # Panics
/// If it does not.
pub async fn until_stream_is(commands: &Commands, state: StreamState, words: &str) -> StreamStatus {
    until(&format!("a stream that is {state:?}: {words}"), || {
        let mut commands = commands.clone();
        async move {
            let status = commands.get_status(GetStatusRequest {}).await.map_err(|s| s.to_string())?;
            let stream = status.into_inner().stream.ok_or("no stream")?;
            let found = stream.state() == state && stream.problem.contains(words);
            if found { Ok(stream) } else { Err(format!("{stream:?}")) }
        }
    })
    .await
}
