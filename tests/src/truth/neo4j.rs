//! The state of the read model.
//!
//! Neo4j has no snapshots, and a commit becomes visible piece by piece. A read is of one revision if the checkpoint's
//! `visible` before it and its `target` after it are the same: no batch was in flight meanwhile.

use std::collections::BTreeMap;

use neo4rs::{Graph, Query, Row, query};
use proto::event::{EdgeKey, EdgeKind};
use proto::{Revision, UserId};

use super::{Counts, CountsOf, Edge, Edges, of_millis};

/// The read model at one of its checkpoints.
#[derive(Clone, Debug)]
pub struct AtCheckpoint {
    pub revision: Revision,
    /// To the millisecond.
    pub edges: Edges,
    /// The number of edges of each kind at each account, counted by Neo4j.
    pub degrees: CountsOf,
}

const EDGES: &str = "MATCH (a:User) WHERE a.id STARTS WITH $slice MATCH (a)-[r]->(b:User)
    RETURN a.id AS a, b.id AS b, type(r) AS type, r.src AS src, r.dst AS dst, r.pos AS pos,
           r.created_at AS created_at, r.expires_at AS expires_at";

const REVISIONS: &str = "MATCH (a:User) WHERE a.id STARTS WITH $slice MATCH (a)-[r]->(:User)
    RETURN type(r) AS type, r.src AS src, r.dst AS dst, coalesce(r.rev, r.pos / 1024) AS revision";

const DEGREES: &str = "MATCH (u:User) WHERE u.id STARTS WITH $slice RETURN u.id AS id,
    COUNT { (u)<-[:FOLLOWS]-() } AS followers, COUNT { (u)-[:FOLLOWS]->() } AS following,
    COUNT { (u)-[:MUTES]->() } AS muting, COUNT { (u)-[:BLOCKS]->() } AS blocking,
    COUNT { (u)-[:REQUESTED]->() } AS requests_sent, COUNT { (u)<-[:REQUESTED]-() } AS requests_received";

/// Everything, if no batch was in flight meanwhile. During a batch, edges may be half deleted and reading may fail; so
/// rows are decoded only afterwards.
pub async fn at_checkpoint(graph: &Graph) -> Option<AtCheckpoint> {
    let (visible, _) = checkpoint(graph).await.ok()??;
    // In one statement, not in slices: the shorter the read, the likelier that no batch was applied meanwhile.
    let of = |text| rows(graph, query(text).param("slice", ""));
    let (edges, degrees) = (of(EDGES).await.ok()?, of(DEGREES).await.ok()?);
    let (_, target) = checkpoint(graph).await.ok()??;
    (visible == target).then(|| AtCheckpoint {
        revision: visible,
        edges: to_edges(&edges),
        degrees: to_degrees(&degrees),
    })
}

/// The checkpoint's `visible` and `target`; `None` if there is no checkpoint yet.
async fn checkpoint(graph: &Graph) -> Result<Option<(Revision, Revision)>, neo4rs::Error> {
    let text = "MATCH (c:Checkpoint) RETURN c.visible AS visible, c.target AS target";
    let rows = rows(graph, query(text)).await?;
    let number = |row: &Row, name| Revision::from_i64(row.get(name).expect("a number"));
    Ok(rows.first().map(|row| (number(row, "visible"), number(row, "target"))))
}

/// All edges, by the nodes at their ends.
///
/// # Panics
/// If an edge lacks an end's id, or is duplicated.
pub async fn edges(graph: &Graph) -> Edges {
    to_edges(&all(graph, EDGES).await.expect("the read model is readable"))
}

fn to_edges(rows: &[Row]) -> Edges {
    let mut edges = Edges::new();
    for row in rows {
        let text = |name: &str| row.get::<String>(name).expect("a text");
        assert_eq!((text("a"), text("b")), (text("src"), text("dst")), "an edge names its ends");
        let key = key(row);
        let edge = Edge {
            position: row.get("pos").expect("a position"),
            created_at: of_millis(row.get("created_at").expect("a date")),
            expires_at: row.get::<Option<i64>>("expires_at").expect("a date or none").map(of_millis),
        };
        assert_eq!(edges.insert(key, edge), None, "parallel edges {key:?}");
    }
    edges
}

/// The revision of each edge's last change; stored only if it differs from the one in its position.
pub async fn revisions(graph: &Graph) -> BTreeMap<EdgeKey, i64> {
    let rows = all(graph, REVISIONS).await.expect("the read model is readable");
    rows.iter().map(|row| (key(row), row.get("revision").expect("a revision"))).collect()
}

/// The degrees of every account that has a node.
pub async fn degrees(graph: &Graph) -> CountsOf {
    to_degrees(&all(graph, DEGREES).await.expect("the read model is readable"))
}

fn to_degrees(rows: &[Row]) -> CountsOf {
    rows.iter()
        .map(|row| {
            let number = |name: &str| row.get::<i64>(name).expect("a number");
            let counts = Counts {
                followers: number("followers"),
                following: number("following"),
                muting: number("muting"),
                blocking: number("blocking"),
                requests_sent: number("requests_sent"),
                requests_received: number("requests_received"),
            };
            (user(&row.get::<String>("id").expect("an id")), counts)
        })
        .collect()
}

/// The rows of a statement over all accounts: slice by slice, because the server limits the time of each.
async fn all(graph: &Graph, text: &str) -> Result<Vec<Row>, neo4rs::Error> {
    let mut found = Vec::new();
    for slice in "0123456789abcdef".chars() {
        found.extend(rows(graph, query(text).param("slice", slice.to_string())).await?);
    }
    Ok(found)
}

async fn rows(graph: &Graph, query: Query) -> Result<Vec<Row>, neo4rs::Error> {
    let mut stream = graph.execute(query).await?;
    let mut rows = Vec::new();
    while let Some(row) = stream.next().await? {
        rows.push(row);
    }
    Ok(rows)
}

fn key(row: &Row) -> EdgeKey {
    let text = |name: &str| row.get::<String>(name).expect("a text");
    let kind = match text("type").as_str() {
        "FOLLOWS" => EdgeKind::Follow,
        "MUTES" => EdgeKind::Mute,
        "BLOCKS" => EdgeKind::Block,
        "REQUESTED" => EdgeKind::FollowRequest,
        other => panic!("a relationship of type {other}"),
    };
    EdgeKey { kind, source: user(&text("src")), target: user(&text("dst")) }
}

fn user(text: &str) -> UserId {
    UserId::parse(text).expect("the id of an account")
}
