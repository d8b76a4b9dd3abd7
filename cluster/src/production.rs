//! The overlay `production` on one node: as shipped but for sizes, with a stand-in for its database.
//!
//! No controller of CloudNativePG and of the Gateway API runs here: their objects are only stored. One PostgreSQL with the
//! names and labels of the operator takes the place of the database; its roles are made as the Cluster object says.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use devstack::{secrets::random_hex, workspace};
use serde_json::{Value, json};

use crate::{
    cluster::{Cluster, output},
    images::{Images, TARGETS},
    kubectl::Kubectl,
    manifests::{documents, items, list, named, text},
    node::Node,
};

pub const NAMESPACE: &str = "followgraph";
const DATABASE: &str = include_str!("../manifests/database.yaml");
/// Requested CPU time of a pod of query-service, which the autoscaler compares with: 1 core as shipped.
pub const QUERY_SERVICE_CPU: &str = "100m";
const OTHER_CPU: &str = "20m";
/// Of the heap, of the page cache and of the container: as shipped, and here.
const NEO4J_SIZES: [(&str, &str); 3] = [
    ("memory.heap.initial_size=4g", "memory.heap.initial_size=512m"),
    ("memory.heap.max_size=4g", "memory.heap.max_size=512m"),
    ("memory.pagecache.size=8g", "memory.pagecache.size=128m"),
];
const NEO4J_MEMORY: (&str, &str) = ("1Gi", "2Gi");

const WORKLOADS: [&str; 5] = [
    "statefulset/nats",
    "statefulset/neo4j",
    "deployment/command-service",
    "statefulset/projector",
    "deployment/query-service",
];
const READY: &str = "--timeout=540s";

/// The installation, with the token of its operator.
pub fn installed(cluster: &Cluster) -> Result<Cluster> {
    let kubectl = Kubectl::new(&cluster.node).namespace(NAMESPACE);
    let tokens = secret(&kubectl, "command-service", "AUTH_TOKENS")?;
    let token = tokens.split(',').find_map(|entry| entry.strip_prefix("operator=read+write+admin:"));
    let token = token.context("AUTH_TOKENS has no entry of an operator")?.to_owned();
    // One for each check that uses the installation.
    Ok(Cluster { namespace: NAMESPACE, token: token.leak(), ..cluster.clone() })
}

/// The objects of the overlay, as shipped.
pub fn shipped(node: &Node) -> Result<Vec<Value>> {
    let overlay = workspace::root().join("k8s/overlays/production");
    let overlay = overlay.to_str().context("the path of this clone is not UTF-8")?;
    documents(&Kubectl::new(node).run(&["kustomize", overlay])?)
}

/// The same objects for one small node: less memory for Neo4j, less CPU time requested, and no rule that two pods of a kind
/// need two nodes. Numbers of pods, settings, policies and the rest are unchanged.
pub fn scaled(mut objects: Vec<Value>) -> Vec<Value> {
    for object in &mut objects {
        let name = text(&object["metadata"]["name"]).to_owned();
        if let Some(Value::String(conf)) = object.pointer_mut("/data/neo4j.conf") {
            for (shipped, here) in NEO4J_SIZES {
                *conf = conf.replace(shipped, here);
            }
        }
        let Some(pod) = object.pointer_mut("/spec/template/spec") else { continue };
        if let Some(Value::Object(rules)) = pod.pointer_mut("/affinity/podAntiAffinity") {
            rules.remove("requiredDuringSchedulingIgnoredDuringExecution");
        }
        for kind in ["initContainers", "containers"] {
            for container in pod.get_mut(kind).and_then(Value::as_array_mut).into_iter().flatten() {
                let cpu = if name == "query-service" { QUERY_SERVICE_CPU } else { OTHER_CPU };
                container["resources"]["requests"]["cpu"] = json!(cpu);
                if container["name"] == "neo4j" {
                    container["resources"]["requests"]["memory"] = json!(NEO4J_MEMORY.0);
                    container["resources"]["limits"]["memory"] = json!(NEO4J_MEMORY.1);
                }
            }
        }
    }
    objects
}

/// Makes the images available under the names of the overlay, whose registry is an example.
pub fn name_images(node: &Node, objects: &[Value]) -> Result<()> {
    let used: Vec<&str> = objects
        .iter()
        .flat_map(|object| items(&object["spec"]["template"]["spec"]["containers"]))
        .map(|container| text(&container["image"]))
        .collect();
    let names: Vec<_> = TARGETS
        .iter()
        .map(|target| {
            let part = format!("/{target}:");
            let image = used.iter().find(|image| image.contains(&part));
            let image = image.with_context(|| format!("no pod uses an image of {target}"))?;
            let tag = image.rsplit(':').next().unwrap_or_default();
            Ok((format!("docker.io/followgraph/{target}:{tag}"), (*image).to_owned()))
        })
        .collect::<Result<_>>()?;
    Images::of(node).rename(&names)
}

