//! Images: every tag is fixed, and servers have the version that the tests run.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{
    contract::Contract,
    documents::{Pod, of_kind, text, title},
};

/// Tags that publishers move.
const FLOATING: [&str; 8] = ["latest", "stable", "edge", "main", "master", "nightly", "dev", "nonroot"];

/// Every base image of the Dockerfile has a fixed tag or a digest, and no health check depends on other servers.
pub fn dockerfile(text: &str, contract: &Contract) -> Vec<String> {
    let mut defaults = BTreeMap::new();
    let mut stages = BTreeSet::new();
    let mut problems = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("ARG") => defaults.extend(words.next().and_then(|argument| argument.split_once('='))),
            Some("FROM") => {
                let image = words.find(|word| !word.starts_with("--")).unwrap_or_default();
                let variable = image.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
                let image = variable.map_or(image, |name| defaults.get(name).copied().unwrap_or_default());
                if !stages.contains(image) {
                    problems.extend(wrong_with(image, contract));
                }
                stages.extend(words.nth(1));
            }
            Some("HEALTHCHECK") if line.contains("=ready") || line.contains("/readyz") => {
                problems.push(
                    "a HEALTHCHECK asks for readiness: engines would replace containers whose stores are down".to_owned(),
                );
            }
            _ => {}
        }
    }
    problems
}

/// Every image has a fixed tag, and servers have the tested version.
pub fn pinned(documents: &[Value], contract: &Contract, problems: &mut Vec<String>) {
    let mut check = |title: &str, image: &Value| {
        problems.extend(wrong_with(text(image), contract).map(|problem| format!("{title}: {problem}")));
    };
    for pod in Pod::all(documents) {
        pod.all_containers().for_each(|container| check(&pod.title, &container["image"]));
    }
    for cluster in of_kind(documents, "Cluster") {
        check(&title(cluster), &cluster["spec"]["imageName"]);
    }
}

/// The problem of an image's name, if it has one.
pub fn wrong_with(image: &str, contract: &Contract) -> Option<String> {
    if image.contains("@sha256:") {
        return None;
    }
    let path = image.rsplit('/').next().unwrap_or_default();
    let Some((name, tag)) = path.split_once(':') else {
        return Some(format!("image {image:?} has no tag"));
    };
    if tag.is_empty() || FLOATING.contains(&tag) {
        return Some(format!("image {image:?} has a tag that moves"));
    }
    let wanted = contract.server_version(name)?;
    let is_it = tag == wanted || tag.strip_prefix(wanted).is_some_and(|rest| rest.starts_with('-'));
    (!is_it).then(|| format!("image {image:?} is not of the version that is tested, {wanted}"))
}
