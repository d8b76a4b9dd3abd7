//! Files from editors, spreadsheets and PostgreSQL, and folders that cannot be written.

use std::fs;
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;
use std::process::Stdio;

use tests::{Endpoints, new_user};

use crate::cli::{Cli, json};

const BYTE_ORDER_MARK: &str = "\u{feff}";

/// The accounts that an account follows, newest first, with dates.
fn following(cli: &Cli, user: &str) -> Vec<(String, String)> {
    let (code, out, err) = cli.run(&["-o", "json", "following", user, "--all", "--consistent"]);
    assert_eq!(code, 0, "{err}");
    let text = |value: &serde_json::Value| value.as_str().expect("a text").to_owned();
    json(&out).iter().map(|row| (text(&row["user_id"]), text(&row["created_at"]))).collect()
}

/// The names in a folder.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("the folder");
    entries.map(|entry| entry.expect("a file").file_name().into_string().expect("UTF-8")).collect()
}

/// Imports; returns exit code, summary and stderr.
fn import(cli: &Cli, arguments: &[&str]) -> (i32, serde_json::Value, String) {
    let (code, out, err) = cli.run(&[&["-o", "json", "import"], arguments].concat());
    let summary = json(&out).pop().unwrap_or_else(|| panic!("no summary (exit code {code}): {err}"));
    (code, summary, err)
}

#[test]
fn a_byte_order_mark_says_nothing_in_any_file() {
    let cli = Cli::new();
    let (a, b, c) = (new_user(), new_user(), new_user());
    let file = cli.file("commands", &format!("{BYTE_ORDER_MARK}follow {a} {b}\r\nfollow {b} {a}\r\n"));
    let (code, out, err) = cli.run(&["batch", &file]);
    assert_eq!(code, 0, "{out}{err}");
    let file = cli.file("list", &format!("{BYTE_ORDER_MARK}{c}\r\n"));
    let (code, out, err) = cli.run(&["replace-following", &a, &file]);
    assert_eq!(code, 0, "{out}{err}");
    assert_eq!(following(&cli, &a)[0].0, c);
    // On stdin, with a header in quotes.
    let text = format!("{BYTE_ORDER_MARK}\"followee_id\",\"follower_id\"\r\n\"{b}\",\"{c}\"\r\n");
    let file = fs::File::open(cli.file("edges", &text)).expect("the file");
    let output =
        cli.command(&["import", "-"]).stdin(file).stderr(Stdio::piped()).output().expect("the CLI runs");
    let err = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(output.status.success(), "{err}");
    assert!(err.contains("reading source_id from column 2 (follower_id)"), "{err}");
    assert_eq!(following(&cli, &c)[0].0, b, "the other way round would be wrong");
    let (code, out, err) = cli.run(&["check", &format!("{BYTE_ORDER_MARK}{a}"), &c, "--consistent"]);
    assert_eq!(code, 0, "{out}{err}");
}

#[test]
fn a_dump_of_postgres_is_imported_with_its_dates() {
    let cli = Cli::new();
    let users: Vec<_> = (0..5).map(|_| new_user()).collect();
    let [a, b, c, d, e] = &users[..] else { panic!("five users") };
    let rows = format!(
        "created_at,following_id,follower_id\n\
         2024-03-05 12:00:00.25+00,{b},{a}\n\
         2024-03-05 14:00:01+02,{c},{a}\n\
         2024-03-06 12:00:00,{d},{a}\n\
         1709812800,{e},{a}\n"
    );
    let (code, summary, err) = import(&cli, &[&cli.file("dump.csv", &rows)]);
    assert_eq!((code, &summary["accepted"]), (0, &4.into()), "{err}");
    assert!(err.contains("line 4 has a date without a time zone: such dates are taken as UTC"), "{err}");
    let dates = following(&cli, a);
    let wanted = [
        (e, "2024-03-07T12:00:00Z"),
        (d, "2024-03-06T12:00:00Z"),
        (c, "2024-03-05T12:00:01Z"),
        (b, "2024-03-05T12:00:00.25Z"),
    ];
    assert_eq!(dates, wanted.map(|(user, date)| (user.clone(), date.to_owned())));

    let number = |date: &str| {
        let (code, summary, err) = import(&cli, &[&cli.file("number.tsv", &format!("{b}\t{a}\t{date}\n"))]);
        assert_eq!((code, &summary["refused_by_reason"]["INVALID_TIMESTAMP"]), (1, &1.into()), "{err}");
        err
    };
    for date in ["1", "20240115", "1709812800.5", "infinity"] {
        assert!(number(date).contains(&format!("'{date}'")), "{date}");
    }
    assert!(number("1709812800000").contains("divide milliseconds by 1000"));
    assert_eq!(following(&cli, b), [], "no row was imported");
}

