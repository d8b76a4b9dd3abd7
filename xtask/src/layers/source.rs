//! The modules of a crate and their imports.
//!
//! Reads tokens, not syntax: `use` declarations, and paths that begin with `crate`, `self`, `super`, a module or an
//! imported name. Skips code under `#[cfg(test)]`. Does not see methods and trait impls.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use proc_macro2::{Delimiter, Spacing, TokenStream, TokenTree};

use super::leaves::{self, Leaf};

/// Files, modules and imports of a crate. The key of a module is its path, `store::jobs`; that of the root is empty.
#[derive(Debug, Default)]
pub(super) struct Sources {
    pub files: Vec<SourceFile>,
    pub modules: HashMap<String, Module>,
    pub imports: Vec<Import>,
    /// File of each macro, because `crate::name!` finds it in any file.
    pub macros: HashMap<String, usize>,
}

#[derive(Debug)]
pub(super) struct SourceFile {
    pub path: PathBuf,
    /// The path of its module.
    pub module: String,
    /// Every word outside of `use` declarations.
    words: HashSet<String>,
}

#[derive(Debug)]
pub(super) struct Module {
    pub file: usize,
    /// Paths of imports by local name.
    pub bindings: HashMap<String, Vec<String>>,
    /// `pub use a::*`.
    pub globs: Vec<Vec<String>>,
    /// Names that it defines.
    pub items: HashSet<String>,
}

/// A path in a file, to the same crate or another one.
#[derive(Debug)]
pub(super) struct Import {
    pub file: usize,
    pub module: String,
    pub path: Vec<String>,
    pub glob: bool,
    pub line: usize,
}

/// The path of a child module.
pub(super) fn child(module: &str, name: &str) -> String {
    if module.is_empty() { name.to_owned() } else { format!("{module}::{name}") }
}

impl Sources {
    /// Reads the module tree of a root such as `src/lib.rs`; `files` has the text of every file.
    pub(super) fn read(root: &Path, files: &BTreeMap<PathBuf, String>) -> Result<Self> {
        let mut sources = Self::default();
        let folder = root.parent().unwrap_or(Path::new("")).to_owned();
        sources.file(root, "", &folder, files)?;
        Ok(sources)
    }

