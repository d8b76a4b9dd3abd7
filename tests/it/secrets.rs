//! No output of a program contains a secret, whatever fails. Each secret setting and each address contains a marker.
//! The list of settings comes from the programs, so new ones are included.

use std::collections::BTreeSet;
use std::process::{Command, Output};

use devstack::Principal;
use devstack::env_file::Env;
use devstack::ports::{Claim, loopback};
use devstack::services::{self, Program, Service, ServiceSpec};
use serde_json::Value;
use tests::own::binaries;
use tests::{Endpoints, until};
use tokio::task::block_in_place;

/// Long enough for a key.
const MARKER: &str = "hunter-d0a4f3b1c2";
/// A port that refuses connections.
const NOWHERE: &str = "127.0.0.1:1";

/// The servers of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Servers {
    /// No server answers.
    Away,
    /// Servers answer, and reject the login.
    Refusing,
}

/// Every setting that is secret or an address, with a marker wherever it can contain one.
fn marked(servers: Servers) -> Env {
    let host = |url: &str| {
        let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
        let place = rest.rsplit_once('@').map_or(rest, |(_, place)| place);
        place.split(['/', '?']).next().unwrap_or(place).to_owned()
    };
    let shared = Endpoints::shared();
    let [postgres, nats, neo4j] = match servers {
        Servers::Away => [NOWHERE.to_owned(), NOWHERE.to_owned(), NOWHERE.to_owned()],
        Servers::Refusing => {
            [host(&shared.database_url), host(shared.logins.nats(Principal::Query)), host(&shared.neo4j_uri)]
        }
    };
    let key = format!("{MARKER}-long-enough-to-sign");
    let env = Env::default()
        .with(
            "DATABASE_URL",
            format!(
                "postgres://nobody:{MARKER}@{postgres}/main?sslmode=prefer&sslpassword={MARKER}&PASSWORD={MARKER}\
                 &channel_binding={MARKER}&{MARKER}&{MARKER}=1#{MARKER}"
            ),
        )
        .with("DATABASE_ACQUIRE_TIMEOUT_MILLIS", "500")
        .with("NEO4J_URI", format!("bolt://{neo4j}?{MARKER}={MARKER}#{MARKER}"))
        .with("NEO4J_URIS", format!("bolt://{neo4j}?{MARKER}={MARKER},bolt://127.0.0.1:2#{MARKER}"))
        // Not the user of the other tests: Neo4j locks a user after a few wrong passwords.
        .with("NEO4J_USER", "nobody")
        .with("NEO4J_PASSWORD", MARKER)
        .with("AUTH_TOKENS", format!("read+write+admin:{MARKER}"))
        .with("INTERNAL_GRAPH_WRITE_TOKEN", MARKER)
        .with("PAGE_TOKEN_KEYS", key)
        .with("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://nobody:{MARKER}@{NOWHERE}/?key={MARKER}#{MARKER}"))
        .with("OTEL_EXPORTER_OTLP_HEADERS", format!("authorization={MARKER}"));
    match servers {
        Servers::Away => {
            env.with("NATS_URL", format!("nats://nobody:{MARKER}@{nats}?token={MARKER}#{MARKER}"))
        }
        Servers::Refusing => env
            .with("NATS_URL", format!("nats://{nats}?token={MARKER}"))
            .with("NATS_USER", "nobody")
            .with("NATS_PASSWORD", MARKER),
    }
}

/// The settings of a program that are secret, or that contain an address.
fn sensitive(program: Program) -> BTreeSet<String> {
    let output = Command::new(binaries().join(program.binary())).arg("--settings").output().expect("it runs");
    let settings: Vec<Value> = serde_json::from_slice(&output.stdout).expect("JSON");
    let is = |setting: &&Value| {
        setting["secret"] == true || setting["example"].as_str().is_some_and(|text| text.contains("://"))
    };
    settings.iter().filter(is).map(|setting| setting["name"].as_str().expect("a name").to_owned()).collect()
}

fn assert_clean(what: &str, text: &str) {
    let line = text.lines().find(|line| line.contains(MARKER));
    assert_eq!(line, None, "{what} shows a secret");
}

/// Runs a program until it has failed to use its servers, and returns its output.
async fn run(program: Program, servers: Servers, level: &str) -> String {
    let [grpc, admin] = [(); 2].map(|()| Claim::any().expect("a free port"));
    let name = format!("{}-secrets-{}", program.binary(), admin.port);
    let log = std::env::temp_dir().join(format!("followgraph-{name}.log"));
    let mut service = Service::start(ServiceSpec {
        program,
        name,
        binaries: binaries(),
        env: marked(servers).with("LOG_LEVEL", level),
        grpc: (program != Program::Projector).then(|| loopback(grpc.port)),
        admin: loopback(admin.port),
        log: log.clone(),
    })
    .expect("the program starts");
    until("the admin port", || async {
        let answers = devstack::http::is_ok(loopback(admin.port), "/livez");
        if answers { Ok(()) } else { Err(std::fs::read_to_string(&log).unwrap_or_default()) }
    })
    .await;
    // More than a start without failures writes.
    until("failures in the log", || async {
        let lines = std::fs::read_to_string(&log).unwrap_or_default().lines().count();
        if lines >= 15 { Ok(()) } else { Err(format!("{lines} lines")) }
    })
    .await;
    for path in ["/readyz", "/metrics"] {
        let answer = devstack::http::get(loopback(admin.port), path).expect("an answer");
        assert_clean(&format!("{program:?}{path}"), &answer.body);
    }
    block_in_place(|| service.stop()).expect("it stops");
    let written = std::fs::read_to_string(&log).expect("the log");
    // After a failed assertion above, the file stays for debugging.
    std::fs::remove_file(&log).expect("the log was there");
    written
}

