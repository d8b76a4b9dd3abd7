//! The command line with a closed stdout or stderr: verbs that write finish and report it, verbs that read end
//! silently.

use std::io::pipe;
use std::process::{Command, Stdio};

use tests::new_user;

use crate::cli::{Cli, json};

/// Runs a command whose stdout is a pipe without a reader; returns exit code and stderr.
fn unread(mut command: Command) -> (i32, String) {
    let (reader, writer) = pipe().expect("a pipe");
    drop(reader);
    outcome(command.stdout(writer))
}

fn outcome(command: &mut Command) -> (i32, String) {
    let output =
        command.stderr(Stdio::piped()).spawn().expect("the CLI runs").wait_with_output().expect("an end");
    (output.status.code().expect("an exit code"), String::from_utf8(output.stderr).expect("UTF-8"))
}

fn count(cli: &Cli, user: &str) -> u64 {
    let (code, out, err) = cli.run(&["-o", "json", "counts", user, "--consistent"]);
    assert_eq!(code, 0, "{err}");
    json(&out)[0]["following"].as_u64().expect("a number")
}

fn follows(actor: &str, number: usize) -> String {
    (0..number).map(|_| format!("follow {actor} {}\n", new_user())).collect()
}

#[test]
fn a_batch_finishes_after_its_output_is_closed() {
    let cli = Cli::new();
    for (arguments, number) in [(&["batch"][..], 601), (&["-o", "json", "batch"], 301)] {
        let actor = new_user();
        let file = cli.file("commands", &follows(&actor, number));
        let (code, err) = unread(cli.command(&[arguments, &[&file]].concat()));
        assert_eq!(code, 2, "{err}");
        assert!(
            err.contains(&format!("{number} commands: {number} changed, 0 unchanged, 0 failed")),
            "{err}"
        );
        assert!(err.contains("results from line 1 on were not printed"), "{err}");
        assert!(err.contains("cannot write to stdout"), "{err}");
        assert_eq!(count(&cli, &actor), number as u64);
    }
    let actor = new_user();
    let file = cli.file("commands", &follows(&actor, 301));
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("a full disk");
    let (code, err) = outcome(cli.command(&["batch", &file]).stdout(full));
    assert_eq!(code, 2, "{err}");
    assert!(err.contains("301 commands: 301 changed") && err.contains("No space left"), "{err}");
    assert_eq!(count(&cli, &actor), 301);
}

#[test]
fn the_answer_of_a_command_goes_to_stderr_if_stdout_is_gone() {
    let cli = Cli::new();
    let (a, b) = (new_user(), new_user());
    let (code, err) = unread(cli.command(&["follow", &a, &b]));
    assert_eq!(code, 2, "{err}");
    assert!(err.starts_with(&format!("changed: {a} follows {b}")) && err.contains("token "), "{err}");
    let (code, err) = unread(cli.command(&["-o", "json", "archive", &a]));
    assert_eq!(code, 2, "{err}");
    let answer = &json(&err)[0];
    assert_eq!((&answer["command"], &answer["job"]["state"]), (&"archive".into(), &"done".into()), "{err}");
    let file = cli.file("edges.tsv", &format!("{b}\t{}\n", new_user()));
    let (code, err) = unread(cli.command(&["import", &file]));
    assert_eq!(code, 2, "{err}");
    assert!(err.contains("accepted   1\n"), "{err}");
    assert!(!cli.path("edges.tsv.progress").exists());
    let (code, err) = unread(cli.command(&["migrate"]));
    assert_eq!(code, 2, "{err}");
    assert!(err.contains("PostgreSQL: up to date") && err.contains("Neo4j: all constraints"), "{err}");
}

#[test]
fn commands_that_only_read_end_quietly() {
    let cli = Cli::new();
    let (a, b) = (new_user(), new_user());
    let (code, out, _) = cli.run(&["-o", "json", "follow", &a, &b]);
    assert_eq!(code, 0);
    let token = json(&out)[0]["written_at"].as_str().expect("a token").to_owned();
    for arguments in [
        &["followers", &b, "--consistent"][..],
        &["-o", "json", "following", &a, "--all", "--consistent"],
        &["check", &a, &b, "--consistent"],
        &["export", "--kind", "block"],
        &["relationship", &a, &b, "--consistent"],
    ] {
        assert_eq!(unread(cli.command(arguments)), (0, String::new()), "{arguments:?}");
    }
    let (code, err) = unread(cli.command(&["check", &b, &a, "--consistent"]));
    assert_eq!((code, err.as_str()), (1, ""), "the exit code is the answer");
    // A watch notices it at the first event, of which there is one after the state before it.
    assert_eq!(cli.run(&["follow", &b, &a]).0, 0);
    assert_eq!(unread(cli.command(&["watch", "--after", &token])), (0, String::new()));
}

#[test]
fn a_closed_stderr_fails_no_command() {
    let cli = Cli::new();
    let (a, b) = (new_user(), new_user());
    let (reader, writer) = pipe().expect("a pipe");
    drop(reader);
    let mut command = cli.command(&["follow", &a, &b]);
    let copy = writer.try_clone().expect("a copy");
    let status = command.stdout(copy).stderr(writer).status().expect("the CLI runs");
    assert_eq!(status.code(), Some(2));
    assert_eq!(count(&cli, &a), 1);
}
