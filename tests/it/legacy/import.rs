//! Import of the older system's database, and the report of rows that cannot be imported.

use std::process::Stdio;

use serde_json::Value;
use sqlx::{Connection as _, Executor as _, PgConnection, Row as _};
use tests::own::Victim;
use tests::{Endpoints, Own, truth, until};
use uuid::Uuid;

use super::{Api, Write, verify};
use crate::cli::{Cli, json};

const SCHEMA: &str = "
CREATE TABLE users (
    id uuid PRIMARY KEY,
    username varchar(50) UNIQUE NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz
);
CREATE TABLE follows (
    follower_id uuid NOT NULL,
    following_id uuid NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (follower_id, following_id)
);
CREATE TABLE mutes (
    muter_id uuid NOT NULL,
    muted_id uuid NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (muter_id, muted_id)
);
CREATE TABLE blocks (
    blocker_id uuid NOT NULL,
    blocked_id uuid NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (blocker_id, blocked_id)
);";

/// A database of the older system, on the tests' server.
pub struct Legacy {
    pub url: String,
    pub connection: PgConnection,
}

impl Legacy {
    /// An empty one with the older schema.
    pub async fn create(endpoints: &Endpoints) -> Self {
        let name = format!("legacy_{}", Uuid::new_v4().simple());
        let mut admin = PgConnection::connect(&endpoints.database_url).await.expect("PostgreSQL answers");
        let create = format!("CREATE DATABASE {name}");
        admin.execute(sqlx::AssertSqlSafe(create)).await.expect("a database");
        let server = endpoints.database_url.rsplit_once('/').expect("a URL with a database").0;
        let url = format!("{server}/{name}");
        let mut connection = PgConnection::connect(&url).await.expect("a connection");
        connection.execute(SCHEMA).await.expect("the older schema");
        Self { url, connection }
    }

    async fn run(&mut self, statement: &'static str, ids: &[Uuid]) {
        sqlx::query(statement).bind(ids).execute(&mut self.connection).await.expect(statement);
    }
}

/// Runs the import; returns exit code, summary and stderr.
fn import(cli: &Cli, url: &str, more: &[&str]) -> (i32, Value, String) {
    let arguments = [&["-o", "json", "import", "--from-legacy-postgres", url], more].concat();
    let (code, out, err) = cli.run(&arguments);
    let summary = json(&out).pop().unwrap_or_else(|| panic!("no summary (exit code {code}): {err}"));
    (code, summary, err)
}

fn numbers(summary: &Value, kind: &str) -> [u64; 6] {
    let kinds = summary["kinds"].as_array().expect("kinds");
    let kind = kinds.iter().find(|k| k["kind"] == kind).unwrap_or_else(|| panic!("no {kind} in {summary}"));
    ["read", "accepted", "unchanged", "refused", "left_out", "without_user"]
        .map(|name| kind[name].as_u64().expect("a number"))
}

