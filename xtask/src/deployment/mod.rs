//! Checks what would be deployed, without a cluster and without a container engine.
//!
//! It renders the overlays of `k8s/` and runs other projects' checkers and our own [`rules`] on them. A mistake in a
//! manifest is a line of the [`Report`]; a checker that does not run is an error.

mod rules;
mod tools;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};
use devstack::{process::complete, workspace};
use serde::Deserialize;
use serde_json::{Value, json};

pub use tools::Tools;

use rules::{Contract, Strictness};

/// The oldest Kubernetes that the manifests support.
const KUBERNETES: &str = "1.33";
/// Every overlay.
const OVERLAYS: [(&str, Strictness); 2] =
    [("dev", Strictness::Throwaway), ("production", Strictness::Production)];
/// The script that prints the Secrets of the overlay `production`.
const SECRETS: &str = "k8s/overlays/production/secrets.sh";
/// Network policies for a site to copy.
const EXAMPLES: &str = "k8s/examples/clients.yaml";
/// Tests of kube-score that do not apply.
const SKIPPED: [&str; 3] = [
    // Tags do not move, so a node has the image that it would pull.
    "container-image-pull-policy",
    // Root file systems are read-only, and volumes have limits.
    "container-ephemeral-storage-request-and-limit",
    // Third-party images run as the user that they are built for.
    "container-security-context-user-group-id",
];
/// Tests that do not apply to a throwaway overlay: it has one pod of each and no network policy.
const SKIPPED_IF_THROWAWAY: [&str; 2] = ["deployment-replicas", "pod-networkpolicy"];

/// The result of a check.
#[derive(Debug, Default)]
pub struct Report {
    /// What was checked, one line each.
    pub checked: Vec<String>,
    /// One line each; empty if there are none.
    pub problems: Vec<String>,
}

impl Report {
    fn add(&mut self, name: &str, documents: &[Value], problems: Vec<String>) {
        self.problems.extend(problems.into_iter().map(|problem| format!("{name}: {problem}")));
        self.checked.push(match documents.len() {
            0 | 1 => name.to_owned(),
            count => format!("{name}, {count} documents"),
        });
    }
}

#[derive(Deserialize)]
struct Validated {
    documents: Vec<Value>,
    problems: Vec<String>,
}

/// Checks every overlay, the Secrets script, the examples, compose.yaml and the Dockerfile.
pub fn check(tools: &Tools) -> Result<Report> {
    let root = workspace::root();
    let contract = Contract::read()?;
    let scratch = tempfile::tempdir().context("cannot create a temporary folder")?;
    let mut report = Report::default();

    let mut rendered = Vec::new();
    for (overlay, _) in OVERLAYS {
        let file = scratch.path().join(format!("{overlay}.yaml"));
        let folder = root.join("k8s/overlays").join(overlay);
        complete(Command::new(&tools.kustomize).arg("build").arg(&folder).arg("--output").arg(&file))
            .with_context(|| format!("cannot render {}", folder.display()))?;
        rendered.push(file);
    }
    let compose = root.join("compose.yaml");
    let secrets = scratch.path().join("secrets.yaml");
    fs::write(&secrets, made_secrets(&root)?)?;
    let examples = root.join(EXAMPLES);
    let validated =
        validate(tools, &[&rendered[..], &[secrets.clone(), examples.clone()]].concat(), &compose)?;
    let of_file = |file: &Path| validated.get(&shown(file)).context("validate.py left out a file");
    let made = of_file(&secrets)?;
    for (name, found) in [(SECRETS, made), (EXAMPLES, of_file(&examples)?)] {
        report.add(name, &found.documents, found.problems.clone());
    }
    for ((overlay, strictness), file) in OVERLAYS.into_iter().zip(&rendered) {
        let found = of_file(file)?;
        let mut problems = found.problems.clone();
        problems.extend(rules::manifests(&found.documents, strictness, &contract));
        problems.extend(nats_configuration(tools, &found.documents, &scratch.path().join(overlay))?);
        problems.extend(score(tools, file, strictness)?);
        if strictness == Strictness::Production {
            problems.extend(rules::secrets_made(&found.documents, &made.documents));
        }
        report.add(&format!("overlay {overlay}"), &found.documents, problems);
    }

    let found = of_file(&compose)?;
    let problems = [found.problems.clone(), rules::compose(&found.documents, &contract)].concat();
    report.add("compose.yaml", &found.documents, problems);

    let output =
        output(Command::new(&tools.hadolint).arg("--no-color").arg("Dockerfile").current_dir(&root))?;
    let problems = rules::dockerfile(&workspace::read("Dockerfile")?, &contract);
    report.problems.extend(output.text.lines().map(str::to_owned));
    report.add("Dockerfile", &[], problems);
    Ok(report)
}

