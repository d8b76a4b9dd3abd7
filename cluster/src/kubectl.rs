//! kubectl as the cluster's administrator.

use std::{
    os::unix::process::CommandExt,
    process::{Command, ExitCode, Output, Stdio},
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::node::Node;

/// kubectl on a node.
#[derive(Debug, Clone)]
pub struct Kubectl<'a> {
    node: &'a Node,
    namespace: Option<&'a str>,
}

impl<'a> Kubectl<'a> {
    pub fn new(node: &'a Node) -> Self {
        Self { node, namespace: None }
    }

    /// For objects of a namespace.
    pub fn namespace(&self, namespace: &'a str) -> Self {
        Self { namespace: Some(namespace), ..*self }
    }

    /// The command; the caller adds arguments.
    pub fn command(&self) -> Command {
        let mut command = self.node.outside(self.node.programs.kubernetes("kubectl"));
        command.arg("--kubeconfig").arg(self.node.place.kubeconfig());
        if let Some(namespace) = self.namespace {
            command.args(["--namespace", namespace]);
        }
        command
    }

    /// Runs kubectl to its end and returns its standard output. The API server's warnings are errors.
    pub fn run(&self, arguments: &[&str]) -> Result<String> {
        let output =
            self.command().args(arguments).stdin(Stdio::null()).output().context("cannot run kubectl")?;
        checked(arguments, &output)
    }

    /// Applies manifests.
    pub fn apply(&self, manifests: &str) -> Result<String> {
        self.run_with_input(&["apply", "--filename", "-"], manifests)
    }

    /// Creates objects that do not exist.
    pub fn create(&self, manifests: &str) -> Result<String> {
        self.run_with_input(&["create", "--filename", "-"], manifests)
    }

    /// As [`Self::run`], with standard input.
    pub fn run_with_input(&self, arguments: &[&str], text: &str) -> Result<String> {
        let mut child = self
            .command()
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot run kubectl")?;
        let mut input = child.stdin.take().context("kubectl has no input")?;
        std::io::Write::write_all(&mut input, text.as_bytes())?;
        drop(input);
        checked(arguments, &child.wait_with_output()?)
    }

    /// The objects that `get` names.
    pub fn get(&self, arguments: &[&str]) -> Result<Value> {
        let arguments = [&["get", "--output", "json"], arguments].concat();
        serde_json::from_str(&self.run(&arguments)?).context("kubectl printed no JSON")
    }

    /// Becomes kubectl.
    pub fn replace_this_process(&self, arguments: &[String]) -> Result<ExitCode> {
        Err(self.command().args(arguments).exec()).context("cannot run kubectl")
    }
}

fn checked(arguments: &[&str], output: &Output) -> Result<String> {
    let errors = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        bail!("kubectl {} failed ({})\n{}", arguments.join(" "), output.status, errors.trim());
    }
    if errors.contains("Warning:") {
        bail!("kubectl {}: the API server warns\n{}", arguments.join(" "), errors.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
