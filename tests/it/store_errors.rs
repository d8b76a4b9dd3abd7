//! I9: errors of calls contain no text of a database.

use std::fmt::Debug;

use devstack::env_file::Env;
use devstack::http;
use devstack::services::Program;
use proto::command::v1::{ImportEdge, ImportEdgesRequest};
use proto::error::reason_of;
use proto::legacy::v2::IsFollowingRequest;
use proto::legacy::v2::graph_service_client::GraphServiceClient;
use proto::query::v1 as wire;
use sqlx::AssertSqlSafe;
use tests::clients::{List, channel, check, counts, page};
use tests::database::Database;
use tests::jobs::{self, OnAccount, replace_following};
use tests::own::{command_service_beside, query_service_beside, start_beside};
use tests::{Act, Ask, Commands, Endpoints, asks, importing, new_user, until, user, users};
use tokio::task::block_in_place;
use tonic::Status;

/// The stream of the shared NATS belongs to another database.
const NO_NATS: &str = "nats://127.0.0.1:1";
/// The error that [`REFUSE_ROWS`] raises: its message, detail and hint.
const OF_THE_TRIGGER: [&str; 3] = ["no such row today", "says the trigger", "ask the owner"];
const REFUSE_ROWS: &str = "
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        RAISE EXCEPTION 'no such row today' USING DETAIL = 'says the trigger', HINT = 'ask the owner';
    END $$;
    CREATE TRIGGER refuse BEFORE INSERT ON follows FOR EACH ROW EXECUTE FUNCTION refuse()";
/// Words in errors of PostgreSQL and Neo4j.
const OF_DATABASES: [&str; 8] =
    ["relation \"", "does not exist", "not found: ", "P0001", "42P01", "SQLSTATE", "Neo.", "://"];

/// Calls by name, each with its answer as text, or its error.
type Calls = Vec<(&'static str, Result<String, Status>)>;

fn shown<T: Debug>(outcome: Result<T, Status>) -> Result<String, Status> {
    outcome.map(|answer| format!("{answer:?}"))
}

async fn writes(commands: &Commands) -> Calls {
    let [a, b] = users();
    let asks = [Ask::new(Act::Follow, a, b), Ask::new(Act::Mute, a, b)];
    let edge =
        ImportEdge { source_id: a.to_string(), target_id: user().to_string(), ..ImportEdge::default() };
    let import = ImportEdgesRequest { edges: vec![edge], ..Default::default() };
    vec![
        ("Follow", shown(asks[0].send(commands).await)),
        ("BatchWrite, independent", shown(asks::batch(commands, &asks, false, None).await)),
        ("BatchWrite", shown(asks::batch(commands, &asks, true, None).await)),
        ("ImportEdges", shown(importing::chunk(&mut commands.clone(), import).await)),
        ("ReplaceFollowing", shown(replace_following(commands, a, &[b], None, false).await)),
        ("a dry run", shown(replace_following(commands, a, &[b], None, true).await)),
        ("ArchiveAccount", shown(OnAccount::Archive.send(commands, b, None).await)),
        ("GetJob", shown(jobs::get(commands, &new_user()).await)),
    ]
}

async fn reads(endpoints: &Endpoints) -> Calls {
    let mut queries = endpoints.queries();
    let (a, b) = (new_user(), new_user());
    let both = || vec![a.clone(), b.clone()];
    let several = wire::BatchCheckRequest { viewer_id: a.clone(), target_ids: both(), ..Default::default() };
    let pairs =
        wire::GetRelationshipsRequest { viewer_id: a.clone(), target_ids: both(), ..Default::default() };
    let mutuals = wire::ListMutualsRequest { user_id: a.clone(), ..Default::default() };
    let mut calls = vec![
        ("Check", shown(check(&mut queries, &a, &b, None).await)),
        ("BatchCheck", shown(queries.batch_check(several).await)),
        ("GetRelationships", shown(queries.get_relationships(pairs).await)),
        ("GetCounts", shown(counts(&mut queries, &both(), None).await)),
        ("ListFollowers", shown(page(&mut queries, List::Followers, &a, 10, "", None).await)),
        ("ListMutuals", shown(queries.list_mutuals(mutuals).await)),
    ];
    let mut older = GraphServiceClient::new(channel(&endpoints.query));
    let following = IsFollowingRequest { follower_id: a, followee_id: b };
    calls.push(("IsFollowing", shown(older.is_following(following).await)));
    calls
}

/// The first part of an export, which only PostgreSQL can return.
async fn export(endpoints: &Endpoints) -> Calls {
    let begun = endpoints.queries().export_edges(wire::ExportEdgesRequest::default()).await;
    let part = match begun {
        Ok(parts) => parts.into_inner().message().await,
        Err(status) => Err(status),
    };
    vec![("ExportEdges", shown(part))]
}

/// Neither an answer nor an error contains any of the words. Each error has a reason.
#[track_caller]
fn assert_silent(calls: &Calls, names: &[&str]) {
    for (call, outcome) in calls {
        let text = match outcome {
            Ok(answer) => answer.clone(),
            Err(status) => {
                assert!(reason_of(status).is_some(), "{call}: {status:?}");
                let details = String::from_utf8_lossy(status.details());
                format!("{} {details} {:?}", status.message(), status.metadata())
            }
        };
        for words in OF_DATABASES.iter().chain(names) {
            assert!(!text.contains(*words), "{call} shows {words:?}: {text}");
        }
    }
}

/// The failed calls.
fn failed(calls: &Calls) -> Vec<&'static str> {
    calls.iter().filter(|(_, outcome)| outcome.is_err()).map(|(call, _)| *call).collect()
}

