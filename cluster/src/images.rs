//! Images, built by podman and loaded into the node. No registry can be reached, so the official images have stand-ins:
//! Debian's root file system with the programs that the development servers run.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};
use devstack::{
    Tools,
    fetch::run,
    services::{Profile, Program},
    workspace,
};

use crate::node::{Node, PAUSE};

const BASE: &str = "localhost/cluster/base:1";
const RUNTIME: &str = "localhost/cluster/runtime:1";
const BUILDER: &str = "localhost/cluster/builder:1";
const COREDNS: &str = "localhost/cluster/coredns:1";
/// Debian with iptables and ipset.
pub const NETWORK: &str = "localhost/cluster/network:1";

/// Below the hard limit of machines, which podman's default exceeds.
const OPEN_FILES: &str = "nofile=10000:10000";

/// The name that Kubernetes completes image names without a registry to.
const REGISTRY: &str = "docker.io";
/// Targets of the Dockerfile.
pub const TARGETS: [&str; 4] = ["command-service", "query-service", "projector", "cli"];

/// Images of a node. podman works inside of the node's namespaces, so that its mounts end with the node.
#[derive(Debug)]
pub struct Images<'a> {
    node: &'a Node,
}

/// What `podman build` needs for one image.
struct Recipe<'a> {
    tag: &'a str,
    /// The Dockerfile.
    file: PathBuf,
    context: &'a Path,
    /// More folders to copy from, by name.
    folders: &'a [(&'a str, &'a Path)],
    arguments: &'a [(&'a str, &'a str)],
    target: Option<&'a str>,
}

impl<'a> Images<'a> {
    pub fn of(node: &'a Node) -> Self {
        Self { node }
    }

    /// Imports the base images; builds and loads what the node itself needs.
    pub fn system(&self) -> Result<()> {
        let bases = &self.node.programs.bases;
        for (tar, tag) in [("base.tar", BASE), ("runtime.tar", RUNTIME)] {
            self.import(&bases.join(tar), tag)?;
        }
        let coredns = self.node.programs.coredns.parent().context("CoreDNS has no folder")?;
        self.stand_in("pause", PAUSE, &[])?;
        self.stand_in("coredns", COREDNS, &[("programs", coredns)])?;
        self.load(&[PAUSE, COREDNS])
    }

    /// Builds and loads the stand-ins for the images of PostgreSQL, NATS and Neo4j that the manifests name.
    pub fn servers(&self) -> Result<()> {
        let tools = Tools::install()?;
        let nats = tools.nats_server.parent().context("nats-server has no folder")?;
        let tags = [
            ("postgres", format!("{REGISTRY}/library/postgres:18.0"), tools.postgres.as_path()),
            ("nats", format!("{REGISTRY}/library/nats:2.15.1"), nats),
            ("neo4j", format!("{REGISTRY}/library/neo4j:5.26.30-community"), tools.neo4j_jars.as_path()),
        ];
        for (name, tag, programs) in &tags {
            self.stand_in(name, tag, &[("programs", programs)])?;
        }
        self.load(&tags.each_ref().map(|(_, tag, _)| tag.as_str()))
    }

    /// Builds every target of the Dockerfile with the services of a folder and the usual `followgraph`, and loads them with
    /// the tag `version`.
    ///
    /// The Dockerfile is the shipped one, with stand-ins for its two base images: the builder's `cargo` copies finished
    /// programs.
    pub fn ours(&self, services: &Path, version: &str) -> Result<Vec<String>> {
        let finished = self.node.place.folder("finished")?;
        let programs = Program::ALL.map(|service| services.join(service.binary()));
        for program in programs.into_iter().chain([Self::usual_binaries().join("followgraph")]) {
            let name = program.file_name().unwrap_or_default();
            fs::copy(&program, finished.join(name)).with_context(|| {
                format!("cannot copy {}\nwhat to do: cargo build --workspace --bins", program.display())
            })?;
        }
        self.stand_in("builder", BUILDER, &[("programs", &finished)])?;
        let tags = TARGETS.map(|target| format!("{REGISTRY}/followgraph/{target}:{version}"));
        for (target, tag) in TARGETS.iter().zip(&tags) {
            self.build(&Recipe {
                tag,
                file: workspace::root().join("Dockerfile"),
                context: &workspace::root(),
                folders: &[],
                arguments: &[("BUILDER", BUILDER), ("RUNTIME", RUNTIME), ("VERSION", version)],
                target: Some(target),
            })?;
        }
        self.load(&tags.each_ref().map(String::as_str))?;
        Ok(tags.into())
    }

