//! `legacy check`: asks every server and service whether it answers. A mistake in the settings ends it before.

use std::time::Duration;

use comfy_table::{Cell, Color};
use proto::command::v1::{GetStatusRequest, GetStatusResponse};
use proto::graph::v1::StreamState;
use proto::query::v1 as query;
use serde::Serialize;

use super::stores;
use crate::args::{ConnectionArgs, Format, ReplicaArgs};
use crate::client::{self, Service};
use crate::commands::Outcome;
use crate::error;
use crate::mistakes::Mistakes;
use crate::output;
use crate::stores::{Neo4j, connect_postgres};

/// One that was asked.
#[derive(Debug, Serialize)]
struct Answer {
    server: String,
    answers: bool,
    detail: String,
}

/// Asks all of them.
pub async fn run(connection: &ConnectionArgs, format: Format, args: &ReplicaArgs) -> anyhow::Result<Outcome> {
    let mut mistakes = Mistakes::default();
    let servers = stores::check(args, &mut mistakes);
    client::check(connection, &[Service::Command, Service::Query], &mut mistakes);
    mistakes.finish()?;
    let (postgres, neo4j, command, query) = tokio::join!(
        postgres(&args.stores.database_url, connection.timeout),
        neo4j(&servers, connection.timeout),
        command_service(connection),
        query_service(connection),
    );
    let nats = command.as_ref().map(nats).unwrap_or_else(|_| unknown());
    let projector = command.as_ref().map(projectors).unwrap_or_else(|_| unknown());
    let mut answers = vec![answer("PostgreSQL", postgres)];
    answers.extend(neo4j);
    answers.extend([
        answer("command-service", command.map(|status| format!("version {}", status.version))),
        answer("NATS", nats),
        answer("projector", projector),
        answer("query-service", query),
    ]);
    match format {
        Format::Json => output::json_rows(&answers)?,
        Format::Text => output::line(text(&answers)),
    }
    Ok(Outcome::from(answers.iter().all(|answer| answer.answers)))
}

fn answer(server: &str, result: anyhow::Result<String>) -> Answer {
    let answers = result.is_ok();
    let server = server.to_owned();
    Answer { server, answers, detail: result.unwrap_or_else(|failed| error::one_line(&failed)) }
}

fn text(answers: &[Answer]) -> String {
    let mut table = output::table(&["SERVER", "ANSWERS", "DETAIL"]);
    for answer in answers {
        let verdict = if answer.answers { Cell::new("yes") } else { Cell::new("no").fg(Color::Red) };
        table.add_row([Cell::new(&answer.server), verdict, Cell::new(&answer.detail)]);
    }
    output::table_text(table)
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
        answers.push(answer(&server.name, connected.map(|_| String::new())));
    }
    answers
}

async fn command_service(connection: &ConnectionArgs) -> anyhow::Result<GetStatusResponse> {
    let mut client = client::command(connection).await?;
    let request = client.request(GetStatusRequest {});
    let answer = client.rpc.get_status(request).await;
    Ok(answer.map_err(|s| client.failed(s))?.into_inner())
}

async fn query_service(connection: &ConnectionArgs) -> anyhow::Result<String> {
    let mut client = client::query(connection).await?;
    let request = client.request(query::GetStatusRequest {});
    let answer = client.rpc.get_status(request).await;
    let status = answer.map_err(|s| client.failed(s))?.into_inner();
    Ok(format!("version {}", status.version))
}

/// NATS as the relay sees it.
fn nats(status: &GetStatusResponse) -> anyhow::Result<String> {
    let stream = status.stream.clone().unwrap_or_default();
    match stream.state() {
        StreamState::Ok => Ok(format!("stream {}, revision {}", stream.name, stream.last_revision)),
        _ => Err(anyhow::anyhow!("stream {}: {}", stream.name, stream.problem)),
    }
}

/// The projectors, as they were heard of.
fn projectors(status: &GetStatusResponse) -> anyhow::Result<String> {
    let names: Vec<_> = status.replicas.iter().map(|replica| replica.name.as_str()).collect();
    anyhow::ensure!(!names.is_empty(), "none was heard of in the last minute");
    Ok(names.join(", "))
}

fn unknown() -> anyhow::Result<String> {
    Err(anyhow::anyhow!("not known: command-service does not answer"))
}

#[cfg(test)]
mod tests {
    use proto::graph::v1::{ReplicaStatus, StreamStatus};

    use super::*;

    #[test]
    fn what_does_not_answer_is_shown_with_its_reason() {
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
        let rows = [answer("NATS", nats(&status)), answer("projector", projectors(&status))];
        assert_eq!(
            text(&rows),
            "SERVER     ANSWERS  DETAIL\n\
             NATS       yes      stream FOLLOWGRAPH, revision 7\n\
             projector  yes      projector-0"
        );
        status.replicas.clear();
        let row = answer("projector", projectors(&status));
        assert_eq!((row.answers, row.detail.as_str()), (false, "none was heard of in the last minute"));
    }
}
