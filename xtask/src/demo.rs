//! `cargo xtask demo`: starts the stack, imports a generated graph, and shows calls of the CLI with their output.

use std::{
    process::{ExitCode, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use devstack::{graph, process::describe, services, status, workspace};
use serde_json::Value;
use uuid::Uuid;

use crate::{
    child,
    signals::Interrupt,
    stack::{Options, Stack},
    up,
};

/// An account that is not in the graph.
const NEWCOMER: &str = "100001";
/// Another one, for calls that are not shown.
const HIDDEN_NEWCOMER: &str = "100002";
/// How the CLI maps integers to UUIDs.
const INTEGER_NAMESPACE: Uuid = Uuid::NAMESPACE_OID;
/// How long the read model may lag behind the import.
const CATCH_UP: Duration = Duration::from_secs(300);

/// Starts the stack and shows the calls. Stops it, or runs until Ctrl-C with `keep`.
pub fn run(options: Options, keep: bool, interrupt: &Interrupt) -> Result<ExitCode> {
    let mut stack = Stack::start(options, interrupt)?;
    show_calls(&stack, interrupt)?;
    stack.check_alive()?;
    println!();
    stack.print_endpoints();
    print_grpcurl(&stack);
    if keep {
        return up::wait(&mut stack, interrupt);
    }
    eprintln!("\nstopping (the data is kept in .dev; `--keep` or `cargo xtask up` keep it running)");
    Ok(ExitCode::SUCCESS)
}

fn show_calls(stack: &Stack, interrupt: &Interrupt) -> Result<()> {
    let cli = |arguments: &[&str]| show(stack, arguments, interrupt);
    let celebrity = graph::CELEBRITY.to_string();
    let celebrity = celebrity.as_str();

    title(&format!(
        "A generated graph: {} follows among {} accounts; account {celebrity} has {} followers",
        graph::EDGES,
        graph::ACCOUNTS,
        graph::CELEBRITY_FOLLOWERS
    ));
    let file = workspace::dev().join("demo-graph.tsv");
    graph::write(&file)?;
    let path = file.to_str().context("the path of this clone is not UTF-8")?;
    cli(&["import", path])?;
    wait_for_neo4j(stack, interrupt)?;
    warm_up(stack, celebrity)?;

    title("A new account follows");
    cli(&["follow", NEWCOMER, celebrity])?;
    title("Read your write: `--fresh` takes the revision token of a write");
    let token = token_of(stack, &["follow", NEWCOMER, "2"])?;
    cli(&["check", NEWCOMER, "2", "--fresh", &token])?;
    title("Several checks at once (the exit code is 1 if an answer is no)");
    cli(&["check", NEWCOMER, celebrity, "2", "3"])?;
    title("The newest followers");
    cli(&["followers", celebrity, "--limit", "5"])?;
    title("Counts");
    cli(&["counts", celebrity, "2", NEWCOMER])?;
    title("Unfollow");
    cli(&["unfollow", NEWCOMER, "2"])?;
    let token = token_of(stack, &["unfollow", NEWCOMER, celebrity])?;
    cli(&["check", NEWCOMER, celebrity, "--fresh", &token])?;
    title("Status of the pipeline");
    cli(&["status"])?;
    Ok(())
}

fn title(text: &str) {
    println!("\n# {text}");
}

/// Shows a command line and its output. Exit code 1 is the answer no.
fn show(stack: &Stack, arguments: &[&str], interrupt: &Interrupt) -> Result<ExitStatus> {
    println!("$ followgraph {}", arguments.join(" "));
    let mut command = services::cli(&stack.binaries, stack.client_env());
    command.args(arguments);
    let status = child::status(command, interrupt)?;
    if !matches!(status.code(), Some(0 | 1)) {
        bail!(
            "`followgraph {}` failed: {}\nwhat to do: read its message above and the logs in {}",
            arguments.join(" "),
            describe(status),
            stack.servers.root().join("logs").display()
        );
    }
    Ok(status)
}

/// Runs a write without showing it and returns its revision token.
fn token_of(stack: &Stack, arguments: &[&str]) -> Result<String> {
    let answer = run_quietly(stack, arguments)?;
    answer["written_at"].as_str().map(str::to_owned).context("the output of a write has no token")
}

/// Runs the CLI without showing it and returns its output; of a list, the first row.
fn run_quietly(stack: &Stack, arguments: &[&str]) -> Result<Value> {
    let output = services::cli(&stack.binaries, stack.client_env())
        .args(arguments)
        .args(["-o", "json"])
        .stdin(Stdio::null())
        .output()
        .context("cannot run followgraph")?;
    if !matches!(output.status.code(), Some(0 | 1)) {
        bail!("`followgraph {}` failed: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
    }
    let row = output.stdout.split(|byte| *byte == b'\n').next().unwrap_or_default();
    serde_json::from_slice(row).context("the output of followgraph is not JSON")
}

/// Waits until Neo4j serves reads at the head. PostgreSQL is at the head when the import ends.
fn wait_for_neo4j(stack: &Stack, interrupt: &Interrupt) -> Result<()> {
    let begun = Instant::now();
    loop {
        interrupt.check()?;
        let answer = run_quietly(stack, &["status"])?;
        if status::has_caught_up(&answer) {
            println!("Neo4j has caught up after {:.1} s", begun.elapsed().as_secs_f64());
            return Ok(());
        }
        if begun.elapsed() > CATCH_UP {
            bail!(
                "Neo4j still lags behind the import after {} s\n{}\nwhat to do: read the projector's log in {}",
                CATCH_UP.as_secs(),
                answer,
                stack.servers.root().join("logs").display()
            );
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Runs each kind of call a few times before it is shown: Neo4j plans a query at its first run, and the JVM is cold,
/// which takes longer than the query.
fn warm_up(stack: &Stack, celebrity: &str) -> Result<()> {
    println!("(warming up: each kind of call runs a few times, so that Neo4j has planned its queries)");
    for _ in 0..5 {
        for write in ["follow", "unfollow"] {
            let token = token_of(stack, &[write, HIDDEN_NEWCOMER, celebrity])?;
            run_quietly(stack, &["check", HIDDEN_NEWCOMER, celebrity, "--fresh", &token])?;
        }
        run_quietly(stack, &["check", celebrity, "2", "3", "4"])?;
        run_quietly(stack, &["followers", celebrity, "--limit", "5"])?;
        run_quietly(stack, &["counts", celebrity, "2", "3"])?;
    }
    Ok(())
}

fn print_grpcurl(stack: &Stack) {
    let id = |integer: u64| Uuid::new_v5(&INTEGER_NAMESPACE, integer.to_string().as_bytes());
    // The answer is yes for the newest follower.
    let edges = graph::edges();
    let newest = edges.iter().rev().find(|edge| edge.followed == graph::CELEBRITY);
    let follower = newest.map_or(graph::ACCOUNTS, |edge| edge.follower);
    println!(
        "\nThe same with grpcurl, which nothing else needs:\n  \
         grpcurl -plaintext -H 'authorization: Bearer {}' \\\n    \
         -d '{{\"viewer_id\": \"{}\", \"target_id\": \"{}\"}}' \\\n    \
         127.0.0.1:{} followgraph.query.v1.QueryService/Check",
        stack.servers.secrets.token,
        id(follower),
        id(graph::CELEBRITY),
        stack.servers.ports.query,
    );
}
