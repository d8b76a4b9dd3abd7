//! The command line's verbs for writes: answers and exit codes.

use std::fs::File;

use serde_json::{Value, json};
use tests::new_user;

use crate::cli::{Cli, json as rows};

/// Runs a verb with `-o json`; returns exit code and the printed object.
fn ask(cli: &Cli, arguments: &[&str]) -> (i32, Value) {
    let (code, out, err) = cli.run(&[&["-o", "json"], arguments].concat());
    let mut rows = rows(&out);
    assert_eq!(rows.len(), 1, "{arguments:?}: {out}{err}");
    (code, rows.remove(0))
}

/// Runs a verb that must succeed.
fn done(cli: &Cli, arguments: &[&str]) -> Value {
    let (code, answer) = ask(cli, arguments);
    assert_eq!(code, 0, "{arguments:?}: {answer}");
    answer
}

/// Runs a verb that must be rejected; returns the printed error.
fn refused(cli: &Cli, arguments: &[&str]) -> Value {
    let (code, out, err) = cli.run(&[&["-o", "json"], arguments].concat());
    assert_eq!((code, out.as_str()), (2, ""), "{arguments:?}: {err}");
    let mut told: Value = serde_json::from_str(&err).expect("an error as JSON");
    told["error"].take()
}

/// The accounts that an account follows, newest first, from PostgreSQL.
fn following(cli: &Cli, user: &str) -> Vec<String> {
    let (code, out, err) = cli.run(&["-o", "json", "following", user, "--all", "--consistent"]);
    assert_eq!(code, 0, "{err}");
    rows(&out).iter().map(|row| row["user_id"].as_str().expect("an id").to_owned()).collect()
}

fn ids(user: &Value) -> Vec<&str> {
    user.as_array().expect("a list").iter().map(|id| id.as_str().expect("an id")).collect()
}

#[test]
fn mutes_and_blocks_are_made_ended_and_end_by_themselves() {
    let cli = Cli::new();
    let (a, b) = (new_user(), new_user());
    let answer = done(&cli, &["mute", &a, &b, "--for", "24h"]);
    assert_eq!(
        (&answer["command"], &answer["actor_id"], &answer["target_id"]),
        (&json!("mute"), &json!(a), &json!(b))
    );
    assert_eq!((&answer["changed"], &answer["muting"]), (&json!(true), &json!(true)));
    assert!(answer["muting_until"].is_string(), "{answer}");
    assert!(answer["revision"].is_u64() && answer["written_at"].is_string(), "{answer}");
    let expected = ["--expected-etag", answer["etag"].as_str().expect("an etag")];
    assert_eq!(done(&cli, &[&["mute", &a, &b, "--for", "25h"], &expected[..]].concat())["changed"], true);
    let error = refused(&cli, &[&["mute", &a, &b], &expected[..]].concat());
    assert_eq!(error["reason"], "PRECONDITION_FAILED");
    let (code, out, err) = cli.run(&["-o", "json", "relationship", &a, &b, "--consistent"]);
    assert_eq!(code, 0, "{err}");
    assert_eq!(error["metadata"]["etag"], rows(&out)[0]["etag"]);

    let answer = done(&cli, &["mute", &a, &b]);
    assert_eq!(
        (&answer["muting"], &answer["muting_until"]),
        (&json!(true), &Value::Null),
        "the last one wins"
    );
    assert_eq!(done(&cli, &["unmute", &a, &b])["muting"], false);
    assert_eq!(done(&cli, &["unmute", &a, &b])["changed"], false);

    done(&cli, &["follow", &a, &b]);
    done(&cli, &["follow", &b, &a]);
    let until = "2031-01-01T00:00:00Z";
    let (code, out, err) = cli.run(&["block", &a, &b, "--until", until]);
    assert_eq!(code, 0, "{err}");
    assert!(
        out.starts_with(&format!("changed: {a} does not follow {b}, and has blocked it until {until}\n")),
        "{out}"
    );
    assert_eq!(refused(&cli, &["follow", &b, &a])["reason"], "BLOCKED");
    let answer = done(&cli, &["unblock", &a, &b]);
    assert_eq!((&answer["blocking"], &answer["followed_by"]), (&json!(false), &json!(false)));

    let error = refused(&cli, &["block", &a, &b, "--for", "3700d"]);
    assert_eq!((&error["reason"], &error["field"]), (&json!("INVALID_TIMESTAMP"), &json!("expires_at")));
}

