//! Wrong arguments and variables: the command line reports all of them before it connects.

use sqlx::Executor as _;
use tests::Endpoints;
use tests::database::Database;
use tokio::task::block_in_place;

use crate::cli::Cli;

const OLDER: &str = "mysql://u:hunter2@h/db";

/// Must fail with exit code 2 and print all of this, but no secret.
fn refused(cli: &Cli, arguments: &[&str], wanted: &[&str]) {
    let (code, out, err) = cli.run(arguments);
    assert_eq!(code, 2, "{arguments:?}: {out}{err}");
    for text in wanted {
        assert!(err.contains(text), "{arguments:?}: {text} is missing in {err}");
    }
    assert!(!err.contains("hunter2") && !err.contains("waiting:"), "{arguments:?}: {err}");
}

#[test]
fn every_mistake_is_reported_before_anything_is_connected() {
    let mut cli = Cli::new();
    cli.set("DATABASE_URL", "postgres://u:hunter2@one,two/db");
    cli.set("NEO4J_URI", "bolt://::1:7687");
    let stores = ["DATABASE_URL ", "NEO4J_URI "];
    let older = ["--from-legacy-postgres ", stores[0], stores[1]];
    refused(&cli, &["legacy", "verify", "--from-legacy-postgres", OLDER], &older);
    refused(&cli, &["legacy", "stats"], &stores);
    cli.set("FOLLOWGRAPH_COMMAND_ADDR", "http://127.0.0.1:1");
    cli.set("FOLLOWGRAPH_QUERY_ADDR", "127.0.0.1");
    let all = ["command-service must be HOST:PORT", "query-service must be HOST:PORT", stores[0], stores[1]];
    refused(&cli, &["legacy", "check"], &all);
    let both = ["command-service must be HOST:PORT", "--from-legacy-postgres "];
    refused(&cli, &["import", "--from-legacy-postgres", OLDER], &both);
    cli.set("FOLLOWGRAPH_COMMAND_ADDR", "127.0.0.1:1");
    refused(&cli, &["import", "/not/there"], &["cannot open /not/there"]);
}

#[test]
fn every_replica_counts_where_several_are_named() {
    let shared = Endpoints::shared();
    let mut cli = Cli::new();
    cli.set("NEO4J_URIS", &format!("{}, bolt://127.0.0.1:1", shared.neo4j_uri));
    refused(&cli, &["legacy", "verify"], &["cannot connect to Neo4j bolt://127.0.0.1:1"]);
    let (code, out, err) = cli.run(&["legacy", "check"]);
    assert_eq!(code, 1, "{err}");
    for (server, answers) in [(shared.neo4j_uri.as_str(), "yes"), ("bolt://127.0.0.1:1", "no")] {
        let line = out.lines().find(|line| line.starts_with(&format!("Neo4j {server} "))).expect("a line");
        assert_eq!(line.split_whitespace().nth(2), Some(answers), "{out}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_does_not_wait_for_permanent_errors() {
    let shared = Endpoints::shared();
    let foreign = Database::empty(&shared).await;
    foreign.pool.execute("CREATE TABLE follows (x integer)").await.expect("a table");
    let place = shared.database_url.rsplit_once('@').expect("a user").1;
    let migrate = |more: &[&str], variables: &[(&str, &str)], wanted: &[&str]| {
        let mut cli = Cli::new();
        for (name, value) in variables {
            cli.set(name, value);
        }
        let arguments = [&["migrate", "--wait", "120"], more].concat();
        block_in_place(|| refused(&cli, &arguments, wanted));
    };
    migrate(
        &["--roles"],
        &[("COMMAND_SERVICE_DATABASE_PASSWORD", "two words"), ("NEO4J_CA_FILE", "/not/there")],
        &["COMMAND_SERVICE_DATABASE_PASSWORD", "NEO4J_CA_FILE"],
    );
    migrate(&[], &[("DATABASE_URL", foreign.url.as_str())], &["belongs to another program"]);
    let nobody = format!("postgres://nobody:hunter2@{place}");
    migrate(&[], &[("DATABASE_URL", nobody.as_str())], &["cannot connect to PostgreSQL"]);
    // Its own user, because Neo4j locks a user after a few wrong passwords.
    migrate(&[], &[("NEO4J_USER", "nobody"), ("NEO4J_PASSWORD", "hunter2")], &["cannot connect to Neo4j"]);
    foreign.remove(&shared).await;
}