/// All calls except the batch, whose answer contains an error for each command.
fn must_fail(calls: &Calls) -> Vec<&'static str> {
    calls.iter().map(|(call, _)| *call).filter(|call| !call.ends_with("independent")).collect()
}

/// Revokes services' access to tables by a statement.
async fn hide_tables(database: &Database) {
    for table in ["follows", "mutes", "blocks", "follow_requests", "accounts", "jobs"] {
        let rename = format!("ALTER TABLE {table} RENAME TO {table}_elsewhere");
        sqlx::query(AssertSqlSafe(rename)).execute(&database.pool).await.expect("the owner may");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_of_writes_show_no_text_of_postgresql() {
    let shared = Endpoints::shared();
    let database = Database::create(&shared).await;
    let settings = Env::default()
        .with("DATABASE_URL", &database.url)
        .with("AUTH_TOKENS", format!("read+write+admin:{}", shared.token))
        .with("NATS_URL", NO_NATS);
    let service = command_service_beside(&shared, settings);
    let commands = shared.through(&service).commands();
    let calls = writes(&commands).await;
    assert_eq!(failed(&calls), ["GetJob"], "the job is unknown: {calls:?}");

    sqlx::raw_sql(REFUSE_ROWS).execute(&database.pool).await.expect("the owner may");
    let mut names = vec![database.name.as_str()];
    names.extend(OF_THE_TRIGGER);
    let calls = writes(&commands).await;
    assert_silent(&calls, &names);
    let refused = failed(&calls);
    for call in ["Follow", "BatchWrite", "ImportEdges", "ReplaceFollowing"] {
        assert!(refused.contains(&call), "{call}: {calls:?}");
    }

    hide_tables(&database).await;
    let calls = writes(&commands).await;
    assert_silent(&calls, &names);
    assert_eq!(failed(&calls), must_fail(&calls));
    drop(service);
    database.remove(&shared).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_of_reads_show_no_text_of_postgresql() {
    let shared = Endpoints::shared();
    let database = Database::create(&shared).await;
    let settings = Env::default()
        .with("DATABASE_URL", &database.url)
        .with("NATS_URL", NO_NATS)
        .with("READ_SOURCE", "postgres");
    let service = query_service_beside(&shared, settings);
    let here = shared.reading_through(&service);
    until("PostgreSQL to answer", || async {
        let calls = [reads(&here).await, export(&here).await].concat();
        let refused = failed(&calls);
        if refused.is_empty() { Ok(()) } else { Err(format!("{refused:?} of {calls:?}")) }
    })
    .await;
    hide_tables(&database).await;
    let calls = [reads(&here).await, export(&here).await].concat();
    assert_silent(&calls, &[database.name.as_str()]);
    assert_eq!(failed(&calls), must_fail(&calls));
    drop(service);
    database.remove(&shared).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_of_reads_show_no_text_of_neo4j() {
    let shared = Endpoints::shared();
    let settings = Env::default()
        .with("NEO4J_URI", &shared.neo4j_uri)
        .with("NEO4J_USER", &shared.neo4j_user)
        .with("NEO4J_PASSWORD", &shared.neo4j_password)
        .with("NEO4J_DATABASE", "nowhere")
        .with("READ_SOURCE", "neo4j");
    let service = start_beside(&shared, Program::Query, &settings);
    until("Neo4j to refuse the name of the database", || async {
        let answer =
            block_in_place(|| http::get(service.admin_addr(), "/readyz")).map_err(|e| e.to_string())?;
        if answer.body.contains("NEO4J_DATABASE") { Ok(()) } else { Err(answer.body) }
    })
    .await;
    let calls = reads(&shared.reading_through(&service)).await;
    assert_silent(&calls, &["nowhere"]);
    assert_eq!(failed(&calls), must_fail(&calls));
}
