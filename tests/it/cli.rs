//! The command line in a terminal and in scripts.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use devstack::env_file::Env;
use tests::own::binaries;
use tests::{Endpoints, new_user};

/// The built binary, with the shared pipeline and a folder of its own.
pub struct Cli {
    env: Env,
    folder: PathBuf,
}

impl Cli {
    pub fn new() -> Self {
        Self::of(Endpoints::shared())
    }

    /// With another set of servers.
    pub fn of(endpoints: Endpoints) -> Self {
        let folder = std::env::temp_dir().join(format!("followgraph-cli-{}", new_user()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let env = Env::default()
            .with("FOLLOWGRAPH_COMMAND_ADDR", endpoints.command)
            .with("FOLLOWGRAPH_QUERY_ADDR", endpoints.query)
            .with("FOLLOWGRAPH_TOKEN", endpoints.token)
            .with("DATABASE_URL", endpoints.database_url)
            .with("NEO4J_URI", endpoints.neo4j_uri)
            .with("NEO4J_USER", endpoints.neo4j_user)
            .with("NEO4J_PASSWORD", endpoints.neo4j_password);
        Self { env, folder }
    }

    /// Sets a variable of its environment.
    pub fn set(&mut self, name: &str, value: &str) {
        self.env.set(name, value);
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = devstack::services::cli(&binaries(), &self.env);
        command.args(arguments).current_dir(&self.folder).stdin(Stdio::null());
        command
    }

    /// Runs it; returns exit code, standard output and standard error.
    pub fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let Output { status, stdout, stderr } = self.command(arguments).output().expect("the CLI runs");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
        (status.code().expect("an exit code"), text(stdout), text(stderr))
    }

    /// The path of a file in its folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub fn file(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        std::fs::write(&path, text).expect("a file");
        path.display().to_string()
    }
}

