//! `cargo xtask docs`: writes the generated pages of `docs` and one manifest. A test fails if one is stale.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use devstack::workspace;

use crate::{
    docs::{Page, configuration, deprecations, metrics, surface},
    monitoring,
};

/// All generated pages except those of [`surface`].
const PAGES: &[Page] = &[
    Page { path: "docs/configuration.md", render: configuration::render },
    Page { path: "docs/deprecations.md", render: deprecations::render },
    Page { path: metrics::PATH, render: metrics::render },
    // Generated from another file, without the binaries.
    Page { path: monitoring::PROMETHEUS_RULE_PATH, render: |_| monitoring::prometheus_rule() },
];

/// Writes all pages and returns the paths of those that changed.
pub fn write(binaries: &Path) -> Result<Vec<&'static str>> {
    let mut written = Vec::new();
    for (page, text) in changed(binaries)? {
        let file = place(page);
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        written.push(page.path);
    }
    Ok(written)
}

fn changed(binaries: &Path) -> Result<Vec<(&'static Page, String)>> {
    let mut changed = Vec::new();
    for page in PAGES.iter().chain(surface::PAGES) {
        let text = (page.render)(binaries).with_context(|| format!("cannot generate {}", page.path))?;
        // A missing page counts as empty.
        if fs::read_to_string(place(page)).unwrap_or_default() != text {
            changed.push((page, text));
        }
    }
    Ok(changed)
}

fn place(page: &Page) -> PathBuf {
    workspace::root().join(page.path)
}

#[cfg(test)]
mod tests {
    use std::env;

    use super::*;

    #[test]
    fn generated_pages_are_up_to_date() {
        let binaries = env::var_os("FOLLOWGRAPH_TEST_BIN_DIR");
        let binaries = binaries.expect("this test runs the services: use `cargo xtask test`");
        let changed = changed(Path::new(&binaries)).expect("the pages can be generated");
        let stale: Vec<_> = changed.into_iter().map(|(page, _)| page.path).collect();
        assert!(stale.is_empty(), "run `cargo xtask docs`: {stale:?} are not up to date");
    }
}