/// Creates the Secrets with the script that is shipped, and the one that the operator would create.
pub fn secrets(node: &Node) -> Result<()> {
    let kubectl = Kubectl::new(node).namespace(NAMESPACE);
    if kubectl.run(&["get", "secret", "nats", "--ignore-not-found", "--output=name"])?.is_empty() {
        let made = output(
            Command::new("sh")
                .arg(workspace::root().join("k8s/overlays/production/secrets.sh"))
                .stdin(Stdio::null()),
        )?;
        kubectl.create(&made)?;
    }
    if kubectl.run(&["get", "secret", "database-app", "--ignore-not-found", "--output=name"])?.is_empty() {
        let password = random_hex(16)?;
        let uri = format!("postgresql://followgraph:{password}@database-rw.{NAMESPACE}:5432/followgraph");
        kubectl.create(
            &json!({
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": "database-app", "namespace": NAMESPACE},
                "type": "kubernetes.io/basic-auth",
                "stringData": {"username": "followgraph", "password": password, "uri": uri},
            })
            .to_string(),
        )?;
    }
    Ok(())
}

/// Starts the database and makes the roles of the Cluster object: its own statements, then the managed roles.
pub fn database(node: &Node, objects: &[Value]) -> Result<usize> {
    let kubectl = Kubectl::new(node).namespace(NAMESPACE);
    let database = &named(objects, "Cluster", "database")?["spec"];
    let connections = text(&database["postgresql"]["parameters"]["max_connections"]);
    kubectl.apply(&DATABASE.replace("MAX_CONNECTIONS", connections))?;
    kubectl.run(&["rollout", "status", "statefulset/database", READY])?;
    let psql = |statement: &str| {
        kubectl.run(&[
            "exec",
            "database-0",
            "--",
            "psql",
            "--username=postgres",
            "--dbname=followgraph",
            "--quiet",
            "--no-align",
            "--tuples-only",
            "--set=ON_ERROR_STOP=1",
            "--command",
            statement,
        ])
    };
    let roles = items(&database["managed"]["roles"]);
    if psql("SELECT count(*) FROM pg_roles WHERE rolname = 'followgraph'")?.trim() == "1" {
        return Ok(roles.len());
    }
    for role in roles {
        let (name, source) = (text(&role["name"]), text(&role["passwordSecret"]["name"]));
        if secret(&kubectl, source, "username")? != name {
            bail!("the Secret {source} is not for the role {name}");
        }
    }
    for statement in items(&database["bootstrap"]["initdb"]["postInitSQL"]) {
        psql(text(statement))?;
    }
    for role in roles {
        let password = secret(&kubectl, text(&role["passwordSecret"]["name"]), "password")?;
        psql(&format!(
            "ALTER ROLE {} {} {} CONNECTION LIMIT {} PASSWORD '{password}'",
            text(&role["name"]),
            if role["login"] == true { "LOGIN" } else { "NOLOGIN" },
            if role["inherit"] == true { "INHERIT" } else { "NOINHERIT" },
            role["connectionLimit"],
        ))?;
    }
    // Last, because it shows that the rest is done.
    let password = secret(&kubectl, "database-app", "password")?;
    psql(&format!(
        "CREATE ROLE followgraph LOGIN PASSWORD '{password}'; ALTER DATABASE followgraph OWNER TO followgraph"
    ))?;
    Ok(roles.len())
}

/// Applies the objects and waits until the schema is migrated and all pods are ready.
pub fn apply(node: &Node, objects: &[Value]) -> Result<()> {
    let kubectl = Kubectl::new(node).namespace(NAMESPACE);
    kubectl.apply(&list(objects))?;
    kubectl.run(&["wait", "--for=condition=complete", "job/migrate", READY])?;
    for workload in WORKLOADS {
        kubectl.run(&["rollout", "status", workload, READY])?;
    }
    Ok(())
}

/// A value of a Secret.
pub fn secret(kubectl: &Kubectl<'_>, name: &str, key: &str) -> Result<String> {
    let template = format!("{{{{index .data {key:?} | base64decode}}}}");
    kubectl.run(&["get", "secret", name, "--output", &format!("go-template={template}")])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sizes_and_placement_differ_from_what_is_shipped() {
        let shipped = json!({"kind": "StatefulSet", "metadata": {"name": "neo4j"}, "spec": {"replicas": 3, "template":
        {"spec": {
            "affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [1]}},
            "initContainers": [{"name": "password", "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}}}],
            "containers": [{"name": "neo4j", "image": "neo4j:5", "resources":
                {"requests": {"cpu": "2", "memory": "13Gi"}, "limits": {"memory": "14Gi"}}}],
        }}}});
        let conf = json!({"kind": "ConfigMap", "metadata": {"name": "neo4j-abc"}, "data":
            {"neo4j.conf": "server.memory.pagecache.size=8g\ndb.x=1\n"}});
        let scaled = scaled(vec![shipped, conf]);
        assert_eq!(
            scaled[0]["spec"],
            json!({"replicas": 3, "template": {"spec": {
                "affinity": {"podAntiAffinity": {}},
                "initContainers": [{"name": "password", "resources": {"requests": {"cpu": "20m", "memory": "256Mi"}}}],
                "containers": [{"name": "neo4j", "image": "neo4j:5", "resources":
                    {"requests": {"cpu": "20m", "memory": "1Gi"}, "limits": {"memory": "2Gi"}}}],
            }}})
        );
        assert_eq!(scaled[1]["data"]["neo4j.conf"], "server.memory.pagecache.size=128m\ndb.x=1\n");
    }
}