#[test]
fn requests_are_accepted_rejected_and_withdrawn() {
    let cli = Cli::new();
    let (a, b) = (new_user(), new_user());
    let answer = done(&cli, &["privacy", &b, "private"]);
    assert_eq!((&answer["changed"], &answer["job_id"]), (&json!(true), &Value::Null));
    assert_eq!(done(&cli, &["privacy", &b, "private"])["changed"], false);

    let answer = done(&cli, &["follow", &a, &b]);
    assert_eq!((&answer["following"], &answer["requested"]), (&json!(false), &json!(true)));
    let answer = done(&cli, &["accept-request", &b, &a]);
    assert_eq!((&answer["followed_by"], &answer["request_received"]), (&json!(true), &json!(false)));
    let (code, out, _) = cli.run(&["remove-follower", &b, &a]);
    assert_eq!(code, 0);
    assert!(out.starts_with(&format!("changed: {a} does not follow {b}\n")), "{out}");

    done(&cli, &["follow", &a, &b]);
    assert_eq!(done(&cli, &["reject-request", &b, &a])["request_received"], false);
    done(&cli, &["follow", &a, &b]);
    let answer = done(&cli, &["cancel-request", &a, &b]);
    assert_eq!((&answer["changed"], &answer["requested"]), (&json!(true), &json!(false)));
    assert_eq!(refused(&cli, &["accept-request", &b, &a])["reason"], "REQUEST_NOT_FOUND");

    // Going public accepts pending requests; the CLI waits for that.
    done(&cli, &["follow", &a, &b]);
    let answer = done(&cli, &["privacy", &b, "public"]);
    assert_eq!((&answer["job"]["kind"], &answer["job"]["state"]), (&json!("make_public"), &json!("done")));
    assert_eq!(following(&cli, &a), [b.as_str()]);
    assert_eq!(done(&cli, &["unfollow", &a, &b])["changed"], true);
}

#[test]
fn a_command_may_depend_on_the_state_of_its_pair() {
    let cli = Cli::new();
    let (a, b) = (new_user(), new_user());
    let (code, _, err) = cli.run(&["follow", &a, &b, "--if-following", "true"]);
    assert_eq!(code, 2);
    assert!(err.contains("PRECONDITION_FAILED"), "{err}");
    let (code, out, _) = cli.run(&["-o", "json", "relationship", &a, &b, "--consistent"]);
    assert_eq!(code, 0, "{out}");
    let none = rows(&out)[0]["etag"].as_str().expect("an etag").to_owned();
    assert!(err.contains(&format!("the pair now has the etag {none}, following is false")), "{err}");

    let answer = done(&cli, &["follow", &a, &b, "--expected-etag", &none]);
    let followed = answer["etag"].as_str().expect("an etag").to_owned();
    done(&cli, &["mute", &a, &b]);
    let error = refused(&cli, &["unfollow", &a, &b, "--expected-etag", &followed]);
    assert_eq!(
        (&error["reason"], &error["code"]),
        (&json!("PRECONDITION_FAILED"), &json!("FailedPrecondition"))
    );
    done(&cli, &["unfollow", &a, &b, "--if-following", "true"]);
}

#[test]
fn a_request_id_makes_a_repeat_the_same_answer() {
    let cli = Cli::new();
    let (a, b, request) = (new_user(), new_user(), new_user());
    let block = ["block", &a, &b, "--request-id", &request];
    let first = done(&cli, &block);
    done(&cli, &["unblock", &a, &b]);
    let again = done(&cli, &block);
    assert_eq!((&again["changed"], &again["written_at"]), (&json!(true), &first["written_at"]));
    let error = refused(&cli, &["mute", &a, &b, "--request-id", &request]);
    assert_eq!(error["reason"], "REQUEST_ID_REUSED");
}

