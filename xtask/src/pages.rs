//! The pages of `docs`, and one manifest, that are made of the code: which there are, and whether they are stale. To
//! add a page, add it to [`PAGES`].

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

/// All of them, but those of [`surface`].
const PAGES: &[Page] = &[
    Page { path: "docs/configuration.md", render: configuration::render },
    Page { path: "docs/deprecations.md", render: deprecations::render },
    Page { path: metrics::PATH, render: metrics::render },
    // Made of another file, so the binaries do not matter.
    Page { path: monitoring::PROMETHEUS_RULE_PATH, render: |_| monitoring::prometheus_rule() },
];

/// Writes all pages; answers those that have changed.
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
        let text = (page.render)(binaries).with_context(|| format!("cannot make {}", page.path))?;
        // A page that is not there yet is as good as an empty one.
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
    fn generated_pages_are_those_of_the_code() {
        let binaries = env::var_os("FOLLOWGRAPH_TEST_BIN_DIR");
        let binaries = binaries.expect("this test asks the services: run it with `cargo xtask test`");
        let changed = changed(Path::new(&binaries)).expect("the pages can be made");
        let stale: Vec<_> = changed.into_iter().map(|(page, _)| page.path).collect();
        assert!(stale.is_empty(), "run `cargo xtask docs`: {stale:?} are not up to date");
    }
}
