//! The comparison with the older system's database, and the migration back to it in docs/moving.md.

use std::process::{Command, Stdio};

use serde_json::Value;
use sqlx::Executor as _;
use tests::clients::{follow, unfollow};
use tests::own::Victim;
use tests::truth::wait_caught_up;
use tests::{Own, new_user};
use tokio::task::block_in_place;
use uuid::Uuid;

use super::import::Legacy;
use super::{Api, Write};
use crate::backup::{commands, newest_programs};
use crate::cli::{Cli, json};

/// Runs the comparison; returns the exit code and its findings of each kind.
fn verify(cli: &Cli, legacy: &Legacy) -> (i32, Value) {
    let arguments = ["-o", "json", "legacy", "verify", "--from-legacy-postgres", &legacy.url];
    let (code, out, err) = block_in_place(|| cli.run(&arguments));
    let report = json(&out).pop().unwrap_or_else(|| panic!("no report (exit code {code}): {err}"));
    (code, report)
}

/// Runs the comparison with a closed stderr; returns the exit code.
fn verify_unheard(cli: &Cli, legacy: &Legacy) -> Option<i32> {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut command = cli.command(&["legacy", "verify", "--from-legacy-postgres", &legacy.url]);
    command.stdout(Stdio::null()).stderr(writer);
    block_in_place(|| command.status()).expect("the CLI runs").code()
}

fn numbers(report: &Value, kind: &str) -> [u64; 8] {
    let kinds = report["older"].as_array().expect("kinds");
    let kind = kinds.iter().find(|k| k["kind"] == kind).unwrap_or_else(|| panic!("no {kind} in {report}"));
    ["older", "left_out", "since_deleted", "refused", "found", "missing", "extra", "other_date"]
        .map(|name| kind[name].as_u64().expect("a number"))
}

