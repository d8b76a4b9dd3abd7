//! What the read model says.
//!
//! Neo4j has no snapshots, and a commit becomes visible piece by piece. What was read
//! is of one revision where the checkpoint's `visible` before and its `target` after
//! are the same: no batch was in flight meanwhile.

use neo4rs::{Graph, Row, query};
use proto::event::{EdgeKey, EdgeKind};
use proto::{Revision, UserId};

use super::{Counts, CountsOf, Edge, Edges, of_millis};

/// The read model at one of its checkpoints.
#[derive(Clone, Debug)]
pub struct AtCheckpoint {
    /// The checkpoint's revision.
    pub revision: Revision,
    /// Its edges, to the millisecond.
    pub edges: Edges,
    /// How many edges of each kind Neo4j counts at each account.
    pub degrees: CountsOf,
}

/// Everything, if no batch was in flight meanwhile.
pub async fn at_checkpoint(graph: &Graph) -> Option<AtCheckpoint> {
    let (visible, _) = checkpoint(graph).await?;
    let (edges, degrees) = (edges(graph).await, degrees(graph).await);
    let (_, target) = checkpoint(graph).await?;
    (visible == target).then_some(AtCheckpoint { revision: visible, edges, degrees })
}

/// What is visible, and where the batch in flight will end; none where there is no
/// checkpoint yet.
async fn checkpoint(graph: &Graph) -> Option<(Revision, Revision)> {
    let rows = all(graph, "MATCH (c:Checkpoint) RETURN c.visible AS visible, c.target AS target").await;
    let number = |row: &Row, name| Revision::from_i64(row.get(name).expect("a number"));
    rows.first().map(|row| (number(row, "visible"), number(row, "target")))
}

/// All edges, by the nodes at their ends.
///
/// # Panics
/// Where an edge does not name its ends, or there are two of one name.
pub async fn edges(graph: &Graph) -> Edges {
    let rows = all(
        graph,
        "MATCH (a:User)-[r]->(b:User)
         RETURN a.id AS a, b.id AS b, type(r) AS type, r.src AS src, r.dst AS dst, r.pos AS pos,
                r.created_at AS created_at, r.expires_at AS expires_at",
    )
    .await;
    let mut edges = Edges::new();
    for row in rows {
        let text = |name: &str| row.get::<String>(name).expect("a text");
        assert_eq!((text("a"), text("b")), (text("src"), text("dst")), "an edge names its ends");
        let kind = match text("type").as_str() {
            "FOLLOWS" => EdgeKind::Follow,
            "MUTES" => EdgeKind::Mute,
            "BLOCKS" => EdgeKind::Block,
            "REQUESTED" => EdgeKind::FollowRequest,
            other => panic!("a relationship of type {other}"),
        };
        let key = EdgeKey { kind, source: user(&text("a")), target: user(&text("b")) };
        let edge = Edge {
            position: row.get("pos").expect("a position"),
            created_at: of_millis(row.get("created_at").expect("a date")),
            expires_at: row.get::<Option<i64>>("expires_at").expect("a date or none").map(of_millis),
        };
        assert_eq!(edges.insert(key, edge), None, "parallel edges {key:?}");
    }
    edges
}

/// The degrees of every account that has a node.
pub async fn degrees(graph: &Graph) -> CountsOf {
    let rows = all(
        graph,
        "MATCH (u:User) RETURN u.id AS id,
         COUNT { (u)<-[:FOLLOWS]-() } AS followers, COUNT { (u)-[:FOLLOWS]->() } AS following,
         COUNT { (u)-[:MUTES]->() } AS muting, COUNT { (u)-[:BLOCKS]->() } AS blocking,
         COUNT { (u)-[:REQUESTED]->() } AS requests_sent, COUNT { (u)<-[:REQUESTED]-() } AS requests_received",
    )
    .await;
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

async fn all(graph: &Graph, text: &str) -> Vec<Row> {
    let mut stream = graph.execute(query(text)).await.expect("the read model is readable");
    let mut rows = Vec::new();
    while let Some(row) = stream.next().await.expect("the read model is readable") {
        rows.push(row);
    }
    rows
}

fn user(text: &str) -> UserId {
    UserId::parse(text).expect("the id of an account")
}
