use super::*;

fn problems(layers: &[&str], files: &[(&str, &str)]) -> Vec<String> {
    let files = files.iter().map(|(path, text)| (PathBuf::from(path), (*text).to_owned())).collect();
    let layers: Vec<String> = layers.iter().map(ToString::to_string).collect();
    problems_in(&files, &layers).expect("the fixture can be read")
}

#[test]
fn a_clean_tree_passes() {
    let found = problems(
        &["low", "high"],
        &[
            ("src/lib.rs", "mod low;\nmod high;\npub use high::High;\nfn main() { high::run() }"),
            ("src/low/mod.rs", "//! Head.\nmod a;\nmod b;\npub use a::{A, b as c};\npub(crate) use b::B;"),
            ("src/low/a.rs", "use super::B;\npub struct A(B); pub fn b() {}"),
            ("src/low/b.rs", "pub struct B; // use crate::high::High;"),
            (
                "src/high.rs",
                "use std::fmt;\nuse crate::low::{self, A, c};\npub struct High(A); pub fn run() { low::c() }",
            ),
        ],
    );
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn an_upward_use_is_found_in_every_form() {
    for using in [
        "use crate::high::High;",
        "use crate::{\n    other::X,\n    high::{self as up, High},\n};",
        "use super::high::High;",
        "pub(crate) use crate::high::High; fn f(_: High) {}",
        "fn f() -> crate::high::High { panic!() }",
        "use crate::high; fn f(_: high::High) {}",
        "fn f() { vec![crate::high::High] }",
        "use crate::again::High;",
        "enum E { #[cfg(test)] A(u8), B(crate::high::High) }",
        "use crate::high::*;",
    ] {
        let found = problems(
            &["low other again", "high"],
            &[
                ("src/lib.rs", "mod low; mod high; mod other; mod again;"),
                ("src/low.rs", using),
                ("src/other.rs", "pub struct X;"),
                ("src/again.rs", "pub use crate::high::High;"),
                ("src/high.rs", "pub struct High;"),
            ],
        );
        assert_eq!(found.len(), 1, "{using}: {found:?}");
        assert!(
            found[0].contains("src/low.rs:") && found[0].ends_with("high is in a higher layer"),
            "{found:?}"
        );
    }
}

#[test]
fn tests_and_other_crates_do_not_count() {
    let found = problems(
        &["low", "high"],
        &[
            ("src/lib.rs", "mod low; mod high;"),
            (
                "src/low.rs",
                "use ::high::Crate; use std::high::X; #[cfg(test)] use crate::high::{High, self as h};
                 enum E { #[cfg(test)] A(crate::high::High), B }
                 struct S { #[cfg(test)] field: crate::high::High, other: u8 }
                 #[cfg(test)] mod tests { use crate::high::High; }
                 #[cfg(test)] #[path = \"low_tests.rs\"] mod more;
                 /* use crate::high::High */ const TEXT: &str = \"use crate::high::High;\";",
            ),
            ("src/high.rs", "pub struct High;"),
        ],
    );
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn a_circle_of_files_is_found_once() {
    let found = problems(
        &["a b c"],
        &[
            ("src/lib.rs", "mod a; mod b; mod c;"),
            ("src/a.rs", "use crate::b::B; pub struct A;"),
            ("src/b.rs", "use crate::c::C; pub struct B;"),
            ("src/c.rs", "\nuse super::a::A; pub struct C;"),
        ],
    );
    let wanted =
        "src: circle: src/b.rs:1 uses crate::c::C, src/c.rs:2 uses super::a::A, src/a.rs:1 uses crate::b::B";
    assert_eq!(found, [wanted]);
}

#[test]
fn a_parent_that_calls_a_child_is_a_circle() {
    let files = [
        ("src/lib.rs", "mod a;"),
        ("src/a/mod.rs", "mod b; pub use b::B; pub struct A; fn f() { b::run() }"),
        ("src/a/b.rs", "use super::A; pub struct B; pub fn run() {}"),
    ];
    assert_eq!(problems(&["a"], &files).len(), 1);
    let reexports_only = [files[0], ("src/a/mod.rs", "mod b; pub use b::B; pub struct A;"), files[2]];
    assert_eq!(problems(&["a"], &reexports_only), Vec::<String>::new());
    let uses_what_it_reexports =
        [files[0], ("src/a/mod.rs", "mod b; pub use b::B; pub struct A(B);"), files[2]];
    assert_eq!(problems(&["a"], &uses_what_it_reexports).len(), 1);
}

#[test]
fn the_table_names_exactly_the_modules_of_the_crate() {
    let files = [("src/lib.rs", "mod new;"), ("src/new.rs", "")];
    let wanted =
        ["src: the module new is in no layer", "src: the layers name a module old that does not exist"];
    assert_eq!(problems(&["old"], &files), wanted);
}
