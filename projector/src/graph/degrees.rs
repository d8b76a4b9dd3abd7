//! The numbers of edges of the accounts of a range. Neo4j stores the degree of each node, so edges are not read.
//!
//! They are of one revision only while no batch is written.

use neo4rs::query;

use super::cypher;
use super::error::Error;
use super::exchange::Replica;
use super::range::TOP;

/// Sums over the accounts of a range.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Degrees {
    /// Follows that begin at them.
    pub following: i64,
    /// Follows that end at them.
    pub followers: i64,
    /// Mutes that begin at them.
    pub muting: i64,
    /// Blocks that begin at them.
    pub blocking: i64,
    /// Requests that begin at them.
    pub requests_sent: i64,
    /// Requests that end at them.
    pub requests_received: i64,
}

impl Replica {
    /// The degrees of the accounts above `after` and not above `upto`; without `upto`, of all later accounts.
    pub async fn degrees(&self, after: &str, upto: Option<&str>) -> Result<Degrees, Error> {
        let upto = upto.unwrap_or(TOP);
        let query = query(cypher::DEGREES).param("after", after).param("upto", upto);
        let Some(row) = self.read(query).await? else { return Ok(Degrees::default()) };
        Ok(Degrees {
            following: row.get("following")?,
            followers: row.get("followers")?,
            muting: row.get("muting")?,
            blocking: row.get("blocking")?,
            requests_sent: row.get("sent")?,
            requests_received: row.get("received")?,
        })
    }
}