#[test]
fn a_header_that_is_not_understood_is_refused_before_anything_is_sent() {
    let cli = Cli::new();
    let (a, b) = (new_user(), new_user());
    let rows = format!("id,{{}}\n7,{a},{b}\n");
    let file = cli.file("who.csv", &rows.replace("{}", "who,whom"));
    let (code, out, err) = cli.run(&["import", &file]);
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(err.contains("line 1") && err.contains("'id'") && err.contains("--columns"), "{err}");
    assert!(!cli.path("who.csv.progress").exists() && !cli.path("who.csv.refused.tsv").exists());
    let (code, _, err) =
        cli.run(&["import", &cli.file("mutes.csv", &format!("muter_id,muted_id\n{a},{b}\n"))]);
    assert!(code == 2 && err.contains("--kind mute"), "{err}");
    assert_eq!(following(&cli, &a), []);
    let (code, summary, err) = import(&cli, &[&file, "--columns", "2,3"]);
    assert_eq!((code, &summary["accepted"]), (0, &1.into()), "{err}");
    assert_eq!(following(&cli, &a)[0].0, b);
    // No field of this first line is a known column name.
    let file = cli.file("rows.csv", &format!("alice,bob\n{a},{b}\n"));
    let (code, summary, err) = import(&cli, &[&file, "--columns", "1,2"]);
    assert_eq!((code, &summary["unchanged"], &summary["refused"]), (1, &1.into(), &1.into()), "{err}");
}

#[test]
fn refused_rows_are_imported_as_they_are_and_never_lost() {
    let cli = Cli::new();
    let (a, b, c) = (new_user(), new_user(), new_user());
    assert_eq!(cli.run(&["block", &c, &a]).0, 0);
    let rows = cli.file("rows", &format!("{a}\t{b}\n{a}\t{c}\t2024-03-05\n"));
    let stdin = |file: &str, arguments: &[&str]| {
        let mut command = cli.command(&[&["import", "-"], arguments].concat());
        let output = command.stdin(fs::File::open(file).expect("the file")).output().expect("the CLI runs");
        (output.status.code(), String::from_utf8(output.stderr).expect("UTF-8"))
    };
    assert_eq!(stdin(&rows, &[]).0, Some(1));
    let first = fs::read_to_string(cli.path("stdin.refused.tsv")).expect("refused rows");
    // The same rows from stdin, while they are rejected again: the only copy is kept.
    let (code, err) = stdin(&cli.path("stdin.refused.tsv").display().to_string(), &[]);
    assert_eq!(code, Some(1), "{err}");
    assert_eq!(fs::read_to_string(cli.path("stdin.refused.tsv")).expect("refused rows"), first);
    assert!(cli.path("stdin.refused.2.tsv").exists(), "{err}");
    // Stdin is that file, under whichever name the shell opened it.
    let itself = cli.path("stdin.refused.tsv").display().to_string();
    let (code, err) = stdin(&itself, &["--refused", "stdin.refused.tsv"]);
    assert!(code == Some(2) && err.contains("--refused must be another file"), "{err}");
    assert_eq!(fs::read_to_string(&itself).expect("refused rows"), first);
    assert_eq!(cli.run(&["unblock", &c, &a]).0, 0);
    let (code, summary, err) = import(&cli, &["stdin.refused.2.tsv"]);
    assert_eq!((code, &summary["accepted"]), (0, &1.into()), "{err}");
    assert_eq!(following(&cli, &a)[0], (c, "2024-03-05T00:00:00Z".to_owned()));

    let notes = cli.file("notes", "of somebody else\n");
    let (code, _, err) = cli.run(&["import", &rows, "--refused", &notes]);
    assert_eq!(code, 2, "{err}");
    assert_eq!(fs::read_to_string(&notes).expect("the notes"), "of somebody else\n");
}

