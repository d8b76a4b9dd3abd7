//! `status`: asks both services, and shows what it can when one does not answer.

mod report;
mod text;

use proto::{command::v1 as command, query::v1 as query};

use self::report::{Answer, Report};
use crate::args::{ConnectionArgs, Format};
use crate::client;
use crate::commands::Outcome;
use crate::error;
use crate::output;

/// Shows the state of the pipeline.
pub async fn run(connection: &ConnectionArgs, format: Format) -> anyhow::Result<Outcome> {
    let (command, query) = tokio::join!(ask_command(connection), ask_query(connection));
    let report =
        Report::new(answer(&connection.command_addr, &command), answer(&connection.query_addr, &query));
    match format {
        Format::Json => output::json(&report)?,
        Format::Text => output::line(report.text()),
    }
    let failures = [command.err(), query.err()];
    for failure in failures.iter().flatten() {
        error::report(failure, format);
    }
    if failures.iter().any(Option::is_some) {
        return Ok(Outcome::Failed);
    }
    Ok(Outcome::from(report.healthy()))
}

fn answer<T: Clone>(addr: &str, result: &anyhow::Result<T>) -> Answer<T> {
    Answer {
        addr: client::host_of(crate::text::trimmed(addr)).to_owned(),
        status: result.as_ref().cloned().map_err(error::one_line),
    }
}

async fn ask_command(connection: &ConnectionArgs) -> anyhow::Result<command::GetStatusResponse> {
    let mut client = client::command(connection).await?;
    let request = client.request(command::GetStatusRequest {});
    let answer = client.rpc.get_status(request).await;
    Ok(answer.map_err(|s| client.failed(s))?.into_inner())
}

async fn ask_query(connection: &ConnectionArgs) -> anyhow::Result<query::GetStatusResponse> {
    let mut client = client::query(connection).await?;
    let request = client.request(query::GetStatusRequest {});
    let answer = client.rpc.get_status(request).await;
    Ok(answer.map_err(|s| client.failed(s))?.into_inner())
}
