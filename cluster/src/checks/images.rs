//! Every target of the Dockerfile is built, and runs read-only, as its own user and without capabilities.

use anyhow::{Result, bail};
use serde_json::Value;

use crate::{
    cluster::{Cluster, output},
    images::Images,
};

/// The tag of the overlays.
pub const VERSION: &str = "0.1.0";
/// The user of the images.
const USER: &str = "65532:65532";

pub fn build_and_run(cluster: &mut Cluster) -> Result<Vec<String>> {
    let images = Images::of(&cluster.node);
    images.servers()?;
    let mut seen = Vec::new();
    for tag in images.ours(&cluster.binaries, VERSION)? {
        let inspected: Value =
            serde_json::from_str(&output(images.podman().args(["image", "inspect", &tag]))?)?;
        let image = &inspected[0];
        if image["Config"]["User"] != USER {
            bail!("{tag} runs as {}, expected {USER}", image["Config"]["User"]);
        }
        let version = output(
            images
                .podman()
                .args(["run", "--rm", "--read-only", "--cap-drop=all", "--security-opt=no-new-privileges"])
                .args(["--network=none", "--ulimit=host", "--no-healthcheck"])
                .args([&tag, "--version"]),
        )?;
        let megabytes = image["Size"].as_u64().unwrap_or_default() / 1_000_000;
        seen.push(format!("{tag}: {megabytes} MB, prints {:?}", version.lines().next().unwrap_or_default()));
    }
    Ok(seen)
}