    /// `folder` contains the files of its child modules.
    fn file(
        &mut self,
        path: &Path,
        module: &str,
        folder: &Path,
        files: &BTreeMap<PathBuf, String>,
    ) -> Result<()> {
        let text = files.get(path).with_context(|| format!("there is no {}", path.display()))?;
        let tokens: TokenStream =
            text.parse().map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))?;
        let file = self.files.len();
        self.files.push(SourceFile {
            path: path.to_owned(),
            module: module.to_owned(),
            words: HashSet::new(),
        });
        let reexports = self.module(tokens, &Place { file, module, folder, files })?;
        // A re-export is a use only if the file itself needs the name.
        let words = &self.files[file].words;
        let used: Vec<Import> = reexports
            .into_iter()
            .filter(|(name, _)| words.contains(name))
            .map(|(_, import)| import)
            .collect();
        self.imports.extend(used);
        Ok(())
    }

    /// Returns what the module re-exports.
    fn module(&mut self, tokens: TokenStream, place: &Place<'_>) -> Result<Vec<(String, Import)>> {
        let module =
            Module { file: place.file, bindings: HashMap::new(), globs: Vec::new(), items: HashSet::new() };
        self.modules.insert(place.module.to_owned(), module);
        let mut reexports = Vec::new();
        self.scan(tokens, place, &mut reexports)?;
        Ok(reexports)
    }

    fn scan(
        &mut self,
        tokens: TokenStream,
        place: &Place<'_>,
        reexports: &mut Vec<(String, Import)>,
    ) -> Result<()> {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut elsewhere = None;
        let mut at = 0;
        while let Some(token) = tokens.get(at) {
            match token {
                TokenTree::Punct(punct) if punct.as_char() == '#' => match attribute(&tokens, at) {
                    Some(attribute) if is_test(&attribute) => at = after_item(&tokens, at + 2),
                    Some(attribute) => {
                        elsewhere = path_of(&attribute).or(elsewhere);
                        at += 2;
                    }
                    None => at += 1,
                },
                // The name of a lifetime is no keyword.
                TokenTree::Punct(punct) if punct.as_char() == '\'' => at += 2,
                TokenTree::Punct(_) if colons(&tokens, at) => at = after_path(&tokens, at + 2),
                TokenTree::Ident(word) if word == "mod" && ident(&tokens, at + 1).is_some() => {
                    let name = ident(&tokens, at + 1).unwrap_or_default();
                    self.child(&name, tokens.get(at + 2), elsewhere.take(), place, reexports)?;
                    at += 3;
                }
                TokenTree::Ident(word) if word == "use" && !punct(&tokens, at + 1, '<') => {
                    let end = (at..tokens.len()).find(|at| punct(&tokens, *at, ';')).unwrap_or(tokens.len());
                    let public = is_public(&tokens[..at]);
                    for leaf in leaves::of(&tokens[at + 1..end]) {
                        self.import(leaf, public, place, reexports);
                    }
                    at = end + 1;
                }
                TokenTree::Ident(word) => {
                    let end = after_path(&tokens, at);
                    let path: Vec<String> = (at..end).filter_map(|at| ident(&tokens, at)).collect();
                    self.word(&word.to_string(), &tokens[at + 1..], place);
                    self.files[place.file].words.extend(path.iter().cloned());
                    if path.len() > 1 {
                        let line = word.span().start().line;
                        self.imports.push(place.import(path, false, line));
                    }
                    at = end;
                }
                TokenTree::Group(group) => {
                    self.scan(group.stream(), place, reexports)?;
                    at += 1;
                }
                _ => at += 1,
            }
        }
        Ok(())
    }

    /// Notes what the word defines, if it is a keyword that does.
    fn word(&mut self, word: &str, next: &[TokenTree], place: &Place<'_>) {
        let defined = match word {
            "macro_rules" => ident(next, 1),
            "struct" | "enum" | "union" | "fn" | "const" | "static" | "type" | "trait" => ident(next, 0),
            _ => None,
        };
        let Some(name) = defined else { return };
        if word == "macro_rules" {
            self.macros.insert(name.clone(), place.file);
        }
        if let Some(module) = self.modules.get_mut(place.module) {
            module.items.insert(name);
        }
    }

    fn child(
        &mut self,
        name: &str,
        body: Option<&TokenTree>,
        elsewhere: Option<String>,
        place: &Place<'_>,
        reexports: &mut Vec<(String, Import)>,
    ) -> Result<()> {
        let module = child(place.module, name);
        let folder = place.folder.join(name);
        if let Some(TokenTree::Group(body)) = body {
            let inner = Place { module: &module, folder: &folder, ..*place };
            reexports.extend(self.module(body.stream(), &inner)?);
            return Ok(());
        }
        let beside = self.files[place.file].path.parent().unwrap_or(Path::new("")).to_owned();
        let path = match elsewhere {
            Some(path) => beside.join(path),
            None => [folder.with_extension("rs"), folder.join("mod.rs")]
                .into_iter()
                .find(|path| place.files.contains_key(path))
                .with_context(|| format!("there is no file of the module {module}"))?,
        };
        self.file(&path, &module, &folder, place.files)
    }

    fn import(&mut self, leaf: Leaf, public: bool, place: &Place<'_>, reexports: &mut Vec<(String, Import)>) {
        let Leaf { path, name, line } = leaf;
        let Some(module) = self.modules.get_mut(place.module) else { return };
        match (name, public) {
            (None, true) => module.globs.push(path),
            (None, false) => self.imports.push(place.import(path, true, line)),
            (Some(name), _) => {
                module.bindings.insert(name.clone(), path.clone());
                let import = place.import(path, false, line);
                if public {
                    reexports.push((name, import));
                } else {
                    self.imports.push(import);
                }
            }
        }
    }
}

