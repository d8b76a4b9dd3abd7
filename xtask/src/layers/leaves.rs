//! Names that a `use` declaration imports.

use proc_macro2::{Delimiter, TokenTree};

/// One name of a `use` declaration.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Leaf {
    pub path: Vec<String>,
    /// Its local name; `None` for `*`.
    pub name: Option<String>,
    pub line: usize,
}

/// Names in the tokens between `use` and `;`.
pub(super) fn of(tree: &[TokenTree]) -> Vec<Leaf> {
    let mut leaves = Vec::new();
    // `use ::name` is always another crate.
    if !matches!(tree.first(), Some(TokenTree::Punct(_))) {
        collect(tree, &[], &mut leaves);
    }
    leaves
}

fn collect(tree: &[TokenTree], prefix: &[String], leaves: &mut Vec<Leaf>) {
    for branch in tree.split(|token| matches!(token, TokenTree::Punct(punct) if punct.as_char() == ',')) {
        let Some(first) = branch.first() else { continue };
        let line = first.span().start().line;
        let mut path = prefix.to_vec();
        let mut name = None;
        let mut renamed = false;
        let mut ended = false;
        for token in branch {
            match token {
                TokenTree::Ident(word) if word == "as" => renamed = true,
                TokenTree::Ident(word) if renamed => name = Some(word.to_string()),
                // `a::{self}` is `a`.
                TokenTree::Ident(word) if word == "self" && !path.is_empty() => {}
                TokenTree::Ident(word) => path.push(word.to_string()),
                TokenTree::Punct(punct) if punct.as_char() == '*' => {
                    leaves.push(Leaf { path: path.clone(), name: None, line });
                    ended = true;
                }
                TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => {
                    let inner: Vec<TokenTree> = group.stream().into_iter().collect();
                    collect(&inner, &path, leaves);
                    ended = true;
                }
                _ => {}
            }
        }
        if !ended && let Some(last) = path.last().cloned() {
            leaves.push(Leaf { path, name: Some(name.unwrap_or(last)), line });
        }
    }
}