impl Drop for Cli {
    fn drop(&mut self) {
        // Files left in the temporary folder do no harm.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Reads JSON, one object per line.
pub fn json(text: &str) -> Vec<serde_json::Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

#[test]
fn exit_codes_say_yes_no_and_error() {
    let cli = Cli::new();
    let (a, b) = (new_user(), new_user());
    let (code, out, _) = cli.run(&["-o", "json", "follow", &a, &b]);
    assert_eq!(code, 0);
    let answer = &json(&out)[0];
    assert_eq!((&answer["changed"], &answer["following"]), (&true.into(), &true.into()));
    let token = answer["written_at"].as_str().expect("a token").to_owned();

    let (code, out, _) = cli.run(&["check", &a, &b, "--fresh", &token]);
    assert_eq!(code, 0, "{out}");
    let (code, ..) = cli.run(&["check", &b, &a, "--consistent"]);
    assert_eq!(code, 1, "a check that is false");
    let (code, _, err) = cli.run(&["follow", &a, &a]);
    assert_eq!(code, 2);
    assert!(err.contains("SELF_EDGE") && err.contains("target_id"), "{err}");
    let (code, ..) = cli.run(&["follow", &a]);
    assert_eq!(code, 2, "a missing argument");

    let (code, out, err) = cli.run(&["-o", "json", "status"]);
    assert!(code <= 1, "{err}");
    assert!(json(&out)[0]["head"].is_object(), "{out}");
    assert!(json(&out)[0]["command_service"]["running_jobs"].is_u64(), "{out}");
    let (code, ..) = cli.run(&["recover"]);
    assert_eq!(code, 1, "without --yes nothing is done");
}

#[test]
fn an_import_keeps_the_refused_rows_and_is_idempotent() {
    let cli = Cli::new();
    let (a, b, c) = (new_user(), new_user(), new_user());
    let rows = format!("{a}\t{b}\t2020-01-01T00:00:00Z\n{a}\t{a}\nnobody\t{b}\n{a}\t{c}\t1500000000\n");
    let file = cli.file("edges.tsv", &rows);
    let (code, out, err) = cli.run(&["-o", "json", "import", &file]);
    assert_eq!(code, 1, "refused rows: {out}{err}");
    let summary = json(&out).pop().expect("a summary");
    assert_eq!(
        (&summary["accepted"], &summary["unchanged"], &summary["refused"]),
        (&2.into(), &0.into(), &2.into())
    );
    let refused = std::fs::read_to_string(cli.folder.join("edges.tsv.refused.tsv")).expect("refused rows");
    assert!(refused.contains("SELF_EDGE") && refused.contains("INVALID_UUID"), "{refused}");

    let (_, out, _) = cli.run(&["-o", "json", "import", &file]);
    let summary = json(&out).pop().expect("a summary");
    assert_eq!((&summary["accepted"], &summary["unchanged"]), (&0.into(), &2.into()));

    let (code, out, _) = cli.run(&["-o", "json", "following", &a, "--consistent"]);
    assert_eq!(code, 0);
    let listed: Vec<_> =
        json(&out).iter().map(|row| row["user_id"].as_str().expect("an id").to_owned()).collect();
    assert_eq!(listed, [b, c], "sorted by date: the newest first");
}

#[test]
fn an_export_is_what_an_import_takes() {
    let cli = Cli::new();
    let (a, b) = (new_user(), new_user());
    assert_eq!(cli.run(&["follow", &a, &b]).0, 0);
    let (code, ..) = cli.run(&["export", "all.tsv", "--format", "tsv"]);
    assert_eq!(code, 0);
    let exported = std::fs::read_to_string(cli.folder.join("all.tsv")).expect("an export");
    let ours: Vec<_> = exported.lines().filter(|line| line.contains(&a) && line.contains(&b)).collect();
    assert_eq!(ours.len(), 1, "each edge once");
    let file = cli.file("ours.tsv", &format!("{}\n", ours[0]));
    let (code, out, err) = cli.run(&["-o", "json", "import", &file]);
    assert_eq!(code, 0, "{err}");
    assert_eq!(json(&out).pop().expect("a summary")["unchanged"], 1);
}

#[test]
fn integers_stand_for_the_uuids_made_of_them() {
    let cli = Cli::new();
    let (code, out, _) = cli.run(&["-o", "json", "counts", "88"]);
    assert_eq!(code, 0);
    // UUIDv5 of "88" in the OID namespace.
    let wanted = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, b"88").to_string();
    assert_eq!(json(&out)[0]["user_id"], wanted);
}

#[test]
fn an_address_where_nobody_listens_is_an_error_with_advice() {
    let mut cli = Cli::new();
    cli.env.set("FOLLOWGRAPH_QUERY_ADDR", "127.0.0.1:1");
    let (code, _, err) = cli.run(&["check", &new_user(), &new_user()]);
    assert_eq!(code, 2);
    assert!(err.contains("FOLLOWGRAPH_QUERY_ADDR"), "{err}");
}

#[test]
fn an_address_without_host_and_port_is_refused() {
    let mut cli = Cli::new();
    let (a, b) = (new_user(), new_user());
    let good = Endpoints::shared().query;
    for (wrong, hint) in [
        (format!("http://{good}"), "scheme"),
        (format!("dns:///{good}"), "scheme"),
        (format!("{good}/"), "what follows the port"),
        ("localhost".to_owned(), "port is missing"),
        ("::1:9081".to_owned(), "brackets"),
    ] {
        let (code, _, err) = cli.run(&["check", &a, &b, "--query-addr", &wrong]);
        assert_eq!(code, 2, "{wrong}: {err}");
        assert!(err.contains("must be HOST:PORT") && err.contains(hint), "{wrong}: {err}");
    }
    let (code, _, err) = cli.run(&["check", &a, &b, "--consistent", "--tls"]);
    assert_eq!(code, 2, "{err}");
    assert!(err.contains("the port speaks clear text: leave out --tls"), "{err}");
    // Blanks around an address or a token are ignored, and an empty variable counts as unset.
    let token = Endpoints::shared().token;
    cli.set("FOLLOWGRAPH_TOKEN", &format!("\u{feff}{token}\r\n"));
    cli.set("FOLLOWGRAPH_QUERY_ADDR", &format!(" {good}\n"));
    cli.set("FOLLOWGRAPH_CA_FILE", "");
    for off in ["", "0", "no", "false"] {
        cli.set("FOLLOWGRAPH_TLS", off);
        let (code, out, err) = cli.run(&["check", &a, &b, "--consistent"]);
        assert_eq!(code, 1, "{off}: {out}{err}");
    }
    for on in ["1", "yes", "true"] {
        cli.set("FOLLOWGRAPH_TLS", on);
        let (code, _, err) = cli.run(&["check", &a, &b]);
        assert!(code == 2 && err.contains("leave out --tls"), "{on}: {err}");
    }
}

#[test]
fn a_json_list_describes_its_next_page() {
    let cli = Cli::new();
    let (a, b) = (new_user(), new_user());
    let targets: Vec<_> = (0..3).map(|_| new_user()).collect();
    for user in [&a, &b] {
        let lines: String = targets.iter().map(|target| format!("follow {user} {target}\n")).collect();
        assert_eq!(cli.run(&["batch", &cli.file("commands", &lines)]).0, 0);
    }
    let first = format!("{a}.following");
    let second = format!("{b}.following");
    for list in [&["following", &a][..], &["set", "intersection", &first, &second]] {
        let list = [&["-o", "json"], list, &["--limit", "2", "--consistent"]].concat();
        let (code, out, err) = cli.run(&list);
        assert_eq!(code, 0, "{err}");
        let mut rows = json(&out);
        let last = rows.pop().expect("a last object");
        let token = last["next_page_token"].as_str().expect("a token").to_owned();
        assert_eq!(rows.len(), 2, "{out}");
        assert!(err.contains("there are more") && err.contains(&token), "{err}");
        let (code, out, err) = cli.run(&[&list[..], &["--page-token", &token]].concat());
        assert_eq!((code, err.as_str()), (0, ""), "the end: {out}");
        rows.extend(json(&out));
        let mut listed: Vec<_> = rows.iter().map(|row| row["user_id"].as_str().expect("an id")).collect();
        listed.sort_unstable();
        let mut wanted: Vec<_> = targets.iter().map(String::as_str).collect();
        wanted.sort_unstable();
        assert_eq!(listed, wanted, "each once");
    }
    let (code, out, err) = cli.run(&["-o", "json", "check", &a, &targets[0], "--consistent", "--explain"]);
    assert_eq!(code, 0, "{err}");
    let answer = json(&out);
    assert_eq!(answer.len(), 1, "one object: {out}");
    assert_eq!(answer[0]["explanation"]["steps"][0]["store"], "postgres");
    let (_, out, _) = cli.run(&["-o", "json", "following", &a, "--consistent", "--explain"]);
    let last = json(&out).pop().expect("a last object");
    assert_eq!(last["explanations"][0]["steps"][0]["store"], "postgres", "{out}");
}
