//! grpcurl, for tests of the reflection service.

use std::path::PathBuf;

use anyhow::Result;

use crate::{fetch::Cache, go::Go};

/// Fetches and builds it unless it is in the cache.
pub fn program() -> Result<PathBuf> {
    let cache = Cache::lock()?;
    Go::find(&cache)?.program(&cache, "grpcurl")
}
