//! `compose.yaml` as a whole, by Docker Compose: the health checks order the start and pass, and a restart and a kill of each
//! store are survived.

use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::{
    cluster::{Cluster, output, until},
    docker::Docker,
    images::Images,
    manifests::text,
};

/// The overlays name the same version of the same server.
const RENAMED: (&str, &str) = ("docker.io/library/nats:2.15.1", "docker.io/library/nats:2.15.1-alpine");
const STORES: [&str; 3] = ["postgres", "nats", "neo4j"];
const SERVICES: [&str; 3] = ["command-service", "projector", "query-service"];
const TOKEN: &str = "tokenofthischeck";
/// Everything starts on two processors.
const LIMIT: Duration = Duration::from_secs(300);

pub fn compose(cluster: &mut Cluster) -> Result<Vec<String>> {
    let mut docker = Docker::start(&cluster.node)?;
    docker.set("FOLLOWGRAPH_PASSWORD", "password1");
    docker.set("FOLLOWGRAPH_TOKEN", TOKEN);
    load(cluster, &docker)?;
    let begun = Instant::now();
    output(docker.compose().args(["up", "--detach", "--no-build", "--pull=never"]))?;
    let started = begun.elapsed();
    until(LIMIT, || healthy(&docker))?;
    let program = cluster.binaries.join("followgraph");
    until(LIMIT, || call(&docker, &program, &["status"]).map(drop))?;
    let mut seen = vec![format!(
        "`up` returns after {:.0} s; migrate ended with 0, all other containers are healthy, and `followgraph status` is \
         healthy after {:.0} s",
        started.as_secs_f64(),
        begun.elapsed().as_secs_f64()
    )];
    for service in SERVICES {
        let options =
            output(docker.client().args(["inspect", "--format", "{{json .HostConfig}}", &name(service)]))?;
        let options: Value = serde_json::from_str(&options)?;
        ensure!(options["ReadonlyRootfs"] == true, "{service} can write to its root file system");
        ensure!(options["CapDrop"][0] == "ALL", "{service} keeps capabilities");
    }
    let mut last = 1;
    written(&docker, &program, &mut last)?;
    for store in STORES {
        let begun = Instant::now();
        output(docker.compose().args(["restart", store]))?;
        recovered(&docker, &program, &mut last)?;
        let restarted = begun.elapsed();
        let begun = Instant::now();
        kill(&docker, store)?;
        recovered(&docker, &program, &mut last)?;
        seen.push(format!(
            "{store}: healthy, all follows there and new ones accepted {:.0} s after a restart began, {:.0} s after a kill",
            restarted.as_secs_f64(),
            begun.elapsed().as_secs_f64()
        ));
    }
    for service in SERVICES {
        let restarts =
            output(docker.client().args(["inspect", "--format", "{{.RestartCount}}", &name(service)]))?;
        ensure!(restarts == "0", "{service} was restarted {restarts} times");
    }
    seen.push("no service was restarted meanwhile".to_owned());
    output(docker.compose().args(["down", "--volumes"]))?;
    Ok(seen)
}

/// The images that the node has.
fn load(cluster: &Cluster, docker: &Docker) -> Result<()> {
    let images = Images::of(&cluster.node);
    output(images.podman().args(["tag", RENAMED.0, RENAMED.1]))?;
    let used = output(docker.compose().args(["config", "--images"]))?;
    let tags: Vec<String> = used
        .lines()
        .map(|image| match image.split_once('/') {
            None => format!("docker.io/library/{image}"),
            Some(_) => format!("docker.io/{image}"),
        })
        .collect();
    let archive = images.save(&tags.iter().map(String::as_str).collect::<Vec<_>>())?;
    docker.load(&archive)?;
    Ok(std::fs::remove_file(archive)?)
}

/// Every container is as compose.yaml wants it.
fn healthy(docker: &Docker) -> Result<()> {
    let lines = output(docker.compose().args(["ps", "--all", "--format", "json"]))?;
    let mut found = 0;
    for line in lines.lines() {
        let container: Value = serde_json::from_str(line).context("compose printed no JSON")?;
        let service = text(&container["Service"]);
        let (state, health) = (text(&container["State"]), text(&container["Health"]));
        found += 1;
        if service == "migrate" {
            ensure!(state == "exited" && container["ExitCode"] == 0, "migrate: {container}");
        } else {
            ensure!(state == "running" && health == "healthy", "{service} is {state}, {health}");
        }
    }
    ensure!(found == STORES.len() + SERVICES.len() + 1, "there are {found} containers: {lines}");
    Ok(())
}

/// Follows one more account.
fn written(docker: &Docker, program: &Path, last: &mut usize) -> Result<()> {
    let next = (*last + 1).to_string();
    call(docker, program, &["follow", "1", &next])?;
    *last += 1;
    Ok(())
}

/// Healthy, a new follow is accepted, and every follow is there, in PostgreSQL and in the read model.
fn recovered(docker: &Docker, program: &Path, last: &mut usize) -> Result<()> {
    until(LIMIT, || healthy(docker))?;
    until(LIMIT, || call(docker, program, &["status"]).map(drop))?;
    until(LIMIT, || written(docker, program, last))?;
    let all: Vec<String> = (2..=*last).map(|id| id.to_string()).collect();
    for more in [&["--consistent"][..], &[]] {
        let mut arguments = vec!["check", "1"];
        arguments.extend(all.iter().map(String::as_str));
        arguments.extend(more);
        until(LIMIT, || call(docker, program, &arguments).map(drop))?;
    }
    Ok(())
}

/// Ends the first process of a container as the kernel would. `docker kill` would count as a stop.
fn kill(docker: &Docker, service: &str) -> Result<()> {
    let process = output(docker.client().args(["inspect", "--format", "{{.State.Pid}}", &name(service)]))?;
    if process == "0" {
        bail!("{service} does not run");
    }
    output(docker.inside("kill").args(["-KILL", &process]))?;
    until(LIMIT, || {
        let now = output(docker.client().args(["inspect", "--format", "{{.State.Pid}}", &name(service)]))?;
        ensure!(now != process, "{service} still runs");
        Ok(())
    })?;
    Ok(())
}

fn call(docker: &Docker, program: &Path, arguments: &[&str]) -> Result<String> {
    let mut command: Command = docker.outside(program);
    command.env("FOLLOWGRAPH_TOKEN", TOKEN).args(arguments);
    output(&mut command)
}

fn name(service: &str) -> String {
    format!("followgraph-{service}-1")
}
