//! grpcurl as a child process.

use std::path::PathBuf;
use std::process::{Output, Stdio};

use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::task::block_in_place;

use super::LIMIT;

/// The program with a token.
pub struct Grpcurl {
    program: PathBuf,
    token: String,
}

impl Grpcurl {
    pub fn install(token: &str) -> Self {
        let program = block_in_place(devstack::grpcurl::program)
            .unwrap_or_else(|error| panic!("grpcurl cannot run here: {error:#}"));
        Self { program, token: token.to_owned() }
    }

    async fn run(&self, arguments: &[&str], input: &str) -> Output {
        let mut command = Command::new(&self.program);
        command
            .arg("-plaintext")
            .args(arguments)
            .env("FOLLOWGRAPH_TOKEN", &self.token)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().expect("grpcurl runs");
        let mut stdin = child.stdin.take().expect("a pipe");
        // It may end before it has read all input; then its exit code tells.
        let _ = stdin.write_all(input.as_bytes()).await;
        drop(stdin);
        let ended = tokio::time::timeout(LIMIT, child.wait_with_output()).await;
        ended.expect("it ends").expect("grpcurl runs")
    }

    async fn run_call(&self, address: &str, method: &str, messages: &[Value]) -> Output {
        let input: String = messages.iter().map(Value::to_string).collect();
        // Pass the token in the environment, as users should: all users of the machine can read arguments.
        let token = "authorization: Bearer ${FOLLOWGRAPH_TOKEN}";
        self.run(&["-expand-headers", "-H", token, "-d", "@", address, method], &input).await
    }

    /// Its output.
    pub async fn text(&self, arguments: &[&str]) -> String {
        success(self.run(arguments, "").await, arguments)
    }

    /// Calls a method; returns its messages.
    pub async fn call(&self, address: &str, method: &str, messages: &[Value]) -> Vec<Value> {
        let text = success(self.run_call(address, method, messages).await, &[method]);
        let messages: Result<_, _> = serde_json::Deserializer::from_str(&text).into_iter().collect();
        messages.expect("JSON")
    }

    /// Calls a method that must fail; returns the output of grpcurl.
    pub async fn refused(&self, address: &str, method: &str, messages: &[Value]) -> String {
        let output = self.run_call(address, method, messages).await;
        assert!(!output.status.success(), "{method} took {messages:?}");
        String::from_utf8(output.stderr).expect("UTF-8")
    }
}

fn success(output: Output, arguments: &[&str]) -> String {
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {}\n{error}", output.status);
    String::from_utf8(output.stdout).expect("UTF-8")
}
