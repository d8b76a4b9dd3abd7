//! The example subscriber as a child process, and its database file.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use devstack::python::Python;
use devstack::workspace;
use tests::{LIMIT, new_user};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout};
use tokio::task::block_in_place;

use super::tables::Tables;

/// Prints the tables of the database file as JSON.
const DUMP: &str = "
import json, sqlite3, sys
db = sqlite3.connect(sys.argv[1])
tables = ('edges', 'counts', 'accounts', 'checkpoint')
print(json.dumps({table: db.execute('SELECT * FROM ' + table).fetchall() for table in tables}))";

/// The example with a database file of its own.
pub struct Subscriber {
    python: Python,
    folder: PathBuf,
    env: [(&'static str, String); 3],
}

impl Subscriber {
    pub fn new(query: &str, token: &str, nats: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("followgraph-subscriber-{}", new_user()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let python = block_in_place(|| Python::with_packages(&example().join("requirements.txt")))
            .unwrap_or_else(|error| panic!("the example in Python cannot run here: {error:#}"));
        let env = [
            ("FOLLOWGRAPH_QUERY_ADDR", query.to_owned()),
            ("FOLLOWGRAPH_TOKEN", token.to_owned()),
            ("NATS_URL", nats.to_owned()),
        ];
        Self { python, folder, env }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.python.command();
        command.arg(example().join("subscriber.py")).arg("--database").arg(self.database());
        command.args(arguments).envs(self.env.clone()).current_dir(&self.folder).stdin(Stdio::null());
        command
    }

    fn database(&self) -> PathBuf {
        self.folder.join("graph.sqlite")
    }

    /// Runs it to its end; returns exit code, standard output and standard error.
    pub async fn run(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        let mut command = tokio::process::Command::from(self.command(arguments));
        let ended = tokio::time::timeout(LIMIT, command.kill_on_drop(true).output()).await;
        let Output { status, stdout, stderr } = ended.expect("it ends").expect("Python runs");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
        (status.code(), text(stdout), text(stderr))
    }

    pub fn script(&self, script: &str, arguments: &[&str]) -> Vec<u8> {
        let mut command = self.python.command();
        command.args(["-c", script]).arg(self.database()).args(arguments);
        let output = command.output().expect("Python runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    pub fn tables(&self) -> Tables {
        Tables::of_json(&self.script(DUMP, &[]))
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        // Files left in the temporary folder do no harm.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// The folder of the example.
pub fn example() -> PathBuf {
    workspace::root().join("examples/python-subscriber")
}

/// A subscriber that runs until it is killed.
pub struct Running {
    pub child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Running {
    pub fn start(subscriber: &Subscriber) -> Self {
        let mut command = tokio::process::Command::from(subscriber.command(&[]));
        let mut child = command.stdout(Stdio::piped()).kill_on_drop(true).spawn().expect("Python runs");
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        Self { child, lines }
    }

    /// Waits until it prints a line with this prefix; returns the number that follows.
    pub async fn says(&mut self, beginning: &str) -> u64 {
        let found = async {
            while let Some(line) = self.lines.next_line().await.expect("UTF-8") {
                if let Some(rest) = line.strip_prefix(beginning) {
                    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
                    return digits.parse().expect("a number");
                }
            }
            panic!("the subscriber has ended and never said {beginning:?}");
        };
        tokio::time::timeout(LIMIT, found).await.unwrap_or_else(|_| panic!("it never says {beginning:?}"))
    }
}