/// Ten users, the last two soft-deleted; follows, mutes and blocks among them.
async fn small(legacy: &mut Legacy) -> Vec<Uuid> {
    let ids: Vec<Uuid> = (0..10).map(|_| Uuid::new_v4()).collect();
    for statement in [
        "INSERT INTO users (id, username, deleted_at)
         SELECT id, 'user' || n, CASE WHEN n > 8 THEN now() END FROM unnest($1) WITH ORDINALITY AS u(id, n)",
        // Each of 1 to 7 follows 8, the first one earliest; 1 follows the deleted 9, the deleted 10 follows 1.
        "INSERT INTO follows SELECT $1[n], $1[8], timestamptz '2020-01-01 12:00:00.123456+00' + n * interval '1 day'
         FROM generate_series(1, 7) n",
        "INSERT INTO follows VALUES ($1[1], $1[9], '2019-01-01'), ($1[10], $1[1], '2019-01-02')",
        "INSERT INTO mutes VALUES ($1[1], $1[2], '2021-02-03T04:05:06Z'), ($1[2], $1[9], now())",
        // 2 and 3 follow across a block.
        "INSERT INTO blocks VALUES ($1[8], $1[3], '2021-03-04T05:06:07Z'), ($1[2], $1[8], '2021-03-05T05:06:07Z')",
        // 4 follows itself, and an account that is not in the table of users.
        "INSERT INTO follows VALUES ($1[4], $1[4], '2022-01-01'), ($1[4], gen_random_uuid(), '2022-01-02')",
    ] {
        legacy.run(statement, &ids).await;
    }
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn the_older_database_is_imported_and_conflicts_are_reported() {
    let endpoints = Endpoints::shared();
    let mut legacy = Legacy::create(&endpoints).await;
    let ids = small(&mut legacy).await;
    let cli = Cli::new();
    let (code, summary, err) = import(&cli, &legacy.url, &[]);
    assert_eq!(code, 1, "some were refused: {summary} {err}");
    assert_eq!((&summary["users"], &summary["soft_deleted_users"]), (&10.into(), &2.into()));
    assert_eq!(numbers(&summary, "block"), [2, 2, 0, 0, 0, 0]);
    assert_eq!(numbers(&summary, "mute"), [2, 1, 0, 0, 1, 0]);
    assert_eq!(numbers(&summary, "follow"), [11, 6, 0, 3, 2, 1]);

    let refused = std::fs::read_to_string(cli.path("legacy.follow.refused.tsv")).expect("refused rows");
    let told: Vec<Vec<&str>> = refused.lines().skip(1).map(|line| line.split('\t').collect()).collect();
    let told: Vec<_> = told.iter().map(|columns| (columns[1], columns[3].to_owned())).collect();
    let wanted = [("BLOCKED", ids[1]), ("BLOCKED", ids[2]), ("SELF_EDGE", ids[3])];
    assert_eq!(told, wanted.map(|(reason, id)| (reason, id.to_string())));
    assert!(!cli.path("legacy.block.refused.tsv").exists(), "no row was rejected");
    assert!(!cli.path("legacy.follow.progress").exists(), "the import is over");

    // Dates to the microsecond; the newest follow first; with the operators' manual query.
    let pool = endpoints.postgres().await;
    let rows = sqlx::query(
        "SELECT follower_id, created_at = timestamptz '2020-01-01 12:00:00.123456+00'
             + array_position($1, follower_id) * interval '1 day'
         FROM follows WHERE following_id = $2 ORDER BY position DESC",
    )
    .bind(&ids[..])
    .bind(ids[7])
    .fetch_all(&pool)
    .await
    .expect("follows");
    let listed: Vec<(Uuid, bool)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert_eq!(listed, [6, 5, 4, 3, 0].map(|i: usize| (ids[i], true)));
    let deleted: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM follows WHERE follower_id = ANY($1) OR following_id = ANY($1)",
    )
    .bind(&ids[8..])
    .fetch_one(&pool)
    .await
    .expect("a count");
    assert_eq!(deleted, 0, "deleted accounts are left out");

    // A repeat changes nothing, and does not revert later writes.
    let (code, again, err) = import(&cli, &legacy.url, &[]);
    assert_eq!(code, 1, "{again} {err}");
    assert_eq!(numbers(&again, "block"), [2, 0, 2, 0, 0, 0]);
    assert_eq!(numbers(&again, "mute"), [2, 0, 1, 0, 1, 0]);
    assert_eq!(numbers(&again, "follow"), [11, 0, 6, 3, 2, 1]);

    // The read model returns it for the operators' own query.
    truth::wait_caught_up(&endpoints).await;
    for (query, a, b, wanted) in [
        ("MATCH (a:User {id: $a})-[:FOLLOWS]->(b:User {id: $b}) RETURN count(*) AS n", 0, 7, 1),
        ("MATCH (a:User {id: $a})-[:FOLLOWS]->(b:User {id: $b}) RETURN count(*) AS n", 1, 7, 0),
        ("MATCH (a:User {id: $a})-[:MUTES]->(b:User {id: $b}) RETURN count(*) AS n", 0, 1, 1),
        ("MATCH (a:User {id: $a})-[:BLOCKS]->(b:User {id: $b}) RETURN count(*) AS n", 7, 2, 1),
    ] {
        let query = neo4rs::query(query).param("a", ids[a].to_string()).param("b", ids[b].to_string());
        let mut rows = endpoints.neo4j().execute(query).await.expect("an answer");
        let row = rows.next().await.expect("an answer").expect("a row");
        assert_eq!(row.get::<i64>("n").expect("a number"), wanted, "{a} to {b}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_database_is_reported_and_nothing_is_written() {
    let endpoints = Endpoints::shared();
    let cli = Cli::new();
    let (code, _, err) = cli.run(&["import", "--from-legacy-postgres", &endpoints.database_url]);
    assert_eq!(code, 2, "{err}");
    assert!(err.contains("followgraph itself"), "{err}");
    let mut legacy = Legacy::create(&endpoints).await;
    legacy.connection.execute("DROP TABLE mutes").await.expect("dropped");
    let (code, _, err) = cli.run(&["import", "--from-legacy-postgres", &legacy.url]);
    assert_eq!(code, 2, "{err}");
    assert!(err.contains("users, follows, mutes and blocks"), "{err}");
    let password = endpoints.database_url.split([':', '@']).nth(2).expect("a password");
    assert!(!err.contains(password), "the password is not shown");
}

/// 600 fans follow 40 stars each, some across blocks.
const LARGE: [&str; 4] = [
    "CREATE FUNCTION u(n bigint) RETURNS uuid LANGUAGE sql IMMUTABLE AS
     $$ SELECT ('10000000-0000-4000-8000-' || lpad(to_hex(n), 12, '0'))::uuid $$",
    "INSERT INTO users (id, username) SELECT u(n), 'user' || n FROM generate_series(0, 639) n",
    "INSERT INTO follows SELECT u(n % 600), u(600 + n / 600), timestamptz '2020-01-01+00' + (n * 7919 % 24000) * interval '1 minute'
     FROM generate_series(0, 23999) n",
    "INSERT INTO blocks SELECT u(600 + n % 40), u(n / 40), timestamptz '2021-01-01+00' + n * interval '1 second'
     FROM generate_series(0, 399) n",
];

/// The number of answered chunks of a kind, by the progress file.
fn chunks_done(cli: &Cli, kind: &str) -> Option<u64> {
    let text = std::fs::read(cli.path(&format!("legacy.{kind}.progress"))).ok()?;
    serde_json::from_slice::<Value>(&text).ok()?["done"]["chunks"].as_u64()
}

/// Makes the progress file refer to another database.
fn notes_of_another_database(cli: &Cli) {
    for kind in ["follow", "mute", "block"] {
        let path = cli.path(&format!("legacy.{kind}.progress"));
        let Ok(text) = std::fs::read(&path) else { continue };
        let mut notes: Value = serde_json::from_slice(&text).expect("JSON");
        notes["done"]["database_id"] = Uuid::new_v4().to_string().into();
        std::fs::write(&path, notes.to_string()).expect("written");
    }
}

async fn counted(endpoints: &Endpoints, statement: &'static str) -> i64 {
    let pool = endpoints.postgres().await;
    sqlx::query_scalar(statement).fetch_one(&pool).await.expect(statement)
}

/// Kills an import after this many answered chunks of follows; returns its output.
async fn killed_after(cli: &Cli, url: &str, chunks: u64) -> String {
    let mut command = cli.command(&["-o", "json", "import", "--from-legacy-postgres", url]);
    let mut child = command.stderr(Stdio::piped()).spawn().expect("the CLI runs");
    until("some chunks to be answered", || async {
        match chunks_done(cli, "follow") {
            Some(done) if done >= chunks => Ok(()),
            other => Err(format!("{other:?} chunks")),
        }
    })
    .await;
    child.kill().expect("killed");
    let output = child.wait_with_output().expect("it has ended");
    String::from_utf8(output.stderr).expect("UTF-8")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_import_resumes_and_both_stores_agree() {
    let mut own = Own::light().start().await;
    let endpoints = own.endpoints.clone();
    let mut legacy = Legacy::create(&endpoints).await;
    for statement in LARGE {
        legacy.connection.execute(statement).await.expect(statement);
    }
    let cli = Cli::of(endpoints.clone());

    // Killed twice while it imports follows.
    for (wanted, said) in [(3, "importing"), (6, "resuming after row")] {
        let err = killed_after(&cli, &legacy.url, wanted).await;
        assert!(err.contains(said), "{err}");
    }
    let before = chunks_done(&cli, "follow").expect("a note of progress");
    assert!(before < 24, "it was killed on its way");
    // Another database of the same epoch, with as many revisions, at the same address.
    notes_of_another_database(&cli);

    let (code, summary, err) = import(&cli, &legacy.url, &[]);
    assert_eq!(code, 1, "{summary} {err}");
    assert!(err.contains("does not know: starting over"), "{err}");
    assert_eq!(numbers(&summary, "block"), [400, 0, 400, 0, 0, 0]);
    let [read, accepted, unchanged, refused, ..] = numbers(&summary, "follow");
    // Chunks in progress at the kill were committed and are sent again.
    assert_eq!((read, accepted + unchanged, refused), (24_000, 23_600, 400), "{summary}");
    assert!(unchanged >= 5_000, "{summary}");
    let lines = std::fs::read_to_string(cli.path("legacy.follow.refused.tsv")).expect("refused rows");
    let mut lines: Vec<_> = lines.lines().skip(1).map(|line| line.split('\t').next()).collect();
    lines.sort_unstable();
    lines.dedup();
    assert_eq!(lines.len(), 400, "each refused row once");

    assert_eq!(counted(&endpoints, "SELECT count(*) FROM follows").await, 23_600);
    assert_eq!(counted(&endpoints, "SELECT count(*) FROM blocks").await, 400);
    let disorder = "SELECT count(*) FROM (
        SELECT created_at, lag(created_at) OVER (ORDER BY position) AS before FROM follows
    ) AS f WHERE before > created_at";
    assert_eq!(counted(&endpoints, disorder).await, 0, "places follow dates, over both runs");

    // Both stores agree, by the verb and by manual queries.
    truth::wait_caught_up(&endpoints).await;
    let (code, out, err) = cli.run(&["-o", "json", "legacy", "verify"]);
    assert_eq!(code, 0, "{out}{err}");
    let report = &json(&out)[0];
    assert_eq!((&report["equal"], &report["stores"][1]["follows"]), (&true.into(), &23_600.into()));
    let query = neo4rs::query("MATCH ()-[r:FOLLOWS]->() RETURN count(r) AS n");
    let mut rows = endpoints.neo4j().execute(query).await.expect("an answer");
    let row = rows.next().await.expect("an answer").expect("a row");
    assert_eq!(row.get::<i64>("n").expect("a number"), 23_600);
    verify::the_older_database_is_compared_and_gets_the_writes_back(&own, &cli, &mut legacy).await;
    verify::equal_counts_at_different_revisions_are_not_equal(&mut own, &cli).await;

    // A write is answered while the stream is down: it is durable.
    let before = counted(&endpoints, "SELECT count(*) FROM follows").await;
    own.kill(Victim::Nats);
    let (a, b) = (tests::new_user(), tests::new_user());
    let answer = Api::of(&endpoints).write(Write::CreateFollow, &a, &b).await.expect("success");
    assert_eq!(answer, (true, "following".to_owned()));
    assert_eq!(counted(&endpoints, "SELECT count(*) FROM follows").await, before + 1);
    until("`legacy check` to miss NATS", || async {
        let (code, out, _) = cli.run(&["-o", "json", "legacy", "check"]);
        let nats = json(&out).into_iter().find(|row| row["server"] == "NATS").expect("a row");
        if code == 1 && nats["answers"] == false { Ok(()) } else { Err(out) }
    })
    .await;
}
