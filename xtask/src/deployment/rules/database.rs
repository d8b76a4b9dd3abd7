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
pub fn connections(documents: &[Value], problems: &mut Vec<String>) {
    for cluster in of_kind(documents, "Cluster") {
        let (title, roles) = (title(cluster), list(&cluster["spec"]["managed"]["roles"]));
        // Roles are created elsewhere, with limits of their own.
        if roles.is_empty() {
            continue;
        }
        for client in CLIENTS {
            let Client { program, role, .. } = client;
            let limit = roles.iter().find(|it| it["name"] == role);
            let Some(limit) = limit.and_then(|role| role["connectionLimit"].as_u64()) else {
                problems.push(format!("{title}: no role {role} with a connectionLimit"));
                continue;
            };
            let (name, default, most) = client.setting;
            let each = number(documents, program, name, default).min(most) + client.more;
            let processes = most_processes(documents, program) + surplus(documents, program);
            if each * processes > limit {
                problems.push(format!(
                    "{title}: {role} may have {limit} connections, but {processes} processes take {each} each"
                ));
            }
        }
        let all: u64 = roles.iter().filter_map(|role| role["connectionLimit"].as_u64()).sum();
        let most =
            text(&cluster["spec"]["postgresql"]["parameters"]["max_connections"]).parse().unwrap_or(100);
        if all + RESERVE > most {
            problems.push(format!(
                "{title}: the roles may have {all} connections, but max_connections is {most}, and {RESERVE} are for others"
            ));
        }
    }
}

/// The fallback budgets of all query-services together do not exceed what PostgreSQL serves.
pub fn fallback_budget(documents: &[Value], problems: &mut Vec<String>) {
    let each = number(documents, "query-service", "FALLBACK_BUDGET_PER_SECOND", 2_000);
    let pods = most_processes(documents, "query-service");
    if each * pods > READS_PER_SECOND {
        problems.push(format!(
            "ConfigMap/query-service: FALLBACK_BUDGET_PER_SECOND is {each}; {pods} pods ask PostgreSQL for more than {READS_PER_SECOND}"
        ));
    }
}

/// Roles that the operator creates have the session defaults. Only a superuser can set them, so `postInitSQL` does.
pub fn role_defaults(documents: &[Value], contract: &Contract, problems: &mut Vec<String>) {
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
}

/// Pods outside of a rollout: the maximum of the autoscaler, or the replicas.
fn most_processes(documents: &[Value], program: &str) -> u64 {
    let scaled = of_kind(documents, "HorizontalPodAutoscaler")
        .find(|scaler| scaler["spec"]["scaleTargetRef"]["name"] == program)
        .and_then(|scaler| scaler["spec"]["maxReplicas"].as_u64());
    let workload = || ["Deployment", "StatefulSet"].iter().find_map(|kind| named(documents, kind, program));
    let replicas = || workload()?["spec"]["replicas"].as_u64();
    scaled.or_else(replicas).unwrap_or(1)
}

/// Pods that a Deployment may have in addition: those of a rollout (`maxSurge`), and those that may be terminating while
/// their replacements run. The latter count for no limit of a rollout, but keep their connections. If `minReadySeconds`
/// covers the grace period, there are at most as many as a rollout replaces at a time; otherwise all pods may be
/// terminating.
fn surplus(documents: &[Value], program: &str) -> u64 {
    let Some(deployment) = named(documents, "Deployment", program) else { return 0 };
    let (spec, pods) = (&deployment["spec"], most_processes(documents, program));
    let value = &spec["strategy"]["rollingUpdate"]["maxSurge"];
    let percent = || text(value).trim_end_matches('%').parse().unwrap_or(25);
    let surge = value.as_u64().unwrap_or_else(|| (pods * percent()).div_ceil(100));
    let grace = spec["template"]["spec"]["terminationGracePeriodSeconds"].as_u64().unwrap_or(30);
    let replaced_in_turn = spec["minReadySeconds"].as_u64().unwrap_or(0) >= grace;
    surge + if replaced_in_turn { surge } else { pods }
}

/// A number in a program's ConfigMap.
fn number(documents: &[Value], program: &str, name: &str, default: u64) -> u64 {
    setting(documents, program, name).parse().unwrap_or(default)
}
