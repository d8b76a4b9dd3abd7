//! Uses between files, and circles of them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::source::{Sources, Use};

/// Longest chain of re-exports that is followed.
const DEPTH: usize = 16;

/// For each pair of a using and a used file, the first use.
pub(super) type Uses<'a> = BTreeMap<(usize, usize), &'a Use>;

/// Uses of all files.
pub(super) fn uses(sources: &Sources) -> Uses<'_> {
    let mut uses = Uses::new();
    for one in &sources.uses {
        if let Some(path) = absolute(sources, &one.module, &one.path, DEPTH)
            && let Some(file) = file_of(sources, &path, one.glob, DEPTH)
            && file != one.file
        {
            uses.entry((one.file, file)).or_insert(one);
        }
    }
    uses
}

/// A path from the root of the crate; `None` if it leads into another crate.
fn absolute(sources: &Sources, module: &[String], path: &[String], depth: usize) -> Option<Vec<String>> {
    let mut base = module.to_vec();
    let mut rest = path;
    while let [first, behind @ ..] = rest
        && ["crate", "self", "super"].contains(&first.as_str())
    {
        match first.as_str() {
            "crate" => base.clear(),
            "super" => drop(base.pop()),
            _ => {}
        }
        rest = behind;
    }
    base.extend_from_slice(rest);
    let (first, behind) = path.split_first()?;
    let binding = sources.modules[module].bindings.get(first);
    // A module alone is no use, but a function may have its name.
    let is_function = behind.is_empty() && binding.is_some();
    let is_relative = rest.len() < path.len();
    if is_relative || !is_function && sources.modules.contains_key(&base[..=module.len()]) {
        return Some(base);
    }
    let binding = binding?;
    if depth == 0 || binding.first() == Some(first) {
        return None;
    }
    let mut path = absolute(sources, module, binding, depth - 1)?;
    path.extend_from_slice(behind);
    Some(path)
}

/// The file that defines the item at a path from the root, through re-exports. `None` for a module, unless all its names
/// are imported.
fn file_of(sources: &Sources, path: &[String], glob: bool, depth: usize) -> Option<usize> {
    let (module, rest) = (0..=path.len())
        .rev()
        .map(|at| path.split_at(at))
        .find(|(module, _)| sources.modules.contains_key(*module))?;
    let here = &sources.modules[module];
    let Some((name, behind)) = rest.split_first() else { return glob.then_some(here.file) };
    if let Some(binding) = here.bindings.get(name)
        && binding.as_slice() != [name.clone()]
        && depth > 0
    {
        let target = absolute(sources, module, binding, depth)?;
        return file_of(sources, &[target.as_slice(), behind].concat(), glob, depth - 1);
    }
    let of_macro = sources.macros.get(name).filter(|_| module.is_empty());
    Some(*of_macro.unwrap_or(&here.file))
}

/// For each use that is part of circles, the shortest one; each circle once.
pub(super) fn circles(uses: &Uses<'_>) -> Vec<Vec<usize>> {
    let mut seen = BTreeSet::new();
    let mut circles: Vec<_> = uses.keys().filter_map(|(from, to)| shortest(uses, *to, *from)).collect();
    circles.retain(|circle| seen.insert(BTreeSet::from_iter(circle.iter().copied())));
    circles
}

/// The files on the shortest path, including both ends.
fn shortest(uses: &Uses<'_>, from: usize, to: usize) -> Option<Vec<usize>> {
    let mut seen = BTreeSet::from([from]);
    let mut paths = VecDeque::from([vec![from]]);
    while let Some(path) = paths.pop_front() {
        let last = path[path.len() - 1];
        if last == to {
            return Some(path);
        }
        for ((_, next), _) in uses.range((last, 0)..(last + 1, 0)) {
            if seen.insert(*next) {
                paths.push_back([&path[..], &[*next]].concat());
            }
        }
    }
    None
}