#[test]
fn a_folder_that_cannot_be_written_is_found_before_anything_is_sent() {
    let cli = Cli::new();
    // Not even root can create files there, and the one row is rejected.
    let (code, out, err) = cli.run(&["import", "/proc/uptime"]);
    assert_eq!((code, out.as_str()), (2, ""), "{err}");
    assert!(err.contains("/proc/uptime.refused.tsv") && err.contains("--state-dir"), "{err}");
    let folder = cli.path("state");
    fs::create_dir(&folder).expect("a folder");
    let state_dir = ["--state-dir", folder.to_str().expect("UTF-8")];
    let (code, summary, err) = import(&cli, &[&["/proc/uptime"], &state_dir[..]].concat());
    assert_eq!((code, &summary["refused"]), (1, &1.into()), "{err}");
    let left = names(&folder);
    let [refused] = &left[..] else { panic!("the progress file is missing: {left:?}") };
    assert!(refused.starts_with("uptime.") && refused.ends_with(".refused.tsv"), "{refused}");
    // Rejected rows elsewhere are not enough: the progress could not be saved.
    let refused = cli.path("refused.tsv").display().to_string();
    let (code, _, err) = cli.run(&["import", "/proc/uptime", "--refused", &refused]);
    assert!(code == 2 && err.contains("/proc/uptime.progress"), "{err}");
}

#[test]
fn files_of_one_name_keep_their_own_refused_rows() {
    let cli = Cli::new();
    let user = new_user();
    let state = cli.path("state");
    fs::create_dir(&state).expect("a folder");
    for folder in ["a", "b"] {
        fs::create_dir(cli.path(folder)).expect("a folder");
        let file = cli.file(&format!("{folder}/part.tsv"), &format!("{user}\t{user}\n"));
        let (code, summary, err) = import(&cli, &[&file, "--state-dir", "state"]);
        assert_eq!((code, &summary["refused"]), (1, &1.into()), "{err}");
    }
    assert_eq!(names(&state).len(), 2, "{:?}", names(&state));
}

#[test]
fn a_pipe_is_imported_as_stdin_is() {
    let cli = Cli::new();
    let (a, b) = (new_user(), new_user());
    let pipe = cli.path("rows.tsv");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.expect("mkfifo runs").success());
    let writer = {
        let (pipe, rows) = (pipe.clone(), format!("{a}\t{b}\n{a}\t{a}\n"));
        std::thread::spawn(move || fs::write(pipe, rows))
    };
    let (code, summary, err) = import(&cli, &["rows.tsv"]);
    writer.join().expect("the writer ends").expect("the rows are read");
    assert_eq!((code, &summary["accepted"], &summary["refused"]), (1, &1.into(), &1.into()), "{err}");
    assert_eq!(summary["refused_file"], "stdin.refused.tsv");
    assert!(fs::metadata(&pipe).expect("the pipe").file_type().is_fifo());
    assert_eq!(following(&cli, &a)[0].0, b);
}

