//! The checks that GetStatus, `/readyz` and the command line share.

use std::collections::BTreeSet;

use devstack::env_file::Env;
use devstack::http;
use devstack::ports::{Claim, loopback};
use devstack::services::{Program, Service, ServiceSpec};
use proto::graph::v1::{Check, CheckState};
use proto::{command::v1 as command, query::v1 as query};
use serde_json::Value;
use tests::fault_proxy::FaultProxy;
use tests::own::{binaries, command_service_beside, query_service_beside, second_replica};
use tests::{Endpoints, Queries, until};
use tokio::task::block_in_place;

use crate::cli::{Cli, json};

/// Name, subject, and whether readiness depends on it.
type Name = (String, String, bool);

fn of_status(checks: &[Check]) -> BTreeSet<Name> {
    checks.iter().map(|check| (check.name.clone(), check.subject.clone(), check.required)).collect()
}

fn of_json(checks: &Value) -> BTreeSet<Name> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let checks = checks.as_array().expect("a list of checks");
    checks.iter().map(|c| (text(&c["name"]), text(&c["subject"]), c["required"] == true)).collect()
}

fn readyz(service: &Service) -> (u16, Value) {
    let answer =
        block_in_place(|| http::get(service.admin_addr(), "/readyz")).expect("the admin port answers");
    (answer.status, serde_json::from_str(&answer.body).expect("JSON"))
}

fn since(check: &Check) -> (i64, i32) {
    let since = check.since.expect("a date");
    (since.seconds, since.nanos)
}

async fn checks(queries: &mut Queries) -> Vec<Check> {
    queries.get_status(query::GetStatusRequest {}).await.expect("a status").into_inner().checks
}

async fn heartbeat(queries: &mut Queries) -> Check {
    let all = checks(queries).await;
    all.into_iter().find(|check| check.name == "heartbeat").expect("the check")
}

