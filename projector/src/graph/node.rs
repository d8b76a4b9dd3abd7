//! The node of the checkpoint: its name, its lock, and the form of its properties.

use neo4rs::{BoltNull, BoltType, Txn, query};
use service_kit::ids;
use uuid::Uuid;

use super::error::Error;

/// The property `name` of the node.
pub(super) const NAME: &str = "followgraph";

const LOCK: &str = "MATCH (c:Checkpoint {name: $name}) SET c.lock = $lock";

/// Takes the checkpoint's lock until the end of the transaction.
pub(super) async fn lock(tx: &mut Txn) -> Result<(), Error> {
    tx.run(query(LOCK).param("name", NAME).param("lock", ids::random().to_string())).await?;
    Ok(())
}

/// The property `event_id`.
pub(super) fn event_text(event_id: Option<Uuid>) -> BoltType {
    event_id.map_or(BoltType::Null(BoltNull), |id| id.to_string().into())
}