/// Position of tokens.
#[derive(Clone, Copy)]
struct Place<'a> {
    file: usize,
    module: &'a str,
    folder: &'a Path,
    files: &'a BTreeMap<PathBuf, String>,
}

impl Place<'_> {
    fn import(&self, path: Vec<String>, glob: bool, line: usize) -> Import {
        Import { file: self.file, module: self.module.to_owned(), path, glob, line }
    }
}

fn ident(tokens: &[TokenTree], at: usize) -> Option<String> {
    match tokens.get(at) {
        Some(TokenTree::Ident(ident)) => Some(ident.to_string()),
        _ => None,
    }
}

fn punct(tokens: &[TokenTree], at: usize, char: char) -> bool {
    matches!(tokens.get(at), Some(TokenTree::Punct(punct)) if punct.as_char() == char)
}

/// Whether `::` is at this position.
fn colons(tokens: &[TokenTree], at: usize) -> bool {
    let joint =
        |token: &TokenTree| matches!(token, TokenTree::Punct(punct) if punct.spacing() == Spacing::Joint);
    punct(tokens, at, ':') && tokens.get(at).is_some_and(joint) && punct(tokens, at + 1, ':')
}

/// The position after `a::b::c`, or `at` if there is no path.
fn after_path(tokens: &[TokenTree], mut at: usize) -> usize {
    if ident(tokens, at).is_none() {
        return at;
    }
    at += 1;
    while colons(tokens, at) && ident(tokens, at + 2).is_some() {
        at += 3;
    }
    at
}

/// The tokens of an attribute whose `#` is at this position.
fn attribute(tokens: &[TokenTree], at: usize) -> Option<Vec<TokenTree>> {
    match tokens.get(at + 1) {
        Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Bracket => {
            Some(group.stream().into_iter().collect())
        }
        _ => None,
    }
}

/// Whether it is `#[cfg(test)]` or another `cfg` with `test`, without `not`.
fn is_test(attribute: &[TokenTree]) -> bool {
    let condition = match attribute {
        [TokenTree::Ident(cfg), TokenTree::Group(condition)] if cfg == "cfg" => condition.to_string(),
        _ => return false,
    };
    let mut words = condition.split(|char: char| !char.is_alphanumeric() && char != '_');
    words.clone().any(|word| word == "test") && words.all(|word| word != "not")
}

/// `#[path = "file.rs"]`.
fn path_of(attribute: &[TokenTree]) -> Option<String> {
    match attribute {
        [TokenTree::Ident(path), TokenTree::Punct(_), TokenTree::Literal(file)] if path == "path" => {
            Some(file.to_string().trim_matches('"').to_owned())
        }
        _ => None,
    }
}

/// Whether the tokens end with `pub` or `pub(...)`.
fn is_public(before: &[TokenTree]) -> bool {
    let before = match before {
        [before @ .., TokenTree::Group(group)] if group.delimiter() == Delimiter::Parenthesis => before,
        _ => before,
    };
    matches!(before, [.., TokenTree::Ident(word)] if word == "pub")
}

/// The position after the item, field or statement that starts here.
fn after_item(tokens: &[TokenTree], mut at: usize) -> usize {
    while punct(tokens, at, '#') {
        at += 2;
    }
    let first = (at..tokens.len()).filter_map(|at| ident(tokens, at)).find(|word| word != "pub");
    let first = first.unwrap_or_default();
    let is_item =
        ["fn", "mod", "impl", "struct", "enum", "const", "static", "type", "trait", "async", "unsafe"]
            .contains(&first.as_str());
    while let Some(token) = tokens.get(at) {
        at += 1;
        match token {
            TokenTree::Punct(punct) if punct.as_char() == ';' => break,
            TokenTree::Punct(punct) if punct.as_char() == ',' && !is_item && first != "use" => break,
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace && first != "use" => break,
            _ => {}
        }
    }
    at
}
