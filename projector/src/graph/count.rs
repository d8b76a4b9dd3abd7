//! How many edges the read model holds.
//!
//! Owns: the exchange; the server keeps the numbers, so it costs nothing. Must not know: what they are compared with.
//! What can go wrong: beside a batch the numbers are of no revision; the writer asks between two batches.

use neo4rs::{Txn, query};

use super::{AsyncBody, Error, Replica, cypher, one_row};
use crate::edge::Kind;

struct Count;

impl AsyncBody<[i64; 4]> for Count {
    async fn run(self, tx: &mut Txn) -> Result<[i64; 4], Error> {
        let mut counts = [0; 4];
        for (kind, count) in Kind::ALL.into_iter().zip(&mut counts) {
            if let Some(row) = one_row(tx, query(cypher::count(kind))).await? {
                *count = row.get("n")?;
            }
        }
        Ok(counts)
    }
}

impl Replica {
    /// How many edges of each kind there are, in the order of kinds.
    pub async fn count_edges(&self) -> Result<[i64; 4], Error> {
        self.transaction(Count).await
    }
}
