//! A migration that was released is never edited: databases that have applied it would differ from new ones.

use std::path::Path;

use ring::digest;

const HASHES: &str = include_str!("../postgres.sha256");
const UPDATE: &str = "a new migration: `cd migrations/postgres && sha256sum *.sql > ../postgres.sha256`; one that was \
                      released stays as it is, and another one changes what it made";

#[test]
fn migrations_do_not_wait_for_locks_for_long() {
    // Those of 0.1.0 set no timeout. The migrator's own lock is waited for without one: two may run at once.
    for migration in crate::POSTGRES.iter().filter(|migration| migration.version > 4) {
        let sets = migration.sql.as_str().contains("\nSET LOCAL lock_timeout = '5s';\n");
        assert!(sets, "migration {} holds up every writer behind it", migration.version);
    }
}

#[test]
fn migrations_are_those_of_the_list() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("postgres");
    let mut found: Vec<String> = std::fs::read_dir(&folder)
        .expect("the folder")
        .map(|entry| {
            let path = entry.expect("an entry").path();
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            let hash = digest::digest(&digest::SHA256, &std::fs::read(&path).expect("a file"));
            let hash: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
            format!("{hash}  {name}")
        })
        .collect();
    found.sort_by(|a, b| a[66..].cmp(&b[66..]));
    let listed: Vec<_> = HASHES.lines().collect();
    assert_eq!(found, listed, "{UPDATE}");
}
