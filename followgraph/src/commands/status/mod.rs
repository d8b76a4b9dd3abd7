//! `status`: the state of the pipeline. If one service does not answer, it shows what the other one knows.

mod report;
mod text;

use self::report::{Answer, Report};
use crate::client::host_of;
use crate::global::{GlobalArgs, Outcome};
use crate::text::trimmed;

pub async fn run(global: &GlobalArgs) -> anyhow::Result<Outcome> {
    let connection = &global.connection;
    let command = async { anyhow::Ok(connection.command_client().await?.status().await?) };
    let query = async { anyhow::Ok(connection.query_client().await?.status().await?) };
    let (command, query) = tokio::join!(command, query);
    let report =
        Report::new(answer(&connection.command_addr, &command), answer(&connection.query_addr, &query));
    global.output.show(&report, || report.text())?;
    let failures = [command.err(), query.err()];
    for failure in failures.iter().flatten() {
        crate::report::failure(failure, global.output);
    }
    if failures.iter().any(Option::is_some) {
        return Ok(Outcome::Failed);
    }
    Ok(Outcome::from(report.healthy))
}

fn answer<T: Clone>(addr: &str, result: &anyhow::Result<T>) -> Answer<T> {
    Answer {
        addr: host_of(trimmed(addr)).to_owned(),
        status: result.as_ref().cloned().map_err(crate::report::one_line),
    }
}
