//! Rotation of the bearer token under load, by the steps of docs/operations.md: no call is interrupted.

use anyhow::{Result, ensure};

use crate::{cluster::Cluster, load::Load};

/// The token of the overlay `rotated`.
const ROTATED: &str = "rotated";
/// Calls with the old token.
const ATTEMPTS: usize = 6;

pub fn rotate_token(cluster: &mut Cluster) -> Result<Vec<String>> {
    cluster.overlay("load")?;
    let rotated = Cluster { token: ROTATED, ..cluster.clone() };
    let before = Load::start(cluster)?;
    let added = cluster.overlay("tokens")?;
    let after = Load::start(&rotated)?;
    // Reads the follows again with the old token.
    let first = before.end_unbroken(cluster)?;
    let removed = cluster.overlay("rotated")?;
    after.wait_served()?;
    let second = after.end_unbroken(&rotated)?;
    let (command, query) = (cluster.address("command-service")?, cluster.address("query-service")?);
    // Each is a new connection, which reaches a random pod.
    for _ in 0..ATTEMPTS {
        let output = cluster.cli(&command, &query).args(["check", "1", "2", "-o", "json"]).output()?;
        let text = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.code() == Some(2) && text.contains("UNAUTHENTICATED"),
            "the old token is not refused: {:?} {text}",
            output.status.code()
        );
    }
    Ok(vec![
        format!(
            "the new token is added after {:.0} s; clients with the old one: {}",
            added.as_secs_f64(),
            first.line()
        ),
        format!(
            "the old token is removed after {:.0} s; clients with the new one: {}",
            removed.as_secs_f64(),
            second.line()
        ),
        "the old token is refused (UNAUTHENTICATED)".to_owned(),
    ])
}
