//! The modules of a crate, and the paths in its code.
//!
//! Reads tokens, not syntax: `use` declarations, and paths that begin with `crate`, `self`, `super`, a module or an
//! imported name. Skips code under `#[cfg(test)]`. Does not see methods and trait impls.

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, anyhow};
use proc_macro2::{Delimiter, Spacing, TokenStream, TokenTree};

/// Files, modules and paths of a crate.
#[derive(Debug, Default)]
pub(super) struct Sources {
    pub files: Vec<SourceFile>,
    /// By their path from the root of the crate.
    pub modules: HashMap<Vec<String>, Module>,
    pub uses: Vec<Use>,
    /// File of each macro, because `crate::name!` finds it in any file.
    pub macros: HashMap<String, usize>,
}

#[derive(Debug)]
pub(super) struct SourceFile {
    pub path: PathBuf,
    /// The path of its module.
    pub module: Vec<String>,
}

#[derive(Debug, Default)]
pub(super) struct Module {
    pub file: usize,
    /// Paths of imports by local name.
    pub bindings: HashMap<String, Vec<String>>,
}

/// A path in a module, to the same crate or another one. Every word is one, since it may be an imported name.
#[derive(Debug)]
pub(super) struct Use {
    pub file: usize,
    pub module: Vec<String>,
    pub path: Vec<String>,
    pub glob: bool,
    pub line: usize,
}

impl Sources {
    /// Reads the module tree of a root such as `src/lib.rs`; `files` has the text of every file.
    pub(super) fn read(root: &Path, files: &BTreeMap<PathBuf, String>) -> Result<Self> {
        let mut sources = Self::default();
        let folder = root.parent().unwrap_or(Path::new("")).to_owned();
        sources.read_file(files, root, Vec::new(), folder)?;
        Ok(sources)
    }

    fn read_file(
        &mut self,
        files: &BTreeMap<PathBuf, String>,
        path: &Path,
        module: Vec<String>,
        folder: PathBuf,
    ) -> Result<()> {
        let text = files.get(path).with_context(|| format!("there is no {}", path.display()))?;
        let tokens = text.parse().map_err(|error| anyhow!("{}: {error}", path.display()))?;
        let file = self.files.len();
        self.files.push(SourceFile { path: path.to_owned(), module: module.clone() });
        Reader { sources: self, files, file, module, folder }.read(tokens)
    }
}

/// Reads the tokens of one module.
struct Reader<'a> {
    sources: &'a mut Sources,
    files: &'a BTreeMap<PathBuf, String>,
    file: usize,
    module: Vec<String>,
    /// Contains the files of its child modules.
    folder: PathBuf,
}