#[tokio::test(flavor = "multi_thread")]
async fn status_readyz_and_command_line_show_the_same_checks() {
    let shared = Endpoints::shared();
    let (writes, reads) = (second_replica(&shared), query_service_beside(&shared, Env::default()));
    let here = shared.through(&writes).reading_through(&reads);
    let (commands, queries, cli) = (here.commands(), here.queries(), Cli::of(here.clone()));
    // Projectors of other tests come and go.
    until("the same checks everywhere", || async {
        let status = commands.clone().get_status(command::GetStatusRequest {}).await;
        let ours = of_status(&status.expect("a status").into_inner().checks);
        let theirs = of_status(&checks(&mut queries.clone()).await);
        for name in ["start", "postgres", "commits", "stream"] {
            assert!(ours.contains(&(name.to_owned(), String::new(), true)), "{name}: {ours:?}");
        }
        for name in ["clock", "publishing"] {
            assert!(ours.contains(&(name.to_owned(), String::new(), false)), "{name}: {ours:?}");
        }
        assert!(theirs.contains(&("stores".to_owned(), String::new(), true)), "{theirs:?}");
        assert!(theirs.contains(&("store".to_owned(), "postgres".to_owned(), false)), "{theirs:?}");
        let shown = (of_json(&readyz(&writes).1["checks"]), of_json(&readyz(&reads).1["checks"]));
        if shown != (ours.clone(), theirs.clone()) {
            return Err(format!("/readyz shows {shown:?}"));
        }
        let (_, out, _) = block_in_place(|| cli.run(&["-o", "json", "status"]));
        let report = &json(&out)[0];
        let printed = of_json(&report["checks"]);
        if printed != ours.union(&theirs).cloned().collect::<BTreeSet<_>>() {
            return Err(format!("the command line prints {printed:?}"));
        }
        let failed =
            report["checks"].as_array().expect("checks").iter().filter(|c| c["state"] != "ok").count();
        assert_eq!(report["problems"].as_array().map(Vec::len), Some(failed), "nothing of its own: {report}");
        assert_eq!(report["healthy"], failed == 0);
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_service_without_heartbeats_fails_a_check_and_stays_ready() {
    let shared = Endpoints::shared();
    let nats = shared.logins.nats(Program::Query.principal());
    let port = nats.parse::<async_nats::ServerAddr>().expect("an address").port();
    let proxy = FaultProxy::start(port).await;
    let service = query_service_beside(&shared, Env::default().with("NATS_URL", proxy.through(nats, port)));
    let here = shared.reading_through(&service);
    let (queries, cli) = (here.queries(), Cli::of(here));
    let turns = async |state: CheckState| {
        until(&format!("the heartbeat to be {state:?}"), || async {
            let check = heartbeat(&mut queries.clone()).await;
            if check.state() == state { Ok(check) } else { Err(format!("{check:?}")) }
        })
        .await
    };
    let passes = turns(CheckState::Ok).await;
    assert!(passes.reason.is_empty() && !passes.required, "{passes:?}");

    proxy.refuse(true);
    proxy.cut();
    let failed = turns(CheckState::Failed).await;
    assert!(failed.reason.contains("s old") && failed.action.contains("NATS"), "{failed:?}");
    assert!(since(&failed) > since(&passes), "{failed:?}");
    assert_eq!(heartbeat(&mut queries.clone()).await.since, failed.since, "it fails since then");
    assert_eq!(readyz(&service).0, 200, "it can still answer");
    let (code, out, err) = block_in_place(|| cli.run(&["-o", "json", "status"]));
    assert_eq!(code, 1, "{out}{err}");
    let problems = json(&out)[0]["problems"].to_string();
    assert!(
        problems.contains("query-service: heartbeat command-service: the last heartbeat is"),
        "{problems}"
    );

    proxy.refuse(false);
    assert!(since(&turns(CheckState::Ok).await) > since(&failed));
}

/// GetStatus explains why no other call is answered.
#[tokio::test(flavor = "multi_thread")]
async fn query_service_has_a_status_while_no_store_answers() {
    const NOWHERE: &str = "127.0.0.1:1";
    let shared = Endpoints::shared();
    let [grpc, admin] = [(); 2].map(|()| Claim::any().expect("a free port"));
    let name = format!("query-service-alone-{}", admin.port);
    let spec = ServiceSpec {
        program: Program::Query,
        binaries: binaries(),
        env: Env::default()
            .with("DATABASE_URL", format!("postgres://nobody@{NOWHERE}/main"))
            .with("NATS_URL", format!("nats://{NOWHERE}"))
            .with("NEO4J_URI", format!("bolt://{NOWHERE}"))
            .with("NEO4J_USER", "nobody")
            .with("NEO4J_PASSWORD", "nothing")
            .with("AUTH_TOKENS", format!("read:{}", shared.token)),
        grpc: Some(loopback(grpc.port)),
        admin: loopback(admin.port),
        log: std::env::temp_dir().join(format!("followgraph-{name}.log")),
        name,
    };
    let service = block_in_place(|| Service::start(spec)).expect("the program starts");
    let here = shared.reading_through(&service);
    let failed = until("the check to fail", || async {
        let status = here.queries().get_status(query::GetStatusRequest {}).await;
        failed_check(&status.map_err(|status| status.to_string())?.into_inner().checks, "stores")
    })
    .await;
    assert!(failed.required && !failed.reason.is_empty() && !failed.action.is_empty(), "{failed:?}");
    assert_eq!(readyz(&service).0, 503, "it gets no traffic");
}

#[tokio::test(flavor = "multi_thread")]
async fn command_service_has_a_status_while_postgres_is_away() {
    let shared = Endpoints::shared();
    let url = shared.logins.database(Program::Command.principal());
    let port = url.rsplit_once(':').and_then(|(_, rest)| rest.split('/').next()?.parse().ok());
    let port = port.expect("an address with a port");
    let proxy = FaultProxy::start(port).await;
    let settings = Env::default()
        .with("AUTH_TOKENS", format!("read:{}", shared.token))
        .with("DATABASE_URL", proxy.through(url, port));
    let service = command_service_beside(&shared, settings);
    proxy.refuse(true);
    proxy.cut();
    let commands = shared.through(&service).commands();
    let failed = until("the check to fail", || async {
        let status = commands.clone().get_status(command::GetStatusRequest {}).await;
        failed_check(&status.map_err(|status| status.to_string())?.into_inner().checks, "postgres")
    })
    .await;
    assert!(failed.required && !failed.reason.is_empty() && !failed.action.is_empty(), "{failed:?}");
    assert_eq!(readyz(&service).0, 503, "it gets no traffic");
}

fn failed_check(checks: &[Check], name: &str) -> Result<Check, String> {
    let failed = |check: &&Check| check.name == name && check.state() == CheckState::Failed;
    checks.iter().find(failed).cloned().ok_or_else(|| format!("{checks:?}"))
}