    /// The programs of the usual build of this clone.
    pub fn usual_binaries() -> PathBuf {
        Profile::Dev.folder()
    }

    /// podman inside of the node.
    pub fn podman(&self) -> Command {
        let mut command = self.node.inside("podman");
        let storage = self.node.place.folder("podman").unwrap_or_default();
        command
            .args(["--runtime", "runc", "--cgroup-manager", "cgroupfs", "--events-backend", "none", "--root"])
            .arg(storage);
        command
    }

    /// Makes a root file system an image, once.
    pub fn import(&self, tar: &Path, tag: &str) -> Result<()> {
        if self.exists(tag)? { Ok(()) } else { run(self.podman().arg("import").arg(tar).arg(tag)) }
    }

    /// Gives images more names, also in containerd.
    pub fn rename(&self, names: &[(String, String)]) -> Result<()> {
        for (from, to) in names {
            run(self.podman().args(["tag", from, to]))?;
        }
        self.load(&names.iter().map(|(_, to)| to.as_str()).collect::<Vec<_>>())
    }

    fn exists(&self, tag: &str) -> Result<bool> {
        let status = self.podman().args(["image", "exists", tag]).status().context("cannot run podman")?;
        Ok(status.success())
    }

    /// Builds an image of `cluster/images`, with the files of `folders`.
    pub fn stand_in(&self, name: &str, tag: &str, folders: &[(&str, &Path)]) -> Result<()> {
        let context = workspace::root().join("cluster/images");
        self.build(&Recipe {
            tag,
            file: context.join(format!("{name}.Containerfile")),
            context: &context,
            folders,
            arguments: &[("BASE", BASE), ("RUNTIME", RUNTIME), ("NETWORK", NETWORK)],
            target: None,
        })
    }

    fn build(&self, recipe: &Recipe) -> Result<()> {
        let mut command = self.podman();
        command.args(["build", "--quiet", "--format", "docker", "--pull=never", "--network=host"]);
        command.args(["--ulimit", OPEN_FILES, "--tag", recipe.tag, "--file"]).arg(&recipe.file);
        for (name, folder) in recipe.folders {
            command.arg("--build-context").arg(format!("{name}={}", folder.display()));
        }
        for (name, value) in recipe.arguments {
            command.arg("--build-arg").arg(format!("{name}={value}"));
        }
        if let Some(target) = recipe.target {
            command.args(["--target", target]);
        }
        run(command.arg(recipe.context)).with_context(|| format!("cannot build the image {}", recipe.tag))
    }

    /// Loads images into containerd, their shared layers once.
    pub fn load(&self, tags: &[&str]) -> Result<()> {
        let archive = self.save(tags)?;
        self.node.load(&archive)?;
        Ok(fs::remove_file(&archive)?)
    }

    /// Writes images into an archive, their shared layers once.
    pub fn save(&self, tags: &[&str]) -> Result<PathBuf> {
        let archive = self.node.place.folder("images")?.join("images.tar");
        let _ = fs::remove_file(&archive);
        run(self
            .podman()
            .args(["save", "--quiet", "--multi-image-archive", "--output"])
            .arg(&archive)
            .args(tags))?;
        Ok(archive)
    }
}
