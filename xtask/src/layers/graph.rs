//! Uses between files, and circles of them.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use super::source::{Import, Sources, child};

/// Longest chain of re-exports that is followed.
const DEPTH: usize = 16;

/// For each pair of a using and a used file, one place of a use.
pub(super) type Uses = BTreeMap<(usize, usize), Use>;

/// A place where one file uses another.
#[derive(Debug)]
pub(super) struct Use {
    pub line: usize,
    pub path: String,
}

/// Uses of all files.
pub(super) fn uses(sources: &Sources) -> Uses {
    let mut uses = Uses::new();
    for import in &sources.imports {
        if let Some(file) = target(sources, import)
            && file != import.file
        {
            let path = import.path.join("::");
            uses.entry((import.file, file)).or_insert(Use { line: import.line, path });
        }
    }
    uses
}

/// The file that defines what is imported; `None` for a module itself and for other crates.
fn target(sources: &Sources, import: &Import) -> Option<usize> {
    let path = absolute(sources, &import.module, &import.path, DEPTH)?;
    match place(sources, &path, DEPTH)? {
        Found::Item(file) => Some(file),
        Found::Module(module) if import.glob => Some(sources.modules[&module].file),
        Found::Module(_) => None,
    }
}

enum Found {
    Module(String),
    Item(usize),
}

/// A path from the root of the crate; `None` if it leads into another crate.
fn absolute(sources: &Sources, module: &str, path: &[String], depth: usize) -> Option<Vec<String>> {
    let mut base: Vec<String> =
        module.split("::").filter(|name| !name.is_empty()).map(str::to_owned).collect();
    let mut rest = path;
    let mut relative = false;
    while let Some((first, behind)) = rest.split_first() {
        match first.as_str() {
            "crate" => base.clear(),
            "self" => {}
            "super" => drop(base.pop()),
            _ => break,
        }
        relative = true;
        rest = behind;
    }
    let first = rest.first();
    if relative || first.is_some_and(|first| sources.modules.contains_key(&child(module, first))) {
        base.extend_from_slice(rest);
        return Some(base);
    }
    let binding = sources.modules[module].bindings.get(first?)?;
    if depth == 0 || binding.first() == first {
        return None;
    }
    let mut path = absolute(sources, module, binding, depth - 1)?;
    path.extend_from_slice(&rest[1..]);
    Some(path)
}

/// The item or module of a path from the root, through re-exports.
fn place(sources: &Sources, path: &[String], depth: usize) -> Option<Found> {
    let mut module = String::new();
    for (at, name) in path.iter().enumerate() {
        let inner = child(&module, name);
        if sources.modules.contains_key(&inner) {
            module = inner;
            continue;
        }
        let here = &sources.modules[&module];
        // Before the items: a method may have the name of a re-export.
        if let Some(binding) = here.bindings.get(name)
            && binding.as_slice() != [name.clone()]
            && depth > 0
        {
            let target = absolute(sources, &module, binding, depth)?;
            return place(sources, &[target.as_slice(), &path[at + 1..]].concat(), depth - 1);
        }
        if here.items.contains(name) || depth == 0 {
            return Some(Found::Item(here.file));
        }
        if let Some(file) = sources.macros.get(name) {
            return Some(Found::Item(*file));
        }
        let through = here.globs.iter().find_map(|glob| {
            let target = absolute(sources, &module, glob, depth)?;
            let defines = sources.modules.get(&target.join("::"))?;
            let known = defines.items.contains(name) || defines.bindings.contains_key(name);
            known.then(|| [target.as_slice(), &path[at..]].concat())
        });
        return match through {
            Some(path) => place(sources, &path, depth - 1),
            // Defined by a macro.
            None => Some(Found::Item(here.file)),
        };
    }
    Some(Found::Module(module))
}

/// For each use that is part of circles, the shortest one; each circle once.
pub(super) fn circles(uses: &Uses) -> Vec<Vec<usize>> {
    let mut next: HashMap<usize, Vec<usize>> = HashMap::new();
    for (from, to) in uses.keys() {
        next.entry(*from).or_default().push(*to);
    }
    let mut seen = BTreeSet::new();
    let mut circles = Vec::new();
    for (from, to) in uses.keys() {
        if let Some(back) = shortest(&next, *to, *from) {
            let files: BTreeSet<usize> = back.iter().copied().collect();
            if seen.insert(files) {
                circles.push(back);
            }
        }
    }
    circles
}

/// The files on the shortest path, including both ends.
fn shortest(next: &HashMap<usize, Vec<usize>>, from: usize, to: usize) -> Option<Vec<usize>> {
    let mut before = HashMap::from([(from, from)]);
    let mut queue = VecDeque::from([from]);
    while let Some(file) = queue.pop_front() {
        if file == to {
            let mut path = vec![to];
            while let Some(last) = path.last()
                && *last != from
            {
                path.push(before[last]);
            }
            path.reverse();
            return Some(path);
        }
        for other in next.get(&file).into_iter().flatten() {
            if !before.contains_key(other) {
                before.insert(*other, file);
                queue.push_back(*other);
            }
        }
    }
    None
}