/// The Secrets that the script prints, including those for clients of the older API.
fn made_secrets(root: &Path) -> Result<Vec<u8>> {
    let mut command = Command::new("sh");
    let output = complete(command.arg(root.join(SECRETS)).env("LEGACY_TOKEN", "stand-in"));
    Ok(output.with_context(|| format!("{SECRETS} failed"))?.stdout)
}

fn validate(tools: &Tools, manifests: &[PathBuf], compose: &Path) -> Result<BTreeMap<String, Validated>> {
    let request = json!({
        "kubernetes": KUBERNETES,
        "crds": tools.definitions,
        "manifests": manifests,
        "compose": [compose],
        "compose_schema": tools.compose_schema,
    });
    let script = workspace::root().join("xtask/src/deployment/validate.py");
    let output = complete(tools.python.command().arg(script).arg(request.to_string()))
        .context("validate.py failed")?;
    serde_json::from_slice(&output.stdout).context("cannot read the output of validate.py")
}

/// Findings of kube-score.
fn score(tools: &Tools, file: &Path, strictness: Strictness) -> Result<Vec<String>> {
    let more = if strictness == Strictness::Throwaway { &SKIPPED_IF_THROWAWAY[..] } else { &[] };
    let output = output(
        Command::new(&tools.kube_score)
            .args(["score", "--output-format", "ci", "--ignore-container-cpu-limit"])
            .args(["--kubernetes-version", &format!("v{KUBERNETES}")])
            .args(["--ignore-test", &[&SKIPPED[..], more].concat().join(",")])
            .arg(file),
    )?;
    let found: Vec<String> = output
        .text
        .lines()
        .filter(|line| !line.starts_with("[OK]") && !line.contains("SKIPPED"))
        .map(str::to_owned)
        .collect();
    if found.is_empty() && !output.succeeded {
        bail!("kube-score failed");
    }
    Ok(found)
}

/// Errors of nats-server in its configuration.
fn nats_configuration(tools: &Tools, documents: &[Value], folder: &Path) -> Result<Vec<String>> {
    let Some(files) = rules::config_map(documents, "nats") else { return Ok(Vec::new()) };
    fs::create_dir_all(folder)?;
    let mut command = Command::new(&tools.nats_server);
    command.args(["-t", "-c", "nats.conf"]).env("POD_NAME", "nats-0").current_dir(folder);
    for (name, text) in files {
        let text = text.as_str().unwrap_or_default();
        fs::write(folder.join(name), text)?;
        command.envs(rules::password_variables(text).map(|variable| (variable, "stand-in")));
    }
    let output = output(&mut command)?;
    Ok(if output.succeeded { Vec::new() } else { vec![format!("ConfigMap/nats: {}", output.text.trim())] })
}

struct Output {
    succeeded: bool,
    text: String,
}

fn output(command: &mut Command) -> Result<Output> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("cannot run {name}"))?;
    let text = [output.stdout, output.stderr].concat();
    Ok(Output { succeeded: output.status.success(), text: String::from_utf8_lossy(&text).into_owned() })
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