#[test]
fn a_batch_answers_every_line_and_an_atomic_one_is_all_or_none() {
    let cli = Cli::new();
    let (a, b, c, d) = (new_user(), new_user(), new_user(), new_user());
    done(&cli, &["block", &c, &a]);
    let file = cli
        .file("commands", &format!("# one fails\nfollow {a} {b}\n\nfollow {a} {c}\nmute {a} {d} --for 1h\n"));
    let results = |code: i32, arguments: &[&str]| {
        let (got, out, err) = cli.run(&[&["-o", "json", "batch"], arguments].concat());
        assert_eq!(got, code, "{out}{err}");
        rows(&out)
    };

    let atomic = results(1, &[&file, "--atomic"]);
    let fates: Vec<_> = atomic.iter().map(|row| (&row["line"], &row["result"])).collect();
    assert_eq!(
        fates,
        [(&json!(2), &json!("not_done")), (&json!(4), &json!("failed")), (&json!(5), &json!("not_done"))]
    );
    assert_eq!(atomic[1]["error"]["reason"], "BLOCKED");
    assert_eq!(following(&cli, &a), [""; 0], "nothing was done");

    let independent = results(1, &[&file]);
    let fates: Vec<_> = independent.iter().map(|row| &row["result"]).collect();
    assert_eq!(fates, ["changed", "failed", "changed"]);
    assert_eq!(independent[1]["error"]["reason"], "BLOCKED");
    assert!(independent[2]["muting_until"].is_string());
    assert_eq!(following(&cli, &a), [b.as_str()]);

    let (code, out, _) = cli.run(&["batch", &file]);
    assert_eq!(code, 1);
    let lines: Vec<_> =
        out.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(lines[0], "LINE COMMAND RESULT NOW");
    assert!(lines[1].starts_with(&format!("2 follow {a} {b} unchanged {a} follows {b} since ")), "{out}");
    assert!(lines[2].starts_with(&format!("4 follow {a} {c} failed BLOCKED: ")), "{out}");
    assert!(out.contains("\n3 commands: 1 changed, 1 unchanged, 1 failed\n"), "{out}");
}

#[test]
fn an_atomic_batch_is_one_revision_and_has_one_request_id() {
    let cli = Cli::new();
    let (a, b, c, request) = (new_user(), new_user(), new_user(), new_user());
    let file = cli.file("commands", &format!("follow {a} {b}\nblock {a} {c}\n"));
    let batch = ["-o", "json", "batch", &file, "--atomic", "--request-id", &request];
    let (code, out, err) = cli.run(&batch);
    assert_eq!(code, 0, "{out}{err}");
    let first = rows(&out);
    assert_eq!(first[0]["revision"], first[1]["revision"]);
    let (code, out, _) = cli.run(&batch);
    assert_eq!(code, 0);
    assert_eq!(rows(&out), first, "the first answer again");
    assert_eq!(cli.run(&["batch", &file, "--request-id", &request]).0, 2, "it needs --atomic");
}

#[test]
fn a_batch_is_read_whole_before_anything_is_sent() {
    let cli = Cli::new();
    let (a, b) = (new_user(), new_user());
    let file = cli.file("commands", &format!("follow {a} {b}\nfollow {a} nobody\nbefriend {a} {b}\n"));
    let (code, _, err) = cli.run(&["batch", &file]);
    assert_eq!(code, 2);
    assert!(err.contains("line 2: ") && err.contains("line 3: ") && err.contains("'nobody'"), "{err}");
    assert_eq!(following(&cli, &a), [""; 0]);

    let many: String = (0..301).map(|_| format!("follow {a} {}\n", new_user())).collect();
    let file = cli.file("many", &many);
    assert_eq!(cli.run(&["batch", &file, "--atomic"]).0, 2, "an atomic batch is one call");
    // From stdin, in two calls.
    let mut command = cli.command(&["-o", "json", "batch", "-"]);
    let output = command.stdin(File::open(&file).expect("the file")).output().expect("the CLI runs");
    assert!(output.status.success());
    let results = rows(&String::from_utf8(output.stdout).expect("UTF-8"));
    assert_eq!(results.iter().filter(|row| row["result"] == "changed").count(), 301);
    assert_eq!(following(&cli, &a).len(), 301);
}

#[test]
fn a_list_is_replaced_and_a_dry_run_shows_it_first() {
    let cli = Cli::new();
    let (a, b, c, d, e) = (new_user(), new_user(), new_user(), new_user(), new_user());
    done(&cli, &["follow", &a, &b]);
    done(&cli, &["follow", &a, &c]);
    done(&cli, &["privacy", &e, "private"]);
    let file = cli.file("list", &format!("{d}\n# stays\n{c}\n{e}\n"));

    let answer = done(&cli, &["replace-following", &a, &file, "--dry-run"]);
    let changes = |answer: &Value| {
        assert_eq!(ids(&answer["added"]), [d.as_str()]);
        assert_eq!(ids(&answer["removed"]), [b.as_str()]);
        assert_eq!(ids(&answer["requested"]), [e.as_str()]);
    };
    changes(&answer);
    assert_eq!(following(&cli, &a), [c.as_str(), b.as_str()], "nothing was changed");
    let (code, out, _) = cli.run(&["replace-following", &a, &file, "--dry-run"]);
    assert_eq!(code, 0);
    assert!(out.contains("dry run: 1 to add, 1 to request, 1 to remove\n"), "{out}");

    let answer = done(&cli, &["replace-following", &a, &file]);
    changes(&answer);
    assert_eq!((&answer["changed"], &answer["job_id"]), (&json!(true), &Value::Null));
    assert_eq!(following(&cli, &a), [d.as_str(), c.as_str()]);

    let empty = cli.file("empty", "# nobody\n");
    let error = refused(&cli, &["replace-following", &a, &empty]);
    assert!(error["hint"].as_str().expect("a hint").contains("--allow-empty"), "{error}");
    done(&cli, &["replace-following", &a, &empty, "--allow-empty"]);
    assert_eq!(following(&cli, &a), [""; 0]);
}