#[test]
fn devices_take_refused_rows_and_exports() {
    let cli = Cli::new();
    let user = new_user();
    let file = cli.file("edges.tsv", &format!("{user}\t{user}\n"));
    // Our own pipe in place of /dev/null: run as root, a bug would remove that.
    let pipe = cli.path("refused");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.expect("mkfifo runs").success());
    let reader = |pipe: &std::path::Path| {
        let pipe = pipe.to_owned();
        std::thread::spawn(move || fs::read_to_string(pipe).expect("the pipe is read"))
    };
    let refused = reader(&pipe);
    let (code, summary, err) = import(&cli, &[&file, "--refused", "refused"]);
    assert_eq!((code, &summary["refused"]), (1, &1.into()), "{err}");
    let refused = refused.join().expect("an end");
    assert!(refused.contains("SELF_EDGE") && refused.starts_with("line\treason"), "{refused}");
    let exported = reader(&pipe);
    let (code, _, err) = cli.run(&["export", "refused", "--kind", "block"]);
    assert_eq!(code, 0, "{err}");
    assert!(exported.join().expect("an end").starts_with("source_id\ttarget_id\t"));
    assert!(fs::metadata(&pipe).expect("the pipe").file_type().is_fifo());
    let (code, out, err) = cli.run(&["-o", "json", "export", "/dev/stdout", "--kind", "block"]);
    assert_eq!(code, 0, "{err}");
    assert!(!out.contains("from_revision") && err.contains("from_revision"), "{out}{err}");
}

#[test]
fn resuming_with_another_refused_file_or_reader_starts_over() {
    let cli = Cli::new();
    let user = new_user();
    let rows = format!("{user}\t{user}\n");
    let file = cli.file("edges.tsv", &rows);
    let (code, _, err) = import(&cli, &[&file, "--refused", "first.tsv"]);
    assert_eq!(code, 1, "{err}");
    let first = fs::read_to_string(cli.path("first.tsv")).expect("refused rows");
    let notes = cli.file("notes", "of somebody else\n");
    // The progress file of an import that was interrupted after its first chunk.
    let metadata = fs::metadata(&file).expect("the file");
    let modified =
        metadata.modified().expect("a time").duration_since(std::time::UNIX_EPOCH).expect("since 1970");
    let note = |arguments: &str| {
        serde_json::json!({
            "version": 1,
            "identity": {
                "size": metadata.len(),
                "modified_nanos": modified.as_nanos() as u64,
                "command_addr": Endpoints::shared().command,
                "arguments": arguments,
            },
            "done": {
                "chunks": 1, "lines": 1, "accepted": 0, "unchanged": 0, "refused": 1,
                "refused_bytes": first.len(), "refused_file": cli.path("first.tsv").display().to_string(),
                "written_at": "", "elapsed": {"secs": 1, "nanos": 0},
            },
        })
        .to_string()
    };
    let arguments = "Follow None Skip no_sort=false lines=1000";
    let progress = cli.file("edges.tsv.progress", &note(&format!("{arguments} reader=2")));
    let (code, _, err) = cli.run(&["import", &file, "--refused", &notes]);
    assert!(code == 2 && err.contains("starting over") && err.contains("it is another file"), "{err}");
    assert_eq!(fs::read_to_string(&notes).expect("the notes"), "of somebody else\n");
    let (code, summary, err) = import(&cli, &[&file, "--refused", "first.tsv"]);
    assert_eq!((code, &summary["resumed"], &summary["refused"]), (1, &true.into(), &1.into()), "{err}");
    assert_eq!(fs::read_to_string(cli.path("first.tsv")).expect("refused rows"), first);
    // A version with another reader counted other rows.
    cli.file("edges.tsv.progress", &note(arguments));
    let (code, summary, err) = import(&cli, &[&file, "--refused", "first.tsv"]);
    assert_eq!((code, &summary["resumed"], &summary["refused"]), (1, &false.into(), &1.into()), "{err}");
    // A file that only has the name of a progress file is not replaced either.
    fs::write(&progress, "of somebody else\n").expect("a file");
    let (code, _, err) = cli.run(&["import", &file, "--restart"]);
    assert!(code == 2 && err.contains("it is another file"), "{err}");
    assert_eq!(fs::read_to_string(&progress).expect("the notes"), "of somebody else\n");
}

