//! Wrong settings of stores that only the stores can detect.

use devstack::env_file::Env;
use devstack::http;
use devstack::services::{Program, cli};
use proto::query::v1::Source;
use serde_json::Value;
use tests::clients::{check, follow, fresh};
use tests::own::{binaries, query_service_beside, start_beside};
use tests::{Endpoints, new_user, until};
use tokio::task::block_in_place;

fn neo4j(shared: &Endpoints, database: &str) -> Env {
    Env::default()
        .with("NEO4J_URI", &shared.neo4j_uri)
        .with("NEO4J_USER", &shared.neo4j_user)
        .with("NEO4J_PASSWORD", &shared.neo4j_password)
        .with("NEO4J_DATABASE", database)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_named_database_of_neo4j_is_read() {
    let shared = Endpoints::shared();
    let service = query_service_beside(&shared, neo4j(&shared, "neo4j"));
    let (viewer, target) = (new_user(), new_user());
    let written = follow(&mut shared.commands(), &viewer, &target).await.expect("a follow").written_at;
    let mut queries = shared.reading_through(&service).queries();
    let answer = check(&mut queries, &viewer, &target, fresh(&written)).await.expect("an answer");
    assert!(answer.following && answer.source() == Source::Neo4j, "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_neo4j_does_not_have_is_named() {
    let shared = Endpoints::shared();
    let settings = neo4j(&shared, "nowhere");
    let service = start_beside(&shared, Program::Query, &settings);
    until("query-service to name the setting", || async {
        let answer =
            block_in_place(|| http::get(service.admin_addr(), "/readyz")).map_err(|e| e.to_string())?;
        let said = answer.status == 503 && answer.body.contains("NEO4J_DATABASE");
        if said { Ok(()) } else { Err(answer.body) }
    })
    .await;
    let env = settings.with("DATABASE_URL", &shared.database_url);
    let output = block_in_place(|| cli(&binaries(), &env).arg("migrate").output()).expect("the CLI runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(2) && said.contains("nowhere"), "{said}");
}

/// The reasons of the failed checks with this name and subject.
fn reason(body: &str, name: &str, subject: &str) -> String {
    let report: Value = serde_json::from_str(body).expect("JSON");
    let checks = report["checks"].as_array().expect("checks");
    let found = checks.iter().find(|check| check["name"] == name && check["subject"] == subject);
    found.and_then(|check| check["reason"].as_str()).unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_postgres_refuses_is_named() {
    let shared = Endpoints::shared();
    let url = shared.logins.database(Program::Query.principal());
    let place = url.rsplit_once('@').expect("a login in the address").1;
    let settings = neo4j(&shared, "neo4j").with("DATABASE_URL", format!("postgres://nobody:wrong@{place}"));
    let service = start_beside(&shared, Program::Query, &settings);
    until("query-service to name the setting", || async {
        let answer =
            block_in_place(|| http::get(service.admin_addr(), "/readyz")).map_err(|e| e.to_string())?;
        let named = [("settings", ""), ("store", "postgres")]
            .into_iter()
            .all(|(name, subject)| reason(&answer.body, name, subject).contains("check DATABASE_URL"));
        if answer.status == 503 && named { Ok(()) } else { Err(answer.body) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_reports_every_wrong_address_at_once() {
    let env = Env::default()
        .with("DATABASE_URL", "postgres://u:hunter2@one,two/db")
        .with("NEO4J_URI", "bolt://::1:7687");
    let output = block_in_place(|| cli(&binaries(), &env).arg("migrate").output()).expect("the CLI runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.contains("DATABASE_URL") && said.contains("NEO4J_URI") && !said.contains("hunter"),
        "{said}"
    );
}
