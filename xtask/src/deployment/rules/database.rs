//! PostgreSQL: connections and fallback reads of all pods together, and limits of the roles that the operator creates.

use serde_json::Value;

use super::{
    contract::Contract,
    documents::{list, named, of_kind, setting, text, title},
};

/// Maximum fallback reads per second that PostgreSQL serves for all pods: docs/kubernetes.md.
const READS_PER_SECOND: u64 = 3_000;
/// Connections reserved for the owner, the operator and people.
const RESERVE: u64 = 10;
/// Session defaults that every service's role must have.
const DEFAULTS: [&str; 2] = ["statement_timeout", "idle_in_transaction_session_timeout"];
const READ_ONLY: &str = "default_transaction_read_only";

/// How many connections one process opens.
struct Client {
    program: &'static str,
    role: &'static str,
    /// The setting that limits its pool, the default, and the largest size that the program uses.
    setting: (&'static str, u64, u64),
    /// Connections in addition to the pool.
    more: u64,
}

const CLIENTS: [Client; 3] = [
    Client {
        program: "command-service",
        role: "followgraph_command",
        setting: ("DATABASE_MAX_CONNECTIONS", 16, u64::MAX),
        // Two for commits, two for jobs, and two that hold the locks of the leaders.
        more: 6,
    },
    Client {
        program: "query-service",
        role: "followgraph_query",
        setting: ("FALLBACK_CONCURRENCY", 16, u64::MAX),
        // Exports, the probe and the event reader.
        more: 4,
    },
    Client {
        program: "projector",
        role: "followgraph_projector",
        setting: ("DATABASE_MAX_CONNECTIONS", 16, 4),
        more: 0,
    },
];

/// Each role's limit suffices for all processes of its service, also during a rollout, and `max_connections` for all
/// roles.
pub fn connections(documents: &[Value]) -> Vec<String> {
    let mut problems = Vec::new();
    for cluster in of_kind(documents, "Cluster") {
        let roles = list(&cluster["spec"]["managed"]["roles"]);
        // Roles are created elsewhere, with limits of their own.
        if roles.is_empty() {
            continue;
        }
        for client in CLIENTS {
            let limit = roles
                .iter()
                .find(|role| role["name"] == client.role)
                .and_then(|role| role["connectionLimit"].as_u64());
            let Some(limit) = limit else {
                problems.push(format!("{}: no role {} with a connectionLimit", title(cluster), client.role));
                continue;
            };
            let (name, default, most) = client.setting;
            let each = number(documents, client.program, name, default).min(most) + client.more;
            let processes = most_processes(documents, client.program)
                + surge(documents, client.program)
                + leaving(documents, client.program);
            if each * processes > limit {
                problems.push(format!(
                    "{}: {} may have {limit} connections, but {processes} processes take {each} each",
                    title(cluster),
                    client.role
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

/// The fallback budgets of all query-services together do not exceed what PostgreSQL serves.
pub fn fallback_budget(documents: &[Value]) -> Vec<String> {
    let each = number(documents, "query-service", "FALLBACK_BUDGET_PER_SECOND", 2_000);
    let pods = most_processes(documents, "query-service");
    if each * pods <= READS_PER_SECOND {
        return Vec::new();
    }
    vec![format!(
        "ConfigMap/query-service: FALLBACK_BUDGET_PER_SECOND is {each}; {pods} pods ask PostgreSQL for more than {READS_PER_SECOND}"
    )]
}

/// Roles that the operator creates have the session defaults. Only a superuser can set them, so `postInitSQL` does.
pub fn role_defaults(documents: &[Value], contract: &Contract) -> Vec<String> {
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

/// Pods outside of a rollout: the maximum of the autoscaler, or the replicas.
fn most_processes(documents: &[Value], program: &str) -> u64 {
    let scaled = of_kind(documents, "HorizontalPodAutoscaler")
        .find(|scaler| scaler["spec"]["scaleTargetRef"]["name"] == program)
        .and_then(|scaler| scaler["spec"]["maxReplicas"].as_u64());
    let replicas = || workload(documents, program).and_then(|it| it["spec"]["replicas"].as_u64());
    scaled.or_else(replicas).unwrap_or(1)
}

/// Pods that a Deployment may have in addition during a rollout (`maxSurge`).
fn surge(documents: &[Value], program: &str) -> u64 {
    let Some(deployment) = workload(documents, program).filter(|it| it["kind"] == "Deployment") else {
        return 0;
    };
    let value = &deployment["spec"]["strategy"]["rollingUpdate"]["maxSurge"];
    let percent = || text(value).trim_end_matches('%').parse().unwrap_or(25);
    value.as_u64().unwrap_or_else(|| (most_processes(documents, program) * percent()).div_ceil(100))
}

/// Pods that may be terminating while their replacements run. They count for no limit of a rollout, but keep their
/// connections. If `minReadySeconds` covers the grace period, there are at most as many as a rollout replaces at a time;
/// otherwise all pods may be terminating.
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
    ["Deployment", "StatefulSet"].into_iter().find_map(|kind| named(documents, kind, program))
}

/// A number in a program's ConfigMap.
fn number(documents: &[Value], program: &str, name: &str, default: u64) -> u64 {
    setting(documents, program, name).parse().unwrap_or(default)
}
