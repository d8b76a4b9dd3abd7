//! The verbs of the older migration tool.

use crate::cli::{Cli, json};

#[test]
fn each_verb_has_an_answer() {
    let cli = Cli::new();
    let (code, out, err) = cli.run(&["legacy", "backfill"]);
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("projector-0 is complete"), "{out}");

    let (code, out, err) = cli.run(&["legacy", "clear"]);
    assert_eq!(code, 1, "{out}{err}");
    assert!(out.contains("nothing was cleared"), "{out}");

    let (code, out, err) = cli.run(&["-o", "json", "legacy", "check"]);
    assert_eq!(code, 0, "{out}{err}");
    let servers: Vec<_> =
        json(&out).iter().map(|row| row["server"].as_str().expect("a name").to_owned()).collect();
    assert_eq!(servers, ["PostgreSQL", "Neo4j", "command-service", "NATS", "projector", "query-service"]);

    let (code, out, err) = cli.run(&["-o", "json", "legacy", "stats"]);
    assert_eq!(code, 0, "{out}{err}");
    let stores = json(&out).remove(0)["stores"].clone();
    assert_eq!((&stores[0]["store"], &stores[1]["store"]), (&"PostgreSQL".into(), &"Neo4j".into()));
    assert!(stores[0]["follows"].is_u64() && stores[1]["blocks"].is_u64(), "{stores}");
}

#[test]
fn a_server_that_is_away_is_named() {
    let mut cli = Cli::new();
    cli.set("NEO4J_URI", "bolt://127.0.0.1:1");
    let (code, out, err) = cli.run(&["legacy", "check"]);
    assert_eq!(code, 1, "{out}{err}");
    let line = out.lines().find(|line| line.starts_with("Neo4j")).expect("a line");
    assert!(line.contains(" no "), "{out}");
    assert!(out.lines().any(|line| line.starts_with("PostgreSQL") && line.contains(" yes ")), "{out}");
    let (code, _, err) = cli.run(&["legacy", "verify"]);
    assert_eq!(code, 2, "{err}");
    assert!(err.contains("NEO4J_URI"), "{err}");
}
