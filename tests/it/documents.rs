//! Pages of `docs` that are made of the code are those of this code.

use tests::own::binaries;

#[test]
fn generated_pages_are_those_of_the_code() {
    // Asks for the explanation first: without `cargo xtask test` nothing is built.
    tests::Endpoints::shared();
    let stale = xtask::docs::stale(&binaries()).expect("the pages can be made");
    assert!(stale.is_empty(), "run `cargo xtask docs`: {stale:?} are not up to date");
}