impl Reader<'_> {
    fn read(&mut self, tokens: TokenStream) -> Result<()> {
        self.here().file = self.file;
        self.scan(tokens)
    }

    fn here(&mut self) -> &mut Module {
        self.sources.modules.entry(self.module.clone()).or_default()
    }

    fn scan(&mut self, tokens: TokenStream) -> Result<()> {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut rest = tokens.as_slice();
        loop {
            rest = match rest {
                [] => return Ok(()),
                [hash, TokenTree::Group(attribute), behind @ ..] if is(hash, '#') => {
                    if is_test(&attribute.to_string()) { after_item(behind) } else { behind }
                }
                // The name of a lifetime is no keyword.
                [quote, _, behind @ ..] if is(quote, '\'') => behind,
                // Another crate, or what follows generic arguments.
                [first, second, behind @ ..] if are_colons(first, second) => split_path(behind).1,
                [TokenTree::Ident(word), TokenTree::Ident(name), behind @ ..] if word == "mod" => {
                    self.child(&name.to_string(), behind.first())?;
                    behind
                }
                [TokenTree::Ident(word), next, ..] if word == "use" && !is(next, '<') => {
                    let end = rest.iter().position(|token| is(token, ';')).unwrap_or(rest.len());
                    // `use ::name` is always another crate.
                    if !is(next, ':') {
                        let is_public = is_public(&tokens[..tokens.len() - rest.len()]);
                        self.import(&rest[1..end], &[], is_public);
                    }
                    &rest[end..]
                }
                [TokenTree::Ident(word), ..] => {
                    let (path, behind) = split_path(rest);
                    if word == "macro_rules"
                        && let [_, TokenTree::Ident(name), ..] = behind
                    {
                        self.sources.macros.insert(name.to_string(), self.file);
                    }
                    self.add_use(path, false, word.span().start().line);
                    behind
                }
                [TokenTree::Group(group), behind @ ..] => {
                    self.scan(group.stream())?;
                    behind
                }
                [_, behind @ ..] => behind,
            }
        }
    }

    fn add_use(&mut self, path: Vec<String>, glob: bool, line: usize) {
        self.sources.uses.push(Use { file: self.file, module: self.module.clone(), path, glob, line });
    }

    fn child(&mut self, name: &str, body: Option<&TokenTree>) -> Result<()> {
        let module = [&self.module[..], &[name.to_owned()]].concat();
        let folder = self.folder.join(name);
        if let Some(TokenTree::Group(body)) = body {
            let (files, file) = (self.files, self.file);
            return Reader { sources: self.sources, files, file, module, folder }.read(body.stream());
        }
        let path = [folder.with_extension("rs"), folder.join("mod.rs")]
            .into_iter()
            .find(|path| self.files.contains_key(path))
            .with_context(|| format!("there is no file of the module {}", module.join("::")))?;
        self.sources.read_file(self.files, &path, module, folder)
    }

    /// Notes the names in the tokens of a `use` declaration. A re-export is a use only where the file needs the name.
    fn import(&mut self, tree: &[TokenTree], prefix: &[String], is_public: bool) {
        for branch in tree.split(|token| is(token, ',')) {
            let Some(last) = branch.last() else { continue };
            let line = branch[0].span().start().line;
            let words = branch.iter().filter(|token| matches!(token, TokenTree::Ident(_)));
            let mut path: Vec<String> =
                prefix.iter().cloned().chain(words.map(ToString::to_string)).collect();
            match last {
                TokenTree::Group(group) => {
                    let inner: Vec<TokenTree> = group.stream().into_iter().collect();
                    self.import(&inner, &path, is_public);
                }
                // Names of a public glob are not followed, so it is a use too.
                TokenTree::Punct(_) => self.add_use(path, true, line),
                _ => {
                    let renamed = path.iter().rposition(|word| word == "as").map(|at| path.split_off(at));
                    // `a::{self}` is `a`.
                    if path.len() > 1 {
                        path.pop_if(|last| last == "self");
                    }
                    let name = renamed.as_ref().unwrap_or(&path).last().cloned().unwrap_or_default();
                    self.here().bindings.insert(name, path.clone());
                    if !is_public {
                        self.add_use(path, false, line);
                    }
                }
            }
        }
    }
}

fn is(token: &TokenTree, char: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == char)
}

fn are_colons(first: &TokenTree, second: &TokenTree) -> bool {
    is(second, ':')
        && matches!(first, TokenTree::Punct(punct) if punct.as_char() == ':' && punct.spacing() == Spacing::Joint)
}

/// The words of the path `a::b::c` at the start, if there is one, and the tokens behind it.
fn split_path(mut tokens: &[TokenTree]) -> (Vec<String>, &[TokenTree]) {
    let mut words = Vec::new();
    while let [TokenTree::Ident(word), behind @ ..] = tokens {
        words.push(word.to_string());
        tokens = match behind {
            [first, second, next @ ..] if are_colons(first, second) => next,
            _ => return (words, behind),
        };
    }
    (words, tokens)
}

/// Whether it is `[cfg(test)]` or another `cfg` with `test`, without `not`.
fn is_test(attribute: &str) -> bool {
    let words = attribute.split(|char: char| !char.is_alphanumeric() && char != '_');
    let mut words = words.filter(|word| !word.is_empty());
    words.next() == Some("cfg") && words.clone().any(|word| word == "test") && words.all(|word| word != "not")
}

/// Whether the tokens end with `pub` or `pub(...)`.
fn is_public(before: &[TokenTree]) -> bool {
    matches!(before, [.., TokenTree::Ident(word)] | [.., TokenTree::Ident(word), TokenTree::Group(_)] if word == "pub")
}

/// First words of items. A comma ends a field, a variant or an arm, but none of these.
const ITEMS: [&str; 12] =
    ["use", "fn", "mod", "impl", "struct", "enum", "const", "static", "type", "trait", "async", "unsafe"];

/// The tokens after the item, field or statement that starts here.
fn after_item(tokens: &[TokenTree]) -> &[TokenTree] {
    let start = tokens.iter().position(|token| matches!(token, TokenTree::Ident(word) if word != "pub"));
    let item = &tokens[start.unwrap_or_default()..];
    let begins_with = |words: &[&str]| matches!(item, [TokenTree::Ident(word), ..] if words.contains(&word.to_string().as_str()));
    let (is_use, is_item) = (begins_with(&["use"]), begins_with(&ITEMS));
    let end = item.iter().position(|token| match token {
        TokenTree::Group(group) => group.delimiter() == Delimiter::Brace && !is_use,
        token => is(token, ';') || !is_item && is(token, ','),
    });
    end.map_or(&[], |end| &item[end + 1..])
}
