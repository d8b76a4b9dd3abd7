//! `legacy check`: asks every server and service. Mistakes in the settings are reported before.

use std::time::Duration;

use comfy_table::Cell;
use proto::command::v1::GetStatusResponse;
use proto::graph::v1::StreamState;

use crate::client::Service;
use crate::error::Mistakes;
use crate::global::{GlobalArgs, Outcome};
use crate::output::{self, Format, json_row};
use crate::report;
use crate::stores::{Neo4j, ReplicaArgs, connect_postgres};

json_row! {
    struct Answer from server: &str, result: anyhow::Result<String> {
        server: String = server.to_owned(),
        answers: bool = result.is_ok(),
        detail: String = result.unwrap_or_else(|failed| report::one_line(&failed)),
    }
}

pub async fn run(global: &GlobalArgs, args: &ReplicaArgs) -> anyhow::Result<Outcome> {
    let connection = &global.connection;
    let mut mistakes = Mistakes::default();
    let servers = args.check(&mut mistakes);
    connection.check(&[Service::Command, Service::Query], &mut mistakes);
    mistakes.finish()?;
    let (postgres, neo4j, command, query) = tokio::join!(
        postgres(&args.stores.database_url, connection.timeout),
        neo4j(&servers, connection.timeout),
        async { anyhow::Ok(connection.command_client().await?.status().await?) },
        async { anyhow::Ok(connection.query_client().await?.status().await?) },
    );
    let nats = command.as_ref().map_or_else(|_| unknown(), nats);
    let projector = command.as_ref().map_or_else(|_| unknown(), projectors);
    let mut answers = vec![Answer::new("PostgreSQL", postgres)];
    answers.extend(neo4j);
    answers.extend([
        Answer::new("command-service", command.map(|status| format!("version {}", status.version))),
        Answer::new("NATS", nats),
        Answer::new("projector", projector),
        Answer::new("query-service", query.map(|status| format!("version {}", status.version))),
    ]);
    match global.output {
        Format::Json => output::json_rows(&answers)?,
        Format::Text => output::line(text(&answers)),
    }
    Ok(Outcome::from(answers.iter().all(|answer| answer.answers)))
}

fn text(answers: &[Answer]) -> String {
    let cells = |answer: &Answer| {
        let verdict = output::verdict(if answer.answers { "yes" } else { "no" }, answer.answers);
        [Cell::new(&answer.server), verdict, Cell::new(&answer.detail)]
    };
    output::table(&["SERVER", "ANSWERS", "DETAIL"], answers.iter().map(cells))
}

async fn postgres(url: &str, timeout: Duration) -> anyhow::Result<String> {
    let pool = connect_postgres(url, timeout).await?;
    migrations::check_postgres(&pool).await?;
    Ok(format!("schema version {}", migrations::needed_version()))
}

async fn neo4j(servers: &[Neo4j], timeout: Duration) -> Vec<Answer> {
    let mut answers = Vec::new();
    for server in servers {
        let connected = server.connect(timeout).await;
        answers.push(Answer::new(&server.name, connected.map(|_| String::new())));
    }
    answers
}

/// NATS as the relay sees it.
fn nats(status: &GetStatusResponse) -> anyhow::Result<String> {
    let stream = status.stream.clone().unwrap_or_default();
    match stream.state() {
        StreamState::Ok => Ok(format!("stream {}, revision {}", stream.name, stream.last_revision)),
        _ => Err(anyhow::anyhow!("stream {}: {}", stream.name, stream.problem)),
    }
}

/// Projectors whose heartbeats command-service has received.
fn projectors(status: &GetStatusResponse) -> anyhow::Result<String> {
    let names: Vec<_> = status.replicas.iter().map(|replica| replica.name.as_str()).collect();
    anyhow::ensure!(!names.is_empty(), "no heartbeat in the last minute");
    Ok(names.join(", "))
}

fn unknown() -> anyhow::Result<String> {
    Err(anyhow::anyhow!("unknown: command-service does not answer"))
}

#[cfg(test)]
mod tests {
    use proto::graph::v1::{ReplicaStatus, StreamStatus};

    use super::*;

    #[test]
    fn a_missing_server_has_a_reason() {
        let mut status = GetStatusResponse {
            stream: Some(StreamStatus {
                name: "FOLLOWGRAPH".to_owned(),
                state: StreamState::Ok.into(),
                last_revision: 7,
                ..StreamStatus::default()
            }),
            replicas: vec![ReplicaStatus { name: "projector-0".to_owned(), ..ReplicaStatus::default() }],
            ..GetStatusResponse::default()
        };
        let rows = [Answer::new("NATS", nats(&status)), Answer::new("projector", projectors(&status))];
        assert_eq!(
            text(&rows),
            "SERVER     ANSWERS  DETAIL\n\
             NATS       yes      stream FOLLOWGRAPH, revision 7\n\
             projector  yes      projector-0"
        );
        status.replicas.clear();
        let row = Answer::new("projector", projectors(&status));
        assert_eq!((row.answers, row.detail.as_str()), (false, "no heartbeat in the last minute"));
    }
}
