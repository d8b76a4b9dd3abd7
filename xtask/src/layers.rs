//! Checks which modules of a crate use which.
//!
//! A module may use its own layer of `xtask/layers.yaml` and lower ones. Files must not use each other in a circle, not
//! even within a layer. A use is a `use` declaration or a path outside of tests, followed through re-exports to the file
//! that defines the name; so a `mod.rs` that only declares and re-exports its children uses nothing.

mod graph;
mod source;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use anyhow::{Result, bail};
use devstack::workspace;

use graph::Uses;
use source::Sources;

/// Every crate with its layers: names of modules, separated by spaces, the lowest layer first.
const LAYERS: &str = include_str!("../layers.yaml");
/// Name of the root file of a crate in the table. If it has no layer, it is above all.
const ROOT: &str = "crate";

/// Fails with every upward use and every circle.
pub fn check() -> Result<()> {
    let mut problems = Vec::new();
    let crates: BTreeMap<String, Vec<String>> = serde_norway::from_str(LAYERS)?;
    for (name, layers) in crates {
        let found = problems_in(&workspace::sources(&name)?, &layers)?;
        problems.extend(found.into_iter().map(|problem| format!("{name}/{problem}")));
    }
    if !problems.is_empty() {
        bail!("see xtask/layers.yaml for the layers\n{}", problems.join("\n"));
    }
    Ok(())
}

fn problems_in(files: &BTreeMap<PathBuf, String>, layers: &[String]) -> Result<Vec<String>> {
    let library = Path::new("src/lib.rs");
    let root = if files.contains_key(library) { library } else { Path::new("src/main.rs") };
    let sources = Sources::read(root, files)?;
    let uses = graph::uses(&sources);
    let mut problems = unknown(&sources, layers);
    problems.extend(upward(&sources, &uses, layers));
    problems.extend(graph::circles(&uses).iter().map(|circle| shown(&sources, &uses, circle)));
    Ok(problems)
}

/// Modules that only the table or only the crate has.
fn unknown(sources: &Sources, layers: &[String]) -> Vec<String> {
    let listed: BTreeSet<&str> = layers.iter().flat_map(|layer| layer.split(' ')).collect();
    let there: BTreeSet<&str> = (0..sources.files.len()).map(|file| top(sources, file)).collect();
    let missing = there.difference(&listed).filter(|name| **name != ROOT);
    let missing = missing.map(|name| format!("src: the module {name} is in no layer"));
    let gone = listed.difference(&there);
    let gone = gone.map(|name| format!("src: the layers name a module {name} that does not exist"));
    missing.chain(gone).collect()
}

fn upward(sources: &Sources, uses: &Uses<'_>, layers: &[String]) -> Vec<String> {
    let layer = |module: &str| {
        let found = layers.iter().position(|layer| layer.split(' ').any(|name| name == module));
        // `unknown` reports other modules without a layer.
        found.unwrap_or(if module == ROOT { layers.len() } else { 0 })
    };
    let mut problems = Vec::new();
    for ((from, to), one) in uses {
        let (user, used) = (top(sources, *from), top(sources, *to));
        if layer(used) > layer(user) {
            let (file, path) = (sources.files[*from].path.display(), one.path.join("::"));
            problems
                .push(format!("{file}:{}: {user} uses {path}, but {used} is in a higher layer", one.line));
        }
    }
    problems
}

/// The first part of a file's module path.
fn top(sources: &Sources, file: usize) -> &str {
    sources.files[file].module.first().map_or(ROOT, String::as_str)
}

fn shown(sources: &Sources, uses: &Uses<'_>, circle: &[usize]) -> String {
    let next = circle.iter().cycle().skip(1);
    let steps = circle.iter().zip(next).map(|(from, to)| {
        let one = uses[&(*from, *to)];
        format!("{}:{} uses {}", sources.files[*from].path.display(), one.line, one.path.join("::"))
    });
    format!("src: circle: {}", steps.collect::<Vec<_>>().join(", "))
}
