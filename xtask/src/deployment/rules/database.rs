//! PostgreSQL: what all processes together may ask of it, and that the roles which an operator makes are limited.

use serde_json::Value;

use super::{Contract, config_map, list, of_kind, text, title};

/// Reads a second that PostgreSQL is trusted with while no read model answers, from all pods: docs/kubernetes.md.
const READS_PER_SECOND: u64 = 3_000;
/// Connections that are left for the owner, the operator and people.
const RESERVE: u64 = 10;
/// What a session of a service's role must begin with.
const DEFAULTS: [&str; 2] = ["statement_timeout", "idle_in_transaction_session_timeout"];
const READ_ONLY: &str = "default_transaction_read_only";

/// How many connections one process takes.
struct Taker {
    program: &'static str,
    role: &'static str,
    /// The setting that says so, its default, and what counts at most.
    setting: (&'static str, u64, u64),
    /// Beside those.
    more: u64,
}

const TAKERS: [Taker; 3] = [
    Taker {
        program: "command-service",
        role: "followgraph_command",
        setting: ("DATABASE_MAX_CONNECTIONS", 16, u64::MAX),
        // Two each for commits and for the worker, and the two that hold the locks of the leaders.
        more: 6,
    },
    Taker {
        program: "query-service",
        role: "followgraph_query",
        setting: ("FALLBACK_CONCURRENCY", 16, u64::MAX),
        // Exports, the probe and the events.
        more: 4,
    },
    Taker {
        program: "projector",
        role: "followgraph_projector",
        setting: ("DATABASE_MAX_CONNECTIONS", 16, 4),
        more: 0,
    },
];

/// The role's limit is enough for all processes of a service, those that come and go while they are replaced included; and
/// the server has room for all roles.
pub(super) fn connections(documents: &[Value]) -> Vec<String> {
    let mut problems = Vec::new();
    for cluster in of_kind(documents, "Cluster") {
        let roles = list(&cluster["spec"]["managed"]["roles"]);
        // Then somebody else makes them, with limits of his own.
        if roles.is_empty() {
            continue;
        }
        for taker in TAKERS {
            let limit = roles
                .iter()
                .find(|role| role["name"] == taker.role)
                .and_then(|role| role["connectionLimit"].as_u64());
            let Some(limit) = limit else {
                problems.push(format!("{}: no role {} with a connectionLimit", title(cluster), taker.role));
                continue;
            };
            let (name, default, most) = taker.setting;
            let each = number(documents, taker.program, name, default).min(most) + taker.more;
            let processes = most_processes(documents, taker.program)
                + surge(documents, taker.program)
                + leaving(documents, taker.program);
            if each * processes > limit {
                problems.push(format!(
                    "{}: {} may have {limit} connections, but {processes} processes take {each} each",
                    title(cluster),
                    taker.role
                ));
            }
        }
        let all: u64 = roles.iter().filter_map(|role| role["connectionLimit"].as_u64()).sum();
        let most =
            text(&cluster["spec"]["postgresql"]["parameters"]["max_connections"]).parse().unwrap_or(100);
        if all + RESERVE > most {
            problems.push(format!(
                "{}: the roles may have {all} connections, but max_connections is {most}, and {RESERVE} are for others",
                title(cluster)
            ));
        }
    }
    problems
}

/// All query-services together do not turn more reads to PostgreSQL than it takes.
pub(super) fn fallback_budget(documents: &[Value]) -> Vec<String> {
    let each = number(documents, "query-service", "FALLBACK_BUDGET_PER_SECOND", 2_000);
    let pods = most_processes(documents, "query-service");
    if each * pods <= READS_PER_SECOND {
        return Vec::new();
    }
    vec![format!(
        "ConfigMap/query-service: FALLBACK_BUDGET_PER_SECOND is {each}; {pods} pods ask PostgreSQL for more than {READS_PER_SECOND}"
    )]
}

/// Roles that the operator makes get as superuser what the owner of the schema may not set.
pub(super) fn role_defaults(documents: &[Value], contract: &Contract) -> Vec<String> {
    let mut problems = Vec::new();
    for cluster in of_kind(documents, "Cluster") {
        let statements = list(&cluster["spec"]["bootstrap"]["initdb"]["postInitSQL"]);
        for role in list(&cluster["spec"]["managed"]["roles"]).iter().map(|role| text(&role["name"])) {
            let sets = |setting: &str, value: &str| {
                let wanted = format!("ALTER ROLE {role} SET {setting} = {value}");
                statements.iter().any(|statement| text(statement).starts_with(&wanted))
            };
            let only_reads = contract.readers.iter().any(|reader| reader == role);
            let missing = DEFAULTS.into_iter().filter(|setting| !sets(setting, "'"));
            let missing = missing.chain((only_reads && !sets(READ_ONLY, "'on'")).then_some(READ_ONLY));
            problems.extend(
                missing.map(|setting| format!("{}: postInitSQL gives {role} no {setting}", title(cluster))),
            );
        }
    }
    problems
}

/// Pods while nothing is replaced: what the autoscaler may make, or the replicas.
fn most_processes(documents: &[Value], program: &str) -> u64 {
    let scaled = of_kind(documents, "HorizontalPodAutoscaler")
        .find(|scaler| scaler["spec"]["scaleTargetRef"]["name"] == program)
        .and_then(|scaler| scaler["spec"]["maxReplicas"].as_u64());
    let replicas = || workload(documents, program).and_then(|it| it["spec"]["replicas"].as_u64());
    scaled.or_else(replicas).unwrap_or(1)
}

/// Pods that a Deployment may have beyond that.
fn surge(documents: &[Value], program: &str) -> u64 {
    let Some(deployment) = workload(documents, program).filter(|it| it["kind"] == "Deployment") else {
        return 0;
    };
    let value = &deployment["spec"]["strategy"]["rollingUpdate"]["maxSurge"];
    let percent = || text(value).trim_end_matches('%').parse().unwrap_or(25);
    value.as_u64().unwrap_or_else(|| (most_processes(documents, program) * percent()).div_ceil(100))
}

/// Pods that may still end while others have taken their places: they count for no limit of a rollout, but keep their
/// connections until they are gone. A Deployment that waits for as long as they may take (`minReadySeconds`) has no more
/// of them than it replaces at a time; another one may have all of them.
fn leaving(documents: &[Value], program: &str) -> u64 {
    let Some(deployment) = workload(documents, program).filter(|it| it["kind"] == "Deployment") else {
        return 0;
    };
    let spec = &deployment["spec"];
    let grace = spec["template"]["spec"]["terminationGracePeriodSeconds"].as_u64().unwrap_or(30);
    if spec["minReadySeconds"].as_u64().unwrap_or(0) >= grace {
        surge(documents, program)
    } else {
        most_processes(documents, program)
    }
}

fn workload<'a>(documents: &'a [Value], program: &str) -> Option<&'a Value> {
    ["Deployment", "StatefulSet"]
        .into_iter()
        .flat_map(|kind| of_kind(documents, kind))
        .find(|it| it["metadata"]["name"] == program)
}

/// A number of a program's ConfigMap.
fn number(documents: &[Value], program: &str, name: &str, default: u64) -> u64 {
    let value = config_map(documents, program).and_then(|map| map.get(name)).map(text);
    value.and_then(|value| value.parse().ok()).unwrap_or(default)
}