#[tokio::test(flavor = "multi_thread")]
async fn no_log_line_of_a_service_holds_a_secret() {
    for program in [Program::Command, Program::Projector, Program::Query] {
        for name in sensitive(program) {
            let known = [Servers::Away, Servers::Refusing].map(marked);
            let marked = known.iter().filter_map(|env| env.get(&name)).any(|value| value.contains(MARKER));
            // The file itself is checked where its content is used.
            assert!(marked || name == "NATS_CREDENTIALS_FILE", "{name} has no marker in this test");
        }
        for (servers, level) in
            [(Servers::Away, "info"), (Servers::Away, "debug"), (Servers::Refusing, "debug")]
        {
            let written = run(program, servers, level).await;
            assert!(written.contains("starting"), "{program:?} at {level} wrote no start line: {written}");
            assert_clean(&format!("{program:?}, {servers:?}, {level}"), &written);
            let named = written.matches("the parameter sslpassword has no effect").count();
            assert_eq!(named, 1, "{program:?}: a parameter without effect is named once");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_are_refused_are_not_shown() {
    let wrong = [
        ("DATABASE_URL", format!("mysql://nobody:{MARKER}@h/main")),
        ("DATABASE_URL", format!("postgres://h/main?sslmode={MARKER}")),
        ("NATS_URL", format!("nats://{MARKER}@h")),
        ("NEO4J_URI", format!("bolt://nobody:{MARKER}@h")),
        ("AUTH_TOKENS", MARKER.to_owned()),
        ("PAGE_TOKEN_KEYS", "hunter".to_owned()),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", format!("ftp://nobody:{MARKER}@h")),
    ];
    for (name, value) in wrong {
        let mut command = Command::new(binaries().join(Program::Query.binary()));
        let mut env = marked(Servers::Away).with(name, value);
        if name == "NEO4J_URI" {
            env.remove("NEO4J_URIS");
        }
        command.env_clear().envs(env.iter());
        let output = block_in_place(|| command.output()).expect("it runs");
        assert_eq!(output.status.code(), Some(2), "{name}: {}", text(&output));
        assert!(text(&output).contains(name), "{}", text(&output));
        assert_clean(name, &text(&output));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_output_of_the_command_line_holds_a_secret() {
    let env = [("FOLLOWGRAPH_COMMAND_ADDR", format!("nobody:{MARKER}@{NOWHERE}"))]
        .into_iter()
        .chain([
            ("FOLLOWGRAPH_QUERY_ADDR", format!("nobody:{MARKER}@{NOWHERE}")),
            ("FOLLOWGRAPH_TOKEN", MARKER.to_owned()),
            ("COMMAND_SERVICE_DATABASE_PASSWORD", MARKER.to_owned()),
            ("QUERY_SERVICE_DATABASE_PASSWORD", MARKER.to_owned()),
            ("PROJECTOR_DATABASE_PASSWORD", MARKER.to_owned()),
        ])
        .fold(Env::default(), |env, (name, value)| env.with(name, value));
    let wrong = |name: &str, value: String| marked(Servers::Away).with(name, value);
    for stores in [
        marked(Servers::Away),
        marked(Servers::Refusing),
        wrong("DATABASE_URL", format!("postgres://h/main?sslmode={MARKER}")),
        wrong("NEO4J_URI", format!("bolt://nobody:{MARKER}@{NOWHERE}")),
    ] {
        for arguments in [
            &["status"][..],
            &["--output", "json", "status"],
            &["check", "1", "2"],
            &["follow", "1", "2"],
            &["migrate", "--roles"],
            &["recover", "--yes"],
            &["legacy", "stats"],
            &["migrate", "--help"],
            &["migrate", "--no-such-flag"],
        ] {
            let mut all = stores.clone();
            all.extend(&env);
            let mut command = services::cli(&binaries(), &all);
            command.args(arguments).args(["--timeout", "3"]);
            let output = block_in_place(|| command.output()).expect("it runs");
            let helped = arguments.contains(&"--help");
            assert_eq!(output.status.success(), helped, "{arguments:?}: {}", text(&output));
            assert_clean(&format!("{arguments:?}"), &text(&output));
        }
    }
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