#[test]
fn the_cli_waits_for_a_replacement_job() {
    let cli = Cli::new();
    let a = new_user();
    let users: Vec<_> = (0..1_500).map(|_| new_user()).collect();
    let file = cli.file("list", &users.join("\n"));
    let answer = done(&cli, &["replace-following", &a, &file]);
    assert_eq!(
        (ids(&answer["added"]).len(), &answer["added_count"]),
        (0, &json!(1_500)),
        "a job has no lists"
    );
    let job = &answer["job"];
    assert_eq!((&job["kind"], &job["state"]), (&json!("replace_following"), &json!("done")));
    assert_eq!((&job["done"], &job["total"]), (&json!(1_500), &json!(1_500)), "{job}");
    assert_eq!(following(&cli, &a), users, "the first of the file is the newest");
}

#[test]
fn an_account_is_archived_restored_and_erased() {
    let cli = Cli::new();
    let (a, b, c) = (new_user(), new_user(), new_user());
    let file = cli.file("commands", &format!("follow {a} {b}\nfollow {c} {a}\nmute {b} {a}\n"));
    assert_eq!(cli.run(&["batch", &file]).0, 0);

    let answer = done(&cli, &["archive", &a]);
    assert_eq!((&answer["changed"], &answer["user_id"]), (&json!(true), &json!(a)));
    let job = &answer["job"];
    assert_eq!(
        (&job["kind"], &job["state"], &job["user_id"]),
        (&json!("archive"), &json!("done"), &json!(a))
    );
    assert_eq!((&job["done"], &job["total"]), (&json!(3), &json!(3)), "{job}");
    assert_eq!(following(&cli, &c), [""; 0]);
    let error = refused(&cli, &["follow", &c, &a]);
    assert_eq!(error["reason"], "ACCOUNT_ARCHIVED");
    assert!(error["hint"].as_str().expect("a hint").contains("restore"), "{error}");
    assert_eq!(done(&cli, &["archive", &a])["changed"], false);

    let (code, out, err) = cli.run(&["restore", &a]);
    assert_eq!(code, 0, "{err}");
    assert!(out.starts_with(&format!("changed: {a} is being restored\n")), "{out}");
    assert!(out.contains(&format!("\ndone: restore of {a}, 3 of 3 edges\njob ")), "{out}");
    assert_eq!(err, "", "no bar without a terminal");
    assert_eq!(following(&cli, &a), [b.as_str()]);
    assert_eq!(following(&cli, &c), [a.as_str()]);

    assert_eq!(cli.run(&["erase", &a]).0, 1, "without --yes nothing is done");
    assert_eq!(following(&cli, &a), [b.as_str()]);
    let answer = done(&cli, &["erase", &a, "--yes", "--no-wait"]);
    assert_eq!(answer["job"], Value::Null);
    let job_id = answer["job_id"].as_str().expect("a job");
    let job = done(&cli, &["job", job_id, "--wait"]);
    assert_eq!((&job["kind"], &job["state"], &job["done"]), (&json!("erase"), &json!("done"), &json!(3)));
    let (code, out, _) = cli.run(&["job", job_id]);
    assert_eq!(code, 0);
    assert!(out.contains("erase of"), "{out}");
    assert_eq!(following(&cli, &a), [""; 0]);
    assert_eq!(following(&cli, &c), [""; 0]);
    assert_eq!(done(&cli, &["follow", &c, &a])["changed"], true, "the id is a new one");
}

#[test]
fn a_job_that_is_not_there_is_an_error_with_advice() {
    let cli = Cli::new();
    for arguments in [&["job"][..], &["job", "--wait"]] {
        let id = new_user();
        let (code, out, err) = cli.run(&[arguments, &[&id]].concat());
        assert_eq!((code, out.as_str()), (2, ""));
        assert!(err.contains("JOB_NOT_FOUND") && err.contains("hint: use the job id"), "{err}");
    }
    assert_eq!(refused(&cli, &["job", "seven"])["reason"], "INVALID_UUID");
}