/// Runs the script as an operator would; returns whether it succeeded, and stderr.
fn bring_back(script: &str, database: &str, older: &str) -> (bool, String) {
    let path = std::env::var("PATH").expect("a PATH");
    let mut shell = Command::new("bash");
    shell.args(["-c", script]).env("PATH", format!("{}:{path}", newest_programs().display()));
    shell.env("DATABASE_URL", database).env("OLDER", older);
    let output = shell.output().expect("bash runs");
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// followgraph's database does not answer, has no follows, or disconnects in the middle of the copy.
async fn copies_that_are_not_whole_change_nothing(script: &str, database: &str, legacy: &mut Legacy) {
    let older = legacy.url.clone();
    let before = follows(legacy).await;
    let nobody = format!("{}:1/nobody", database.rsplit_once(':').expect("a URL with a port").0);
    let wrong = format!("{older}?options=-csearch_path%3Dwrong");
    for (database, rows, told) in [
        (&nobody, "true", "connection to server"),
        (&wrong, "false", "follows: 0 of 0 rows were copied"),
        (&wrong, "current_query() NOT LIKE 'COPY %' OR created_at < '2020-01-09'", " rows were copied"),
    ] {
        let views = format!(
            "CREATE SCHEMA wrong; CREATE VIEW wrong.follows AS SELECT * FROM public.follows WHERE {rows};
             CREATE VIEW wrong.mutes AS TABLE public.mutes; CREATE VIEW wrong.blocks AS TABLE public.blocks"
        );
        execute(legacy, views).await;
        let (done, err) = block_in_place(|| bring_back(script, database, &older));
        assert!(!done && err.contains(told), "{told}: {err}");
        assert_eq!(follows(legacy).await, before, "{told}");
        execute(legacy, "DROP SCHEMA wrong, from_followgraph CASCADE".to_owned()).await;
    }
}

async fn follows(legacy: &mut Legacy) -> i64 {
    let count = sqlx::query_scalar("SELECT count(*) FROM follows");
    count.fetch_one(&mut legacy.connection).await.expect("a count")
}

async fn execute(legacy: &mut Legacy, statement: String) {
    legacy.connection.execute(sqlx::AssertSqlSafe(statement.clone())).await.expect(&statement);
}

/// The older database has been fully imported: 24,000 follows, 400 of them across as many blocks.
pub async fn the_older_database_is_compared_and_gets_the_writes_back(
    own: &Own,
    cli: &Cli,
    legacy: &mut Legacy,
) {
    let endpoints = &own.endpoints;
    let (code, report) = verify(cli, legacy);
    assert_eq!((code, &report["equal"]), (0, &true.into()), "{report}");
    assert_eq!(numbers(&report, "follow"), [24_000, 0, 0, 400, 23_600, 0, 0, 0]);
    assert_eq!(numbers(&report, "block"), [400, 0, 0, 0, 400, 0, 0, 0]);
    assert_eq!(verify_unheard(cli, legacy), Some(0));

    // The older system continues: it removes one edge, adds one, changes a date, and deletes a user.
    let (a, b): (Uuid, Uuid) = sqlx::query_as(
        "SELECT follower_id, following_id FROM follows f WHERE NOT EXISTS (
             SELECT FROM blocks WHERE blocker_id = f.following_id AND blocked_id = f.follower_id)
         ORDER BY 1, 2 LIMIT 1",
    )
    .fetch_one(&mut legacy.connection)
    .await
    .expect("a follow");
    for statement in [
        format!("DELETE FROM follows WHERE follower_id = '{a}' AND following_id = '{b}'"),
        format!("INSERT INTO follows VALUES ('{b}', '{a}', '2023-01-01')"),
        "UPDATE blocks SET created_at = created_at + interval '1 microsecond'
             WHERE ctid IN (SELECT ctid FROM blocks LIMIT 1)"
            .to_owned(),
        "INSERT INTO users (id, username, deleted_at) VALUES (gen_random_uuid(), 'gone', now())".to_owned(),
        format!("INSERT INTO mutes SELECT id, '{b}', now() FROM users WHERE username = 'gone'"),
        // Future dates are rejected, and a rejected block does not prevent a follow.
        format!("INSERT INTO follows VALUES ('{a}', gen_random_uuid(), now() + interval '1 day')"),
        "INSERT INTO blocks SELECT following_id, follower_id, now() + interval '1 day' FROM follows AS f
             WHERE created_at < now() AND NOT EXISTS (
                 SELECT FROM blocks WHERE blocker_id = f.following_id AND blocked_id = f.follower_id)
             LIMIT 1"
            .to_owned(),
    ] {
        execute(legacy, statement).await;
    }
    let (code, report) = verify(cli, legacy);
    assert_eq!((code, &report["equal"]), (1, &false.into()), "{report}");
    assert_eq!(numbers(&report, "follow"), [24_001, 0, 0, 401, 23_600, 1, 1, 0]);
    assert_eq!(numbers(&report, "block"), [401, 0, 0, 1, 400, 0, 0, 1]);
    assert_eq!(numbers(&report, "mute"), [1, 1, 0, 0, 0, 0, 0, 0]);
    let (_, out, _) =
        block_in_place(|| cli.run(&["legacy", "verify", "--from-legacy-postgres", &legacy.url]));
    assert!(out.contains(&format!("extra: follow {a} {b}")) && out.contains("other date: block"), "{out}");

    // Copies followgraph's writes back.
    let (x, y) = (new_user(), new_user());
    follow(&mut endpoints.commands(), &x, &y).await.expect("a follow");
    unfollow(&mut endpoints.commands(), &a.to_string(), &b.to_string()).await.expect("an unfollow");
    let mut api = Api::of(endpoints);
    api.write(Write::CreateMute, &x, &y).await.expect("a mute");
    api.write(Write::CreateBlock, &y, &a.to_string()).await.expect("a block");
    wait_caught_up(endpoints).await;
    let deleted = format!("INSERT INTO users (id, username, deleted_at) VALUES ('{x}', 'left', now())");
    execute(legacy, deleted).await;
    let document =
        std::fs::read_to_string(devstack::workspace::root().join("docs/moving.md")).expect("the document");
    let blocks = commands(&document, "\n## The way back after writes\n", "\n## Settings and verbs\n");
    let [script] = &blocks[..] else { panic!("{blocks:?}") };
    copies_that_are_not_whole_change_nothing(script, &endpoints.database_url, legacy).await;
    let (done, err) = block_in_place(|| bring_back(script, &endpoints.database_url, &legacy.url));
    assert!(done, "{script}\n{err}");
    let (code, report) = verify(cli, legacy);
    assert_eq!((code, &report["equal"]), (0, &true.into()), "{report}");
    // Follows across a block are removed there too, and the edge of a deleted user stays. Edges of a user that was
    // deleted after the move are in both.
    assert_eq!(numbers(&report, "follow"), [23_600, 1, 1, 0, 23_600, 0, 0, 0]);
    assert_eq!(numbers(&report, "mute"), [2, 2, 1, 0, 1, 0, 0, 0]);
    assert_eq!(numbers(&report, "block"), [401, 0, 0, 0, 401, 0, 0, 0]);
}

/// Without its projector the read model lags. After a follow and an unfollow, both stores have the same counts.
pub async fn equal_counts_at_different_revisions_are_not_equal(own: &mut Own, cli: &Cli) {
    let endpoints = own.endpoints.clone();
    let (a, b, c) = (new_user(), new_user(), new_user());
    follow(&mut endpoints.commands(), &a, &b).await.expect("a follow");
    wait_caught_up(&endpoints).await;
    own.kill(Victim::Projector);
    follow(&mut endpoints.commands(), &a, &c).await.expect("a follow");
    unfollow(&mut endpoints.commands(), &a, &b).await.expect("an unfollow");
    let (code, out, err) = block_in_place(|| cli.run(&["-o", "json", "legacy", "verify"]));
    let report = json(&out).pop().unwrap_or_else(|| panic!("no report (exit code {code}): {err}"));
    let stores = &report["stores"];
    assert_eq!(stores[0]["follows"], stores[1]["follows"], "{report}");
    assert_eq!((code, &report["at_one_revision"]), (1, &false.into()), "{report}");
    assert_eq!(report["equal"], false, "{report}");
    own.revive(Victim::Projector);
    own.wait_ready();
    let (code, out, err) = block_in_place(|| cli.run(&["legacy", "verify"]));
    assert_eq!(code, 0, "{out}{err}");
}