#[test]
fn a_dry_run_reads_everything_and_sends_nothing() {
    let cli = Cli::new();
    let (a, b) = (new_user(), new_user());
    let file = cli.file("edges.tsv", &format!("{a}\t{b}\n{a}\t{a}\n{a}\t{b}\t2024\n"));
    let (code, findings, err) = import(&cli, &[&file, "--dry-run"]);
    assert_eq!((code, &findings["edges"], &findings["refused"]), (1, &1.into(), &2.into()), "{err}");
    assert!(err.contains("line 3 is refused: created_at must not be the number '2024'"), "{err}");
    assert_eq!(following(&cli, &a), []);
    assert!(!cli.path("edges.tsv.refused.tsv").exists());
}

#[test]
fn a_quote_over_several_lines_is_refused() {
    let cli = Cli::new();
    let users: Vec<_> = (0..6).map(|_| new_user()).collect();
    let [a, b, c, d, e, f] = &users[..] else { panic!("six users") };
    let rows = format!("{a},{b},2024-01-01,\"hello\n{c},{d}\nbye\"\n{e},{f}\n");
    let (code, summary, err) = import(&cli, &[&cli.file("notes.csv", &rows), "--columns", "1,2,3"]);
    assert_eq!((code, &summary["refused_by_reason"]["SEVERAL_LINES"]), (1, &1.into()), "{err}");
    assert_eq!((following(&cli, c), following(&cli, e).len()), (Vec::new(), 1));
    let refused = fs::read_to_string(cli.path("notes.csv.refused.tsv")).expect("refused rows");
    assert!(refused.contains("\n1\tSEVERAL_LINES\t") && refused.lines().count() == 2, "{refused}");

    let list = cli.file("list", &format!("# whom to follow\r{a}\r{b}\r"));
    let (code, _, err) = cli.run(&["replace-following", e, &list, "--allow-empty"]);
    assert!(code == 2 && err.contains("CR alone"), "{err}");
    assert_eq!(following(&cli, e).len(), 1, "nothing has ended");
    let utf_16: Vec<u8> = format!("{a}\t{b}\n").encode_utf16().flat_map(u16::to_le_bytes).collect();
    fs::write(&list, utf_16).expect("a file");
    let (code, _, err) = cli.run(&["import", &list]);
    assert!(code == 2 && err.contains("UTF-16LE"), "{err}");
}

#[test]
fn mutes_are_exported_as_csv_with_their_ends() {
    let cli = Cli::new();
    let (a, b, c) = (new_user(), new_user(), new_user());
    assert_eq!(cli.run(&["mute", &a, &b, "--until", "2031-01-01"]).0, 0);
    assert_eq!(cli.run(&["mute", &a, &c]).0, 0);
    let (code, out, err) = cli.run(&["-o", "json", "export", "all.csv", "--kind", "mute"]);
    assert_eq!(code, 0, "{err}");
    assert!(json(&out)[0]["from_revision"].is_u64(), "{out}");
    let exported = fs::read_to_string(cli.path("all.csv")).expect("an export");
    let mut lines = exported.lines();
    assert_eq!(lines.next(), Some("source_id,target_id,created_at,expires_at"));
    let ours: Vec<_> = lines.filter(|line| line.starts_with(&a)).collect();
    assert_eq!(ours.len(), 2);
    for line in &ours {
        assert_eq!(line.split(',').count(), 4, "{line}");
        assert_eq!(line.ends_with(",2031-01-01T00:00:00Z"), line.contains(&b), "{line}");
    }
    let file =
        cli.file("ours.csv", &format!("source_id,target_id,created_at,expires_at\n{}\n", ours.join("\n")));
    let (code, summary, err) = import(&cli, &[&file, "--kind", "mute"]);
    assert_eq!((code, &summary["unchanged"]), (0, &2.into()), "{err}");
    let (code, out, err) = cli.run(&["-o", "json", "export", "--kind", "mute", "--format", "csv"]);
    assert_eq!(code, 0);
    assert!(ours.iter().all(|line| out.contains(line)), "{ours:?}");
    assert!(json(&err)[0]["from_revision"].is_u64(), "{err}");
}
