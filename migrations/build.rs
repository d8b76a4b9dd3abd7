//! Rebuilds when a migration is added: the macro that embeds them sees only Rust files.

fn main() {
    println!("cargo:rerun-if-changed=postgres");
}
