//! grpcurl, for tests of the reflection service.

use std::path::PathBuf;

use anyhow::Result;

use crate::{
    fetch::Cache,
    go::{Go, Module},
};

/// The newest version that the oldest accepted Go builds: later ones need Go 1.25.
const GRPCURL: Module = Module {
    path: "github.com/fullstorydev/grpcurl",
    version: "v1.9.3",
    sum: "h1:PC1Xi3w+JAvEE2Tg2Gf2RfVgPbf9+tbuQr1ZkyVU3jk=",
};

/// Fetches and builds it unless it is in the cache.
pub fn program() -> Result<PathBuf> {
    let cache = Cache::lock()?;
    let go = Go::find(&cache)?;
    go.program(&cache, &GRPCURL, "/cmd/grpcurl", "grpcurl")
}
